"""A reader of server-sent events that holds the server to the letter, on a socket of its own.

It reads as a browser does (https://html.spec.whatwg.org/multipage/server-sent-events.html): what was not ended by an
empty line is dropped, the id is kept between connections, and it comes back with it. Unlike a browser it fails on
anything that a server should not send.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Mapping
from typing import NamedTuple

PATIENCE_SECONDS = 60


class Event(NamedTuple):
    """One event as a page gets it."""

    name: str
    data: str
    id: str


class Refused(Exception):
    """The answer was no stream."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(f"{status} {body!r}")
        self.status = status
        self.body = body


class Parser:
    """Events out of lines.

    Attributes:
        id: The last event id: of the last block that was complete.
        retry: Milliseconds to wait before coming back.
        comments: How many lines were comments.
    """

    def __init__(self, id: str = "") -> None:
        self.id = self._id = id
        self.retry: int | None = None
        self.comments = 0
        self._name = ""
        self._data: list[str] = []

    def line(self, line: str) -> Event | None:
        """Read a line; return the event that it completes."""
        if line:
            self._field(line)
            return None
        self.id = self._id
        name, data = self._name or "message", self._data
        self._name, self._data = "", []
        return Event(name, "\n".join(data), self.id) if data else None

    def _field(self, line: str) -> None:
        name, colon, value = line.partition(":")
        value = value.removeprefix(" ")
        assert colon, f"a field without a value: {line!r}"
        match name:
            case "":
                self.comments += 1
            case "id":
                assert "\0" not in value
                self._id = value
            case "retry":
                assert re.fullmatch(r"\d+", value)
                self.retry = int(value)
            case "event":
                self._name = value
            case "data":
                self._data.append(value)
            case _:
                raise AssertionError(f"unknown field: {line!r}")


class Stream:
    """One connection on which events come.

    Attributes:
        parser: What was read of it; its id is the one to come back with.
        fields: Header fields of the answer.
        ended: Whether the answer came to its end, rather than being cut off.
    """

    def __init__(self, port: int, path: str, *, after: str = "", headers: Mapping[str, str] | None = None) -> None:
        self.parser = Parser(after)
        self.fields: dict[str, str] = {}
        self.ended = False
        self._port = port
        fields = {"Host": f"127.0.0.1:{port}", "Accept": "text/event-stream", **(headers or {})}
        if after:
            fields["Last-Event-ID"] = after
        lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
        self._request = "\r\n".join([*lines, "", ""]).encode()
        self._buffer = b""

    async def __aenter__(self) -> Stream:
        async with asyncio.timeout(PATIENCE_SECONDS):
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port, limit=2**20)
            self._writer.write(self._request)
            try:
                head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            except BaseException:
                self._writer.close()
                raise
        first, *lines = head[:-4].split("\r\n")
        self.fields = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        status = int(first.split()[1])
        if status != 200:
            length = int(self.fields.get("content-length", 0))
            body = await self._reader.readexactly(length)
            self._writer.close()
            raise Refused(status, body)
        assert self.fields["content-type"] == "text/event-stream"
        assert self.fields["transfer-encoding"] == "chunked"
        assert "content-length" not in self.fields
        assert "content-encoding" not in self.fields
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()

    def reset(self) -> None:
        """Break the connection without a word (RST)."""
        sock: socket.socket = self._writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self._writer.transport.abort()

    async def events(self, patience: float = PATIENCE_SECONDS) -> AsyncIterator[Event]:
        """Yield events until the answer ends or is cut off; none for so long is a failure."""
        buffer = b""
        while True:
            async with asyncio.timeout(patience):
                chunk = await self._chunk()
            if not chunk:
                assert not buffer, f"the stream ends within a line: {buffer!r}"
                return
            *lines, buffer = (buffer + chunk).split(b"\n")
            for line in lines:
                event = self.parser.line(line.decode())
                if event is not None:
                    yield event

    async def _chunk(self) -> bytes:
        """Return the next chunk; nothing at the end."""
        try:
            size = int(await self._reader.readuntil(b"\r\n"), 16)
            data = await self._reader.readexactly(size)
            assert await self._reader.readexactly(2) == b"\r\n"
        except (asyncio.IncompleteReadError, ConnectionError):
            self.parser = Parser(self.parser.id)  # a browser drops what is incomplete
            raise Broken from None
        self.ended = size == 0
        return data


class Broken(Exception):
    """The connection was cut off before the end of the answer."""
