"""What is published works outside of this checkout."""

from __future__ import annotations

import os
import subprocess
import sys
from email import message_from_string
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built wheel."""
    directory = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(directory)],
        cwd=ROOT,
        capture_output=True,
        check=True,
        timeout=60,
    )
    [built] = directory.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder it is unpacked in, which is what installing a wheel without extension modules does."""
    directory = tmp_path_factory.mktemp("installed")
    with ZipFile(wheel) as archive:
        archive.extractall(directory)
    return directory


def python(*arguments: str, cwd: Path, installed: Path) -> str:
    """Run Python with the package from the wheel, which goes before the one that tests run with."""
    ended = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={name: value for name, value in os.environ.items() if not name.startswith("TRIVET_")}
        | {"PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout.strip()


def test_a_project_made_with_the_wheel_passes_its_checks(installed: Path, tmp_path: Path) -> None:
    assert python("-c", "import trivet; print(trivet.__file__)", cwd=tmp_path, installed=installed).startswith(
        str(installed)
    )
    python("-m", "trivet", "new", "demo", cwd=tmp_path, installed=installed)
    checked = python("-m", "trivet", "check", "--strict", cwd=tmp_path / "demo", installed=installed)
    assert checked == "demo: nothing to mend"


def test_the_wheel_says_that_it_is_typed_and_has_the_readme_and_the_licence(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        names = archive.namelist()
        [metadata] = [archive.read(name) for name in names if name.endswith(".dist-info/METADATA")]
    assert "trivet/py.typed" in names
    assert [name for name in names if name.endswith("/licenses/LICENSE")]
    assert message_from_string(metadata.decode()).get_payload() == (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_wheel_has_every_file_of_the_package_and_no_other(wheel: Path) -> None:
    source = ROOT / "src"
    files = (path for path in (source / "trivet").rglob("[!.]*") if path.is_file() and path.suffix != ".pyc")
    with ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if name.startswith("trivet/")}
    assert packed == {path.relative_to(source).as_posix() for path in files}
