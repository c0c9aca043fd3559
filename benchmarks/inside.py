"""An ASGI application called without a server: its lifespan, and requests one after the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

Message = MutableMapping[str, Any]
Application = Callable[
    [Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]
]


class ApplicationFailed(Exception):
    """The application did not start, or did not answer as expected."""


@asynccontextmanager
async def started(app: Application) -> AsyncIterator[None]:
    """Run the application's start-up, then, on leaving, its shutdown."""
    asked: asyncio.Queue[Message] = asyncio.Queue()
    told: asyncio.Queue[Message] = asyncio.Queue()
    scope: Message = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": {}}
    life = asyncio.ensure_future(app(scope, asked.get, told.put))
    await asked.put({"type": "lifespan.startup"})
    await _complete(life, told, "lifespan.startup.complete")
    try:
        yield
    finally:
        await asked.put({"type": "lifespan.shutdown"})
        await _complete(life, told, "lifespan.shutdown.complete")
        await life


async def _complete(life: asyncio.Future[None], told: asyncio.Queue[Message], wanted: str) -> None:
    answer = asyncio.ensure_future(told.get())
    either: set[asyncio.Future[Any]] = {life, answer}
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    if not answer.done():
        answer.cancel()
        await life
        raise ApplicationFailed(f"the application ended before {wanted}")
    message = answer.result()
    if message["type"] != wanted:
        raise ApplicationFailed(str(message.get("message", message)))


class Caller:
    """Sends one prepared ``GET`` again and again; counts nothing and keeps nothing.

    Args:
        app: The application.
        path: What to get; every answer has to be a 200.
    """

    def __init__(self, app: Application, path: str) -> None:
        self._app = app
        self._scope: Message = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [(b"host", b"localhost"), (b"accept", b"application/json")],
            "client": ("127.0.0.1", 50000),
            "server": ("127.0.0.1", 8000),
            "state": {},
        }
        self._status = 0

    async def call(self) -> None:
        """Send the request once.

        Raises:
            ApplicationFailed: The answer is not a 200.
        """
        self._status = 0
        await self._app(dict(self._scope), self._receive, self._send)
        if self._status != 200:
            raise ApplicationFailed(f"{self._scope['path']} answered {self._status}")

    async def _receive(self) -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
