"""A request whose body is sent piece by piece while it is answered, to an app in this process."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

from trivet.testing.asgi import scope_of


class Feeding:
    """One request.

    Attributes:
        asked: How often the app asked for a piece of the body.
        status: Of the answer, 0 before its head.
        head: Its header fields, and at the end its trailers.
        body: What came of it so far.
    """

    def __init__(self, app: Any, path: str, content_type: str, **fields: str) -> None:
        headers = {"content-type": content_type, **{n.replace("_", "-"): v for n, v in fields.items()}}
        scope = scope_of("POST", path, None, headers, b"", False)
        scope["headers"] = [(n, v) for n, v in scope["headers"] if n != b"content-length"]
        scope["http_version"], scope["extensions"] = "2", {"http.response.trailers": {}}
        self._pieces: asyncio.Queue[MutableMapping[str, Any]] = asyncio.Queue()
        self._came = asyncio.Event()
        self.asked = self.status = 0
        self.head: dict[str, str] = {}
        self.body = b""
        self._done = asyncio.ensure_future(app(scope, self._receive, self._send))

    async def _receive(self) -> MutableMapping[str, Any]:
        self.asked += 1
        return await self._pieces.get()

    async def _send(self, message: MutableMapping[str, Any]) -> None:
        self.status = message.get("status", self.status)
        self.head |= {n.decode(): v.decode("latin-1") for n, v in message.get("headers", ())}
        self.body += message.get("body", b"")
        self._came.set()

    def feed(self, *pieces: bytes) -> Feeding:
        """Send pieces of the body."""
        for piece in pieces:
            self._pieces.put_nowait({"type": "http.request", "body": piece, "more_body": True})
        return self

    def close(self) -> Feeding:
        """Say that this is all."""
        self._pieces.put_nowait({"type": "http.request", "body": b"", "more_body": False})
        return self

    def leave(self) -> Feeding:
        """Go away."""
        self._pieces.put_nowait({"type": "http.disconnect"})
        return self

    async def until(self, text: bytes) -> None:
        """Return when the answer has a text."""
        async with asyncio.timeout(10):
            while text not in self.body:
                self._came.clear()
                await self._came.wait()

    async def done(self) -> Feeding:
        """Return when the app has answered."""
        async with asyncio.timeout(30):
            await self._done
        return self
