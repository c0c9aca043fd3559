"""RPC clients without manners: each gets its status, memory stays bounded, and the server is well afterwards."""

from __future__ import annotations

import asyncio
import gzip
import json
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import Any
from uuid import UUID

import grpc
import pytest
from pyqwest import Client as Http
from pyqwest import FullResponse, HTTPTransport, HTTPVersion, Response

from tests.adversity import ticker
from tests.adversity.hardship import size_of
from tests.adversity.serving import serving
from trivet.rpc import Client
from trivet.testing import Served

pytestmark = pytest.mark.usefixtures("kind")

HANG_SECONDS = 100
GROWTH = 32 * 2**20
"""Bytes that the workers may grow."""

PATH = "/ticker.ticker.v1.TickerService/"
COUNT = '{"size":"3"}'
LIMIT = 1024 * 1024
"""Bytes that a message may have, unless it is set otherwise."""


@pytest.fixture(scope="module")
def strained(kind: str) -> Iterator[Served]:
    """A server that gives up soon on who does not read."""
    with serving(1, TRIVET_SERVER__SEND_TIMEOUT="2", TRIVET_SERVER__HEAD_TIMEOUT="3") as served:
        yield served


@pytest.fixture
async def http(kind: str) -> AsyncIterator[Http]:
    """HTTP as the server speaks it: HTTP/2 on Envoy."""
    version = HTTPVersion.HTTP2 if kind == "envoy" else HTTPVersion.HTTP1
    async with HTTPTransport(http_version=version, timeout=HANG_SECONDS) as transport:
        yield Http(transport)


async def well(served: Served, kind: str) -> None:
    """The server answers, and its workers did not fall."""
    version: Any = "2" if kind == "envoy" else "1.1"
    async with Client(served.url, ticker.app, http_version=version) as client:
        assert await client.with_options(timeout=HANG_SECONDS).call(ticker.count_ticks, 3) == "xxx"
    assert served.process.poll() is None
    assert "Traceback" not in served.log.read_text()


def envelope(message: bytes, flags: int = 0, size: int | None = None) -> bytes:
    return struct.pack(">BI", flags, len(message) if size is None else size) + message


async def post(http: Http, served: Served, method: str, content_type: str, body: Any, **fields: str) -> FullResponse:
    headers = {"content-type": content_type, **{name.replace("_", "-"): value for name, value in fields.items()}}
    return await http.post(served.url + PATH + method, headers=headers, content=body)


def web_status(answer: FullResponse) -> int:
    """Return the status of a gRPC-Web answer."""
    said = answer.headers.get("grpc-status")
    if said is None:
        said = answer.content.partition(b"grpc-status: ")[2][:2].strip().decode()
    return int(said)


GZIP = {"grpc_encoding": "gzip"}
FRAMES: dict[str, tuple[bytes, dict[str, str], int]] = {
    "nothing": (b"", {}, 12),
    "half a head": (b"\0\0\0", {}, 3),
    "a head alone": (envelope(b"", size=9), {}, 3),
    "cut in its message": (envelope(b"\x08\x03", size=9), {}, 3),
    "two messages": (envelope(b"\x08\x03") * 2, {}, 12),
    "an unknown flag": (envelope(b"\x08\x03", 64), {}, 3),
    "compressed, unannounced": (envelope(gzip.compress(b"\x08\x03"), 1), {}, 13),
    "compressed with what it does not say": (envelope(b"\x08\x03", 1), GZIP, 3),
    "a bomb": (envelope(gzip.compress(bytes(100 * LIMIT)), 1), GZIP, 8),
    "a coding of its own": (envelope(b"\x08\x03", 1), {"grpc_encoding": "br"}, 12),
    "said to be 4 GiB": (envelope(b"\x08\x03", size=2**32 - 1), {}, 8),
    "too large": (envelope(bytes(2 * LIMIT)), {}, 8),
    "no protobuf": (envelope(b"\xff" * 64), {}, 3),
    "a varint without an end": (envelope(b"\x08" + b"\xff" * 12), {}, 3),
    "a text without an end": (envelope(b"\x0a\xff\xff\xff\x7f"), {}, 3),
}


@pytest.mark.parametrize("frame", FRAMES)
async def test_a_frame_that_is_none_has_its_status(frame: str, strained: Served, kind: str, http: Http) -> None:
    body, fields, expected = FRAMES[frame]
    before = size_of(strained)
    answer = await post(http, strained, "CountTicks", "application/grpc-web+proto", body, **fields)
    assert (answer.status, web_status(answer)) == (200, expected)
    assert size_of(strained).rss - before.rss < GROWTH
    if kind == "envoy":
        answer = await post(http, strained, "CountTicks", "application/grpc+proto", body, te="trailers", **fields)
        said = answer.headers.get("grpc-status") or answer.trailers.get("grpc-status")
        assert (answer.status, said) == (200, str(expected))


CONTENT_TYPES: dict[str, int] = {
    "text/plain": 415,
    "application/x-protobuf": 415,
    "application/grpc+thrift": 415,
    "application/grpc-web+xml": 415,
    "application/connect+json": 415,
    "application/json; charset=latin-1": 415,
    "multipart/form-data; boundary=x": 415,
    "application/json; charset=utf-8": 200,
}


