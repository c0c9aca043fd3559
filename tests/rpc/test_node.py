"""Stubs that protobuf-es makes of the contract call the shop over every transport of Connect; grpc-js does, too."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tools import node

from trivet.testing import Served

HERE = Path(__file__).parent / "node"
TRANSPORTS = ("connect", "connect-get", "connect-json", "grpc", "grpc-web-node", "grpc-web", "connect-web")
TSC = ("--strict", "--target", "es2023", "--module", "nodenext", "--skipLibCheck", "--types", "node")

pytestmark = [pytest.mark.conformance, pytest.mark.slow, pytest.mark.timeout(300)]


def run(*command: str | Path, cwd: Path) -> str:
    """Run a program and return what it printed."""
    path = f"{node.NODE.parent}:{os.environ['PATH']}"
    ended = subprocess.run(
        command, cwd=cwd, env={**os.environ, "PATH": path}, check=False, capture_output=True, text=True, timeout=240
    )
    assert ended.returncode == 0, f"{ended.stdout}\n{ended.stderr}"
    return ended.stdout


@pytest.fixture(scope="module")
def compiled(protos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The clients beside stubs of the contract, compiled by TypeScript, strictly."""
    folder = tmp_path_factory.mktemp("node")
    packages = node.install(HERE) / "node_modules"
    (folder / "node_modules").symlink_to(packages)
    for file in ("package.json", "connect.ts", "grpc_js.mjs"):
        shutil.copy(HERE / file, folder)
    (folder / "gen").mkdir()
    files = [str(file.relative_to(protos)) for file in protos.rglob("*.proto")]
    plugin = f"--plugin=protoc-gen-es={packages / '.bin' / 'protoc-gen-es'}"
    stubs = (f"--es_out={folder / 'gen'}", "--es_opt=target=ts,import_extension=js")
    run(sys.executable, "-m", "grpc_tools.protoc", "-I.", plugin, *stubs, *files, cwd=protos)
    run(node.NODE, packages / "typescript" / "bin" / "tsc", *TSC, "connect.ts", cwd=folder)
    return folder


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_connect_for_typescript_finds_what_it_expects(transport: str, compiled: Path, served: Served) -> None:
    assert run(node.NODE, "connect.js", served.url, transport, cwd=compiled) == "ok\n"


def test_grpc_js_finds_what_it_expects(compiled: Path, protos: Path, served: Served) -> None:
    address = served.url.removeprefix("http://")
    assert run(node.NODE, "grpc_js.mjs", address, str(protos), cwd=compiled) == "ok\n"
