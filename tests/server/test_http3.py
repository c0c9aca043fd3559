"""HTTP/3 while workers are replaced and end: the kernel knows nothing of its connections, so Envoy hands them over."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import trustme
from pyqwest import Client, HTTPTransport, HTTPVersion

from tests.waiting import eventually
from trivet.testing import Served, serve

HERE = Path(__file__).parent
PATIENCE_SECONDS = 60
AUTHORITY = trustme.CA()


@contextmanager
def serving(directory: Path, **environ: str) -> Iterator[Served]:
    issued = AUTHORITY.issue_cert("localhost", "127.0.0.1")
    issued.private_key_pem.write_to_path(str(directory / "key"))
    for part in issued.cert_chain_pems:
        part.write_to_path(str(directory / "certificate"), append=True)
    told = {
        "TRIVET_SERVER__KIND": "envoy",
        "TRIVET_TLS__CERTIFICATE": str(directory / "certificate"),
        "TRIVET_TLS__KEY": str(directory / "key"),
    }
    with serve("plain:app", app_dir=HERE, environ=told | environ) as served:
        yield served


class Http3:
    """A client that keeps its connection for as long as that lives."""

    def __init__(self, served: Served) -> None:
        self._url = f"https://localhost:{served.url.rpartition(':')[2]}"
        self._client = Client(
            HTTPTransport(
                tls_ca_cert=AUTHORITY.cert_pem.bytes(),
                http_version=HTTPVersion.HTTP3,
                timeout=PATIENCE_SECONDS,
                enable_otel=False,
            )
        )

    async def get(self, path: str = "/") -> str:
        answer = await self._client.get(self._url + path)
        assert answer.status == 200
        return answer.text()


def replaced(served: Served, times: int) -> bool:
    """Whether all workers have been replaced so many times."""
    return served.log.read_bytes().count(b"workers are replaced") == times


REPLACEMENTS = 4
"""Envoy names its sockets anew after three."""


async def test_a_connection_that_was_idle_is_closed_in_order_when_its_worker_is_replaced(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        client = Http3(served)
        seen = [await client.get()]
        for done in range(1, REPLACEMENTS + 1):
            served.signal(signal.SIGHUP)
            await asyncio.to_thread(eventually, partial(replaced, served, done))
            seen.append(await client.get())  # it knows that its connection is closed: it loses no request to find out
        assert len(set(seen)) == len(seen)
        assert served.stop() == 0


async def test_a_new_connection_is_answered_by_the_new_worker_while_the_old_one_is_still_ending(tmp_path: Path) -> None:
    with serving(tmp_path, TRIVET_SERVER__DRAIN_TIMEOUT="60") as served:
        old = await Http3(served).get()
        kept = asyncio.create_task(Http3(served).get("/sleep/60"))
        await asyncio.to_thread(eventually, lambda: "sleeping" in served.log.read_text())
        served.signal(signal.SIGHUP)
        while (answered := await Http3(served).get()) == old:
            pass
        assert await Http3(served).get() == answered
        assert Path(f"/proc/{old}").exists()
        kept.cancel()
        served.signal(signal.SIGTERM)
        await asyncio.to_thread(eventually, lambda: '"ending"' in served.log.read_text())
        served.signal(signal.SIGTERM)  # at once


async def test_ending_in_order_finishes_what_is_in_flight_over_http3(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        client = Http3(served)
        both = [asyncio.create_task(client.get(path)) for path in ("/sleep/1", "/stream")]
        log = served.log
        await asyncio.to_thread(eventually, lambda: "sleeping" in log.read_text() and "streaming" in log.read_text())
        served.signal(signal.SIGTERM)
        slept, streamed = await asyncio.gather(*both)
        assert slept
        assert streamed.endswith("end\n")
        assert await asyncio.to_thread(served.process.wait, PATIENCE_SECONDS) == 0
