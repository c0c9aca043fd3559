"""The shop over its real server, and stubs that other people's tools made of its contract."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from shop.app import app
from trivet.contracts.proto import text
from trivet.testing import Served, serve

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture(scope="session")
def protos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shop's contract, as it is written to files."""
    root = tmp_path_factory.mktemp("proto")
    contract, faults = app.contract()
    assert not faults
    for name, content in text.files(contract.packages).items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    return root


@pytest.fixture(scope="session")
def stubs(protos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python stubs of it by grpcio-tools, importable from now on under ``shopstubs``."""
    root = tmp_path_factory.mktemp("stubs")
    files = [str(file.relative_to(protos)) for file in protos.rglob("*.proto")]
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I.", f"--python_out={root}", f"--grpc_python_out={root}"]
    subprocess.run([*command, *files], cwd=protos, check=True, timeout=60)
    return root


@pytest.fixture(scope="session")
def served() -> Iterator[Served]:
    """The shop behind Envoy; callers act as the developer."""
    environ = {"TRIVET_ENVIRONMENT": "development", "TRIVET_SERVER__KIND": "envoy"}
    with serve("shop.app:app", app_dir=EXAMPLES, environ=environ) as served:
        yield served
