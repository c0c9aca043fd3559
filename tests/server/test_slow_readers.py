"""Clients that still read when the application has long made its answer, and its worker ends: they get all of it."""

from __future__ import annotations

import asyncio
import json
import signal
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import trustme
from pyqwest import Client, HTTPTransport, HTTPVersion, ReadError, Response

from tests.waiting import eventually
from trivet.testing import Served, serve

HERE = Path(__file__).parent
PATIENCE_SECONDS = 60
LARGE = 8_000_000
"""More than the sockets, the windows and the client hold together."""
STEPS = 25
STEP_SECONDS = 0.04
AUTHORITY = trustme.CA()
VERSIONS = {"HTTP/1.1": HTTPVersion.HTTP1, "HTTP/2": HTTPVersion.HTTP2, "HTTP/3": HTTPVersion.HTTP3}


def serving(directory: Path, **environ: str) -> Any:
    issued = AUTHORITY.issue_cert("localhost", "127.0.0.1")
    issued.private_key_pem.write_to_path(str(directory / "key"))
    for part in issued.cert_chain_pems:
        part.write_to_path(str(directory / "certificate"), append=True)
    told = {
        "TRIVET_SERVER__KIND": "envoy",
        "TRIVET_SERVER__DRAIN_TIMEOUT": "60",
        "TRIVET_TLS__CERTIFICATE": str(directory / "certificate"),
        "TRIVET_TLS__KEY": str(directory / "key"),
    }
    return serve("plain:app", app_dir=HERE, environ=told | environ)


def url(served: Served) -> str:
    return f"https://localhost:{served.url.rpartition(':')[2]}"


def who_accepts(served: Served) -> str:
    """Return the process that answers on a connection of its own, nothing when none accepts it."""
    context = ssl.create_default_context(cadata=AUTHORITY.cert_pem.bytes().decode())
    try:
        return httpx2.get(url(served), verify=context, timeout=PATIENCE_SECONDS).text
    except httpx2.TransportError:
        return ""


@asynccontextmanager
async def answered(served: Served, version: str) -> AsyncIterator[Response]:
    """Ask for a large answer, with which the application is done before any of it is read."""
    transport = HTTPTransport(
        tls_ca_cert=AUTHORITY.cert_pem.bytes(),
        http_version=VERSIONS[version],
        timeout=PATIENCE_SECONDS,
        enable_otel=False,
    )
    async with Client(transport).stream("GET", f"{url(served)}/large/{LARGE}") as answer:
        await asyncio.to_thread(eventually, lambda: f"answered /large/{LARGE}" in served.log.read_text())
        yield answer


async def read_slowly(answer: Response) -> int:
    """Return how many bytes arrived."""
    got = paused = 0
    async for part in answer.content:
        got += len(part)
        if got >= paused + LARGE // STEPS:
            paused = got
            await asyncio.sleep(STEP_SECONDS)
    return got


@pytest.mark.parametrize("version", VERSIONS)
async def test_who_reads_slowly_gets_all_of_an_answer_whose_worker_is_told_to_end(version: str, tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        async with answered(served, version) as answer:
            served.signal(signal.SIGTERM)
            await asyncio.to_thread(eventually, lambda: not who_accepts(served))
            assert await read_slowly(answer) == LARGE


@pytest.mark.slow
@pytest.mark.parametrize("version", ["HTTP/2", "HTTP/3"])
async def test_who_reads_slowly_gets_all_of_an_answer_whose_worker_is_replaced(version: str, tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        first = who_accepts(served)
        async with answered(served, version) as answer:
            served.signal(signal.SIGHUP)
            await asyncio.to_thread(eventually, lambda: who_accepts(served) not in ("", first))
            assert await read_slowly(answer) == LARGE


async def test_who_takes_longer_than_there_is_time_is_cut_off_and_counted(tmp_path: Path) -> None:
    with serving(tmp_path, TRIVET_SERVER__DRAIN_TIMEOUT="0.5") as served:
        async with answered(served, "HTTP/2") as answer:
            served.signal(signal.SIGTERM)
            assert await asyncio.to_thread(served.process.wait, PATIENCE_SECONDS) == 0
            with pytest.raises(ReadError):
                await read_slowly(answer)
        (cut,) = [line for line in served.log.read_text().splitlines() if "requests were cut off" in line]
        assert json.loads(cut)["requests"] == 1
