"""The load of gRPC: calls on one HTTP/2 connection (RFC 9113), so many at once, made of frames that are ready to send.

gRPC's own client costs as much as the servers that it asks, and on the machine that they share: they would be measured
idle. This one knows just enough: it holds to the server's flow control, answers its pings, and looks at no field. That
the answers are right is seen beforehand, by gRPC's own client; here each one has to end, and to be large enough.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

from benchmarks.driver import HOST, UnexpectedAnswer

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM = ACK = 1
END_HEADERS = 4
FRAME_BYTES = 9
LARGEST_WINDOW = 2**31 - 1
FIRST_WINDOW = 2**16 - 1
FIELDS = (
    (b":path", b""),
    (b":authority", b""),
    (b"content-type", b"application/grpc"),
    (b"te", b"trailers"),
    (b"user-agent", b"trivet-benchmarks"),
    (b"grpc-accept-encoding", b"identity, deflate, gzip"),
)
"""Beside the method and the scheme; the first two are said by the call."""

POST, HTTP = b"\x83", b"\x86"
"""``:method: POST`` and ``:scheme: http`` in HPACK's static table (RFC 7541 appendix A)."""

FIRST_DYNAMIC = 62
"""Where HPACK's dynamic table starts; its newest entry is its first."""


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """Return a frame."""
    return len(payload).to_bytes(3) + bytes((kind, flags)) + stream.to_bytes(4) + payload


def blocks(path: str, authority: str) -> tuple[bytes, bytes]:
    """Return the header block of the first request, which fills HPACK's table, and that of all others, which use it."""
    values = [path.encode(), authority.encode(), *(value for _, value in FIELDS[2:])]
    named = zip((name for name, _ in FIELDS), values, strict=True)
    texts = [b"\x40%c%b%c%b" % (len(name), name, len(value), value) for name, value in named]
    indexed = bytes(0x80 | FIRST_DYNAMIC + place for place in reversed(range(len(FIELDS))))
    return POST + HTTP + b"".join(texts), POST + HTTP + indexed


class Calls(asyncio.Protocol):
    """A connection on which the same call is made again and again.

    Args:
        path: What is called.
        port: Of the server.
        request: The message in its envelope.
        least: Bytes that each answer has at least.
    """

    def __init__(self, path: str, port: int, request: bytes, least: int) -> None:
        self._first, self._block = blocks(path, f"{HOST}:{port}")
        self._request = request
        self._least = least
        self._transport: asyncio.Transport
        self._received = b""
        self._stream = -1
        self._window = FIRST_WINDOW
        self._sizes: dict[int, int] = {}
        self._left = self._waiting = 0
        self._done: asyncio.Future[None] | None = None

    async def make(self, count: int, at_once: int) -> None:
        """Make so many calls, of which so many are in flight.

        Raises:
            UnexpectedAnswer: One does not end as it should.
        """
        self._done = asyncio.get_running_loop().create_future()
        self._left = count
        self._waiting = min(count, at_once)
        self._send()
        await self._done

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name
        settings = b"\x00\x02" + (0).to_bytes(4) + b"\x00\x04" + LARGEST_WINDOW.to_bytes(4)  # no push, a wide window
        wide = frame(WINDOW_UPDATE, 0, 0, (LARGEST_WINDOW - FIRST_WINDOW).to_bytes(4))
        self._transport.write(PREFACE + frame(SETTINGS, 0, 0, settings) + wide)

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(f"the server closed the connection ({exc})")

    def data_received(self, data: bytes) -> None:
        received = self._received + data if self._received else data
        at = 0
        while len(received) - at >= FRAME_BYTES:
            end = at + FRAME_BYTES + int.from_bytes(received[at : at + 3])
            if end > len(received):
                break
            stream = int.from_bytes(received[at + 5 : at + FRAME_BYTES])
            self._frame(received[at + 3], received[at + 4], stream, received[at + FRAME_BYTES : end])
            at = end
        self._received = received[at:]
        self._send()

    def _frame(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == DATA:
            self._sizes[stream] += len(payload)
        elif kind in (RST_STREAM, GOAWAY):
            self._fail(f"the server ended with frame {kind}, {payload.hex()}")
        elif kind == WINDOW_UPDATE and stream == 0:
            self._window += int.from_bytes(payload)
        elif kind in (SETTINGS, PING) and not flags & ACK:
            self._transport.write(frame(kind, ACK, 0, payload if kind == PING else b""))
        if kind in (DATA, HEADERS) and flags & END_STREAM:
            size = self._sizes.pop(stream)
            if size < self._least:
                self._fail(f"an answer has {size} bytes instead of {self._least}")
            self._left -= 1
            if self._left > len(self._sizes) + self._waiting:
                self._waiting += 1
            elif not self._left and self._done is not None and not self._done.done():
                self._done.set_result(None)

    def _send(self) -> None:
        """Send the requests that wait, as far as the server takes them."""
        frames = b""
        while self._waiting and self._window >= len(self._request):
            self._stream += 2
            block = self._block if self._stream > 1 else self._first
            frames += frame(HEADERS, END_HEADERS, self._stream, block)
            frames += frame(DATA, END_STREAM, self._stream, self._request)
            self._window -= len(self._request)
            self._sizes[self._stream] = 0
            self._waiting -= 1
        if frames:
            self._transport.write(frames)

    def _fail(self, problem: str) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_exception(UnexpectedAnswer(problem))


@asynccontextmanager
async def connected(path: str, port: int, request: bytes, least: int) -> AsyncIterator[Calls]:
    """Open a connection for calls."""
    loop = asyncio.get_running_loop()
    transport, calls = await loop.create_connection(lambda: Calls(path, port, request, least), HOST, port)
    try:
        yield calls
    finally:
        transport.close()
