"""What must be a type error is one, in mypy strict and in basedpyright, and nothing else is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a folder with the cases as a module."""
    (tmp_path / "negative.py").write_text((HERE / "negative.txt").read_text())
    return tmp_path


def expected() -> set[int]:
    """Return the first line of each construct that must be refused; a decorator may stand for its function."""
    lines = (HERE / "negative.txt").read_text().splitlines()
    marked = {n for n, line in enumerate(lines, 1) if line.endswith("# error")}
    return marked | {n for n, line in enumerate(lines, 1) if line.endswith("# decorator")}


def normal(lines: set[int]) -> set[int]:
    """Return the lines, an error on a decorated function moved to its decorator and follow-ups dropped."""
    text = (HERE / "negative.txt").read_text().splitlines()
    moved = {n - 1 if text[n - 1].endswith("# decorated") else n for n in lines}
    return {n for n in moved if not text[n - 1].endswith("# silent")}


def test_mypy_refuses_exactly_the_marked_lines(project: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--no-error-summary", "--hide-error-context",
         "--cache-dir", str(project / "cache"), "negative.py"],
        cwd=project, capture_output=True, text=True, check=False,
    )  # fmt: skip
    found = [line.split(":", 2) for line in done.stdout.splitlines() if ": error:" in line]
    assert normal({int(number) for name, number, _ in found if name == "negative.py"}) == expected(), done.stdout


def test_basedpyright_refuses_exactly_the_marked_lines(project: Path) -> None:
    config = {"typeCheckingMode": "standard", "include": ["negative.py"], "pythonVersion": "3.11"}
    (project / "pyrightconfig.json").write_text(json.dumps(config))
    done = subprocess.run(
        [sys.executable, "-m", "basedpyright", "--outputjson", "--pythonpath", sys.executable, "-p", "."],
        cwd=project, capture_output=True, text=True, check=False,
    )  # fmt: skip
    diagnostics = json.loads(done.stdout)["generalDiagnostics"]
    found = {d["range"]["start"]["line"] + 1 for d in diagnostics if d["severity"] == "error"}
    assert normal(found) == expected(), done.stdout
