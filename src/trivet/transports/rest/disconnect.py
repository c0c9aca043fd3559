"""A client that goes away stops the work that was done for it, at next to no cost to answers that come soon.

Only a request that is still running after a moment gets a task that listens for the disconnect. A timer per request
would cost more than the rest of the front, so one timer serves all: at each tick it starts to listen for the requests
that were there at the tick before.
"""

from __future__ import annotations

import asyncio
from typing import Any

from trivet.transports.rest.exchange import RestCall

TICK_SECONDS = 0.02
"""A request runs between one and two ticks before anyone listens."""


class Watch:
    """One request whose body is read, and the task that answers it."""

    __slots__ = ("call", "listener", "task")

    def __init__(self, call: RestCall, task: asyncio.Task[Any] | None) -> None:
        self.call = call
        self.task = task
        self.listener: asyncio.Task[None] | None = None

    async def listen(self) -> None:
        """Cancel the request when its client goes away."""
        while (await self.call.receive())["type"] != "http.disconnect":
            pass
        self.call.gone = True
        if self.task is not None:
            self.task.cancel()


class Watches:
    """All requests of this process that are being answered."""

    def __init__(self) -> None:
        self._new: set[Watch] = set()
        self._waiting: set[Watch] = set()
        self._ticking = False

    def start(self, call: RestCall) -> Watch:
        """Cancel the current task when the client goes away; to be used once the body is read."""
        watch = Watch(call, call.task or asyncio.current_task())
        self._new.add(watch)
        if not self._ticking:
            self._ticking = True
            asyncio.get_running_loop().call_later(TICK_SECONDS, self._tick)
        return watch

    def stop(self, watch: Watch) -> None:
        """Leave the request alone from now on."""
        if watch.listener is not None:
            watch.listener.cancel()
        else:
            self._new.discard(watch)
            self._waiting.discard(watch)

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        for watch in self._waiting:
            watch.listener = loop.create_task(watch.listen())
        self._waiting, self._new = self._new, set()
        self._ticking = bool(self._waiting)
        if self._ticking:
            loop.call_later(TICK_SECONDS, self._tick)
