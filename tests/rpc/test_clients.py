"""Other people's clients, with stubs that other people's tools made: they are what says whether this is gRPC."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import grpc
import pytest

from trivet.testing import Served, serve

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
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


async def test_calls_of_grpcio_go_on_when_their_connection_gets_too_old() -> None:
    environ = {"TRIVET_SERVER__KIND": "envoy", "TRIVET_SERVER__CONNECTION_AGE": "1"}
    with serve("tests.rpc.belt:app", app_dir=ROOT, environ=environ) as served:
        async with grpc.aio.insecure_channel(served.url.removeprefix("http://")) as channel:
            seen: list[grpc.ChannelConnectivity] = [channel.get_state()]

            async def watch() -> None:
                while True:
                    await channel.wait_for_state_change(seen[-1])
                    seen.append(channel.get_state())

            watching = asyncio.create_task(watch())
            check = channel.unary_unary("/grpc.health.v1.Health/Check")
            async with asyncio.timeout(60):
                while seen.count(grpc.ChannelConnectivity.READY) < 3:
                    assert await check(b"", wait_for_ready=True) == b"\x08\x01"
                    await asyncio.sleep(0.02)
            watching.cancel()