@pytest.mark.parametrize("content_type", CONTENT_TYPES)
async def test_a_content_type_has_its_status(content_type: str, strained: Served, kind: str, http: Http) -> None:
    answer = await post(http, strained, "CountTicks", content_type, COUNT.encode())
    assert answer.status == CONTENT_TYPES[content_type]
    await well(strained, kind)


async def test_writers_that_stall_keep_nobody_from_being_answered(strained: Served, kind: str, http: Http) -> None:
    before = size_of(strained)
    stop = asyncio.Event()

    async def half() -> AsyncIterator[bytes]:
        yield COUNT.encode()[:4]
        await stop.wait()
        yield COUNT.encode()[4:]

    stalled = [
        asyncio.ensure_future(post(http, strained, "CountTicks", "application/json", half())) for _ in range(100)
    ]
    await asyncio.sleep(0.2)
    await well(strained, kind)
    assert size_of(strained).rss - before.rss < GROWTH
    late = await post(http, strained, "CountTicks", "application/json", half(), connect_timeout_ms="200")
    assert json.loads(late.content)["code"] == "deadline_exceeded"
    for one in stalled[50:]:
        one.cancel()  # resets its stream, or its connection
    stop.set()
    finished = await asyncio.gather(*stalled[:50])
    assert {one.status for one in finished} <= {200, 408, 504}  # done, or ended at the deadline
    await well(strained, kind)


async def test_readers_that_stop_cost_what_is_on_its_way(strained: Served, kind: str, http: Http) -> None:
    """Streams of large items to readers that do not read them: items wait in the store, not in memory."""
    version: Any = "2" if kind == "envoy" else "1.1"
    url, headers = f"{strained.url}{PATH}WatchTicks", {"content-type": "application/connect+proto"}
    before = size_of(strained)
    async with Client(strained.url, ticker.app, http_version=version) as client:
        slow = [await http._client.stream("POST", url, headers=headers, content=envelope(b"")) for _ in range(10)]
        tick = ticker.Tick(clock=UUID(int=1), number=1)
        for _ in range(20):
            await client.with_options(timeout=HANG_SECONDS).call(ticker.record_ticks, (tick,), filling=500_000)
        assert size_of(strained).rss - before.rss < GROWTH + 10 * 3 * 2**20  # 100 MB were sent at them
        await well(strained, kind)
        await closed(slow)
    await well(strained, kind)


async def closed(responses: list[Response]) -> None:
    for response in responses:
        with suppress(Exception):  # whatever became of it: the server is what is looked at
            await response.aclose()


STREAMS = 10_000
CONNECTIONS = 8
BATCH = 50
"""Streams that one connection opens and resets at once: fewer than it may have, and than may be reset in a second."""


@pytest.mark.slow
async def test_ten_thousand_streams_are_opened_and_reset(strained: Served, kind: str) -> None:
    if kind != "envoy":  # HTTP/1.1 has no streams: connections are reset instead
        await aborted(strained, STREAMS // 10)
        await well(strained, kind)
        return
    address = strained.url.removeprefix("http://")
    own = [("grpc.use_local_subchannel_pool", 1)]
    channels = [grpc.aio.insecure_channel(address, own) for _ in range(CONNECTIONS)]
    before = size_of(strained)
    opened = 0

    async def batches(channel: Any) -> None:
        nonlocal opened
        watch = channel.unary_stream(f"{PATH}WatchTicks")
        for _ in range(STREAMS // CONNECTIONS // BATCH):
            calls = [watch(b"") for _ in range(BATCH)]
            await asyncio.gather(*(call.initial_metadata() for call in calls))
            for call in calls:
                call.cancel()
            opened += len(calls)

    try:
        async with asyncio.timeout(HANG_SECONDS):
            await asyncio.gather(*(batches(channel) for channel in channels))
            count = channels[0].unary_unary(f"{PATH}CountTicks")
            assert await count(b"\x08\x03") == b"\x0a\x03xxx"  # the same connection goes on
    finally:
        for channel in channels:
            await channel.close()
    assert opened == STREAMS
    assert size_of(strained).rss - before.rss < GROWTH + CONNECTIONS * BATCH * 16_384
    await well(strained, kind)


async def aborted(served: Served, count: int) -> None:
    """Open streams on connections of their own, and break those."""
    port = int(served.url.rpartition(":")[2])
    turns = asyncio.Semaphore(100)
    fields = "Host: x\r\nContent-Type: application/connect+proto\r\nContent-Length: 5"
    head = f"POST {PATH}WatchTicks HTTP/1.1\r\n{fields}\r\n\r\n".encode()

    async def one() -> None:
        async with turns:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(head + envelope(b""))
            await reader.readuntil(b"\r\n\r\n")
            writer.transport.abort()

    async with asyncio.timeout(HANG_SECONDS), asyncio.TaskGroup() as group:
        for _ in range(count):
            group.create_task(one())
