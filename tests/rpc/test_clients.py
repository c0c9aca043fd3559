"""Other people's clients, with stubs that other people's tools made: they are what says whether this is gRPC."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from trivet.testing import Served

HERE = Path(__file__).parent
CHECKS = (
    "unary", "batch", "patch", "condition", "errors", "metadata", "deadline", "compression", "large", "unknown",
    "stream", "job", "health", "reflection", "many",
)  # fmt: skip


@pytest.mark.parametrize("check", CHECKS)
def test_grpcio_finds_what_it_expects(check: str, served: Served, stubs: Path) -> None:
    address = served.url.removeprefix("http://")
    command = [sys.executable, str(HERE / "official.py"), str(stubs), address, check]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.parametrize("protocol", ["grpc", "grpcweb", "connect"])
@pytest.mark.parametrize("schema", ["reflection", "files"])
def test_buf_curl_calls_the_shop(protocol: str, schema: str, served: Served, protos: Path) -> None:
    source = ["--schema", str(protos)] if schema == "files" else []
    url = f"{served.url}/shop.catalog.v1.CatalogService/ListProducts"
    command = [
        str(Path(sys.executable).with_name("buf")), "curl", "--protocol", protocol, "--http2-prior-knowledge",
        *source, "-d", '{"pageSize": 2}', url,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["items"]) == 2
