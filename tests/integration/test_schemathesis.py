"""The shop against its own contract: schemathesis with every check and every phase, over a real socket.

The seed is fixed, so that a run says the same twice. `SCHEMATHESIS_SEED` and `SCHEMATHESIS_EXAMPLES` look further:
``SCHEMATHESIS_SEED=7 SCHEMATHESIS_EXAMPLES=200 make test ARGS=tests/integration/test_schemathesis.py``.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest

from tests.shop.serving import EXAMPLES, PATIENCE_SECONDS, shop
from trivet.testing import Served, serve

ROOT = Path(__file__).resolve().parents[2]
CONFIG = Path(__file__).with_name("schemathesis.toml")
SEED = os.environ.get("SCHEMATHESIS_SEED", "1")
PHASES = {"examples", "coverage", "fuzzing", "stateful"}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def schemathesis(served: Served, examples: int, report: Path) -> dict[str, Any]:
    """Let schemathesis loose on a server and return its report, which must be without a failure."""
    examples = int(os.environ.get("SCHEMATHESIS_EXAMPLES", examples))
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG), "run"]
    options = ["--seed", SEED, "--max-examples", str(examples), "--no-color", "--report-json-path", str(report)]
    ended = subprocess.run(
        [*command, f"{served.url}/openapi.json", *options],
        check=False,
        cwd=report.parent,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    print(f"seed {SEED}, {examples} examples for each operation", ended.stdout, ended.stderr, sep="\n")
    assert ended.returncode == 0, "see the captured output"
    found: dict[str, Any] = msgspec.json.decode(report.read_bytes())
    return found


def test_the_shop_does_what_its_contract_says(tmp_path: Path) -> None:
    with shop() as served:
        operations = [op for _, _, op in operations_of(served) if not takes_lines(op)]
        report = schemathesis(served, 15, tmp_path / "report.json")
    assert report["operations"]["tested"] == len(operations)
    assert {name for name, phase in report["phases"].items() if phase["status"] == "success"} == PHASES
    assert report["test_cases"]["generated"] > 1000
    assert report["failures"] == report["errors"] == []


def test_without_credentials_the_shop_in_production_keeps_its_contract_too(tmp_path: Path) -> None:
    with production() as served:
        report = schemathesis(served, 5, tmp_path / "report.json")
    assert report["failures"] == report["errors"] == []
    assert report["test_cases"]["generated"] > 500


def test_in_production_everything_with_a_scope_answers_401() -> None:
    with production() as served, httpx2.Client(base_url=served.url, timeout=PATIENCE_SECONDS) as client:
        answers: dict[bool, set[int]] = {True: set(), False: set()}
        for method, path, operation in operations_of(served):
            answer = client.request(method, path.replace("{id}", "00000000-0000-0000-0000-000000000001"))
            answers[bool(operation["security"]) and {} not in operation["security"]].add(answer.status_code)
            if answer.status_code == 401:
                assert answer.headers["www-authenticate"] == "Bearer"
    assert answers[True] == {401}
    assert 200 in answers[False]
    assert 401 not in answers[False]


def production() -> Any:
    """Serve the shop as ``trivet run`` does: nobody is anybody without credentials."""
    return serve("shop.app:app", app_dir=EXAMPLES, environ={"TRIVET_ENVIRONMENT": "production"})


def takes_lines(operation: dict[str, Any]) -> bool:
    """Whether the body is any number of lines: the hooks leave such an operation out, as no schema says that."""
    return "application/x-ndjson" in operation.get("requestBody", {}).get("content", {})


def operations_of(served: Served) -> list[tuple[str, str, dict[str, Any]]]:
    """Return method, path and description of all that the contract has."""
    paths: dict[str, dict[str, Any]] = httpx2.get(f"{served.url}/openapi.json", timeout=PATIENCE_SECONDS).json()[
        "paths"
    ]
    return [
        (method.upper(), path, operation) for path, methods in paths.items() for method, operation in methods.items()
    ]
