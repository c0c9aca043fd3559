"""The management listener: ``/metrics``, ``/livez`` and ``/readyz`` for all workers together, on a private address."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress

from trivet.core.shape import Struct

HEAD_BYTES_MAX = 16 * 1024
HEAD_SECONDS = 5.0
PHRASES = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 503: "Service Unavailable"}


class Page(Struct):
    """An answer.

    Attributes:
        status: HTTP status.
        body: Text of the body.
        type: Its media type.
    """

    status: int
    body: str
    type: str = "application/json"


Pages = Mapping[str, Callable[[], Awaitable[Page]]]


def render(page: Page, *, head_only: bool = False) -> bytes:
    """Return a page as the bytes of an HTTP/1.1 response that closes its connection."""
    body = page.body.encode()
    allow = "allow: GET, HEAD\r\n" if page.status == 405 else ""
    head = (
        f"HTTP/1.1 {page.status} {PHRASES[page.status]}\r\ncontent-type: {page.type}\r\n"
        f"content-length: {len(body)}\r\ncache-control: no-store\r\n{allow}connection: close\r\n\r\n"
    )
    return head.encode("latin-1") + (b"" if head_only else body)


def parse(head: bytes) -> tuple[str, str] | None:
    """Return the method and path of a request, ``None`` when its first line is not one of HTTP/1."""
    words = head.split(b"\r\n", 1)[0].split(b" ")
    if len(words) != 3 or not words[2].startswith(b"HTTP/1.") or not words[1].startswith(b"/"):
        return None
    return words[0].decode("latin-1"), words[1].split(b"?", 1)[0].decode("latin-1")


class Management:
    """Serves a few pages to those who watch the service.

    Args:
        pages: What to serve by path.
    """

    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self._servers: list[asyncio.Server] = []

    async def start(self, sockets: Sequence[socket.socket]) -> None:
        """Serve from now on."""
        for sock in sockets:
            self._servers.append(await asyncio.start_server(self._serve, sock=sock, limit=HEAD_BYTES_MAX))

    def close(self) -> None:
        """Serve no more."""
        for server in self._servers:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            async with asyncio.timeout(HEAD_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
            writer.write(await self._answer(head))
            async with asyncio.timeout(HEAD_SECONDS):
                await writer.drain()
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    async def _answer(self, head: bytes) -> bytes:
        parsed = parse(head)
        if parsed is None:
            return render(Page(status=400, body='{"error":"not an HTTP request"}'))
        method, path = parsed
        page = self._pages.get(path)
        if page is None:
            return render(Page(status=404, body=f"Pages: {', '.join(self._pages)}\n", type="text/plain"))
        if method not in ("GET", "HEAD"):
            return render(Page(status=405, body='{"error":"use GET"}'))
        return render(await page(), head_only=method == "HEAD")
