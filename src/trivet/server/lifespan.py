"""The lifespan of an ASGI application, from the server's side."""

from __future__ import annotations

import asyncio
from typing import Any

from trivet.server.interface import ASGIApp, Message


class LifespanFailed(Exception):
    """The application did not start, or did not end, in order; the message is its own."""


class Lifespan:
    """Opens an application and closes it (ASGI lifespan protocol 2.0).

    An application that does not know the protocol, and says so by raising at once, is served without it.

    Args:
        app: The application.

    Attributes:
        state: What the application left for requests.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.state: dict[str, Any] = {}
        self._app = app
        self._in: asyncio.Queue[Message] = asyncio.Queue()
        self._out: asyncio.Queue[Message] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    async def startup(self) -> None:
        """Return when the application is open.

        Raises:
            LifespanFailed: It said that it can not start.
            Exception: What it raised after it had taken part.
        """
        self._task = asyncio.create_task(self._run(), name="lifespan")
        await self._say("startup")

    async def shutdown(self) -> None:
        """Return when the application is closed; raises what `startup` raises. Does nothing after a failed startup."""
        if self._task is not None and not self._task.done():
            await self._say("shutdown")
            await self._task

    async def _run(self) -> None:
        scope: dict[str, Any] = {
            "type": "lifespan",
            "asgi": {"version": "3.0", "spec_version": "2.0"},
            "state": self.state,
        }
        await self._app(scope, self._in.get, self._out.put)

    async def _say(self, phase: str) -> None:
        assert self._task is not None
        await self._in.put({"type": f"lifespan.{phase}"})
        answer = asyncio.ensure_future(self._out.get())
        await asyncio.wait({answer, self._task}, return_when=asyncio.FIRST_COMPLETED)
        if answer.done():
            message = answer.result()
            if message["type"] == f"lifespan.{phase}.failed":
                await asyncio.wait({self._task}, timeout=1)
                self._task.cancel()
                raise LifespanFailed(str(message.get("message") or f"{phase} failed")) from self._cause()
            return
        answer.cancel()
        if phase == "shutdown" or not self._in.empty():
            # Raised before it read the message: an application that does not take part.
            self._task.exception()
            return
        self._task.result()

    def _cause(self) -> BaseException | None:
        assert self._task is not None
        return self._task.exception() if self._task.done() and not self._task.cancelled() else None
