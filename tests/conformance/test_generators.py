"""Clients that strangers' generators make of the contract: they are complete, they compile, and they call the shop."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
import pytest
from tools import node

from tests.shop.serving import PATIENCE_SECONDS, shop

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent
CLIENTS = HERE / "clients"
NOBODY = "00000000-0000-0000-0000-000000000001"
TSC = ("--strict", "--target", "es2023", "--lib", "es2023,dom,dom.iterable")

pytestmark = [pytest.mark.conformance, pytest.mark.timeout(600)]


class Shop(NamedTuple):
    """A running shop and its contract in a file."""

    url: str
    contract: Path


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """The shop as the developer meets it."""
    with shop() as served:
        contract = tmp_path_factory.mktemp("contract") / "openapi.json"
        contract.write_bytes(httpx2.get(f"{served.url}/openapi.json", timeout=PATIENCE_SECONDS).content)
        yield Shop(served.url, contract)


@pytest.fixture(scope="module")
def generators() -> Path:
    """The programs of an environment where generators of clients are installed, made once for each set of pins."""
    environment = node.CACHE / "generators"
    with node.alone("generators"):
        pins = (ROOT / "constraints.txt").read_bytes() + (ROOT / "pyproject.toml").read_bytes()
        stamp = environment / "pins"
        if not stamp.exists() or stamp.read_bytes() != pins:
            subprocess.run([ROOT / "tools" / "install", environment, "generators"], check=True)
            stamp.write_bytes(pins)
    return environment / "bin"


def run(*command: str | Path, cwd: Path, **environ: str) -> str:
    """Run a program and return what it printed; what it said fails the test when it did not succeed."""
    ended = subprocess.run(
        command, cwd=cwd, env={**os.environ, **environ}, check=False, capture_output=True, text=True, timeout=300
    )
    assert ended.returncode == 0, f"{ended.stdout}\n{ended.stderr}"
    return ended.stdout


def compiled(folder: Path, *options: str) -> None:
    """Compile what is in a folder with TypeScript, strictly."""
    packages = folder / "node_modules"
    packages.symlink_to(node.install(HERE) / "node_modules")
    (folder / "package.json").write_text('{"type": "module"}', encoding="utf-8")
    run(node.NODE, packages / "typescript" / "bin" / "tsc", *TSC, *options, cwd=folder)


def check(said: str) -> None:
    """Compare what a client saw with what the shop does."""
    seen: dict[str, Any] = json.loads(said)
    first, second = seen["listed"]
    assert first != second
    assert seen["more"] is True
    assert seen["got"] is True
    assert seen["batch"] == [second, None, first]
    assert seen["ordered"] == ["PENDING", True, first]
    assert seen["refused"] == [400, "#/lines/0/quantity"]
    assert seen["missing"] == [404, "NOT_FOUND"]


def test_openapi_python_client(live: Shop, generators: Path, tmp_path: Path) -> None:
    said = run(
        generators / "openapi-python-client",
        *("generate", "--path", live.contract, "--meta", "none", "--output-path", tmp_path / "shop_client"),
        cwd=tmp_path,
        PATH=f"{generators}:{os.environ['PATH']}",  # it formats with the ruff beside it
    )
    assert "Unable" not in said
    assert "WARNING" not in said
    check(run(generators / "python", CLIENTS / "openapi_python_client.py", tmp_path, live.url, cwd=tmp_path))


def test_openapi_typescript(live: Shop, tmp_path: Path) -> None:
    program = node.install(HERE) / "node_modules" / "openapi-typescript" / "bin" / "cli.js"
    run(node.NODE, program, live.contract, "--output", tmp_path / "schema.ts", cwd=tmp_path)
    shutil.copy(CLIENTS / "openapi_fetch.ts", tmp_path)
    compiled(
        tmp_path,
        *("--noEmit", "--module", "nodenext", "--allowImportingTsExtensions", "--erasableSyntaxOnly"),
        "--noUncheckedIndexedAccess",
        "openapi_fetch.ts",
    )
    check(run(node.NODE, tmp_path / "openapi_fetch.ts", live.url, cwd=tmp_path))


def openapi_generator(generators: Path, contract: Path, language: str, folder: Path, *properties: str) -> None:
    """Generate a client, with the Java that is in the environment of the generators."""
    said = run(
        generators / "openapi-generator-cli",
        *("generate", "--input-spec", contract, "--generator-name", language, "--output", folder),
        *("--global-property", "apiTests=false,modelTests=false,apiDocs=false,modelDocs=false"),
        *(option for given in properties for option in ("--additional-properties", given)),
        cwd=folder.parent,
    )
    assert "ERROR" not in said


def test_openapi_generator_for_python(live: Shop, generators: Path, tmp_path: Path) -> None:
    openapi_generator(generators, live.contract, "python", tmp_path / "made")
    check(run(generators / "python", CLIENTS / "openapi_generator.py", tmp_path / "made", live.url, cwd=tmp_path))


@pytest.mark.slow
def test_openapi_generator_for_typescript(live: Shop, generators: Path, tmp_path: Path) -> None:
    openapi_generator(generators, live.contract, "typescript-fetch", tmp_path / "client", "importFileExtension=.js")
    shutil.copy(CLIENTS / "typescript_fetch.ts", tmp_path)
    compiled(tmp_path, "--module", "nodenext", "--outDir", "made", "typescript_fetch.ts")
    check(run(node.NODE, tmp_path / "made" / "typescript_fetch.js", live.url, cwd=tmp_path))
