"""A client that goes away stops the work that was done for it, at next to no cost to answers that come soon.

Only a request that is still running after a moment gets a task that listens for the disconnect. A timer per request
would cost more than the rest of the front, so one timer serves all: at each tick it starts to listen for the requests
that were there at the tick before.
"""

from __future__ import annotations

import asyncio
from typing import Any

TICK_SECONDS = 0.02
"""A request runs between one and two ticks before anyone listens."""


Answered = Any
"""A call with `receive`, `gone`, `task` and `listener`, whatever protocol it came by."""


class Watches:
    """All requests of this process that are being answered."""

    def __init__(self) -> None:
        self._new: set[Answered] = set()
        self._waiting: set[Answered] = set()
        self._ticking = False

    def start(self, call: Answered) -> None:
        """Cancel the current task when the client goes away; to be used once the body is read."""
        if call.task is None:
            call.task = asyncio.current_task()
        self._new.add(call)
        if not self._ticking:
            self._ticking = True
            asyncio.get_running_loop().call_later(TICK_SECONDS, self._tick)

    def stop(self, call: Answered) -> None:
        """Leave the request alone from now on."""
        if call.listener is not None:
            call.listener.cancel()
            call.listener = None  # it knows the call: together they would wait for the collector
        else:
            self._new.discard(call)
            self._waiting.discard(call)

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        for call in self._waiting:
            call.listener = loop.create_task(_listen(call))
        self._waiting, self._new = self._new, set()
        self._ticking = bool(self._waiting)
        if self._ticking:
            loop.call_later(TICK_SECONDS, self._tick)


async def _listen(call: Answered) -> None:
    """Cancel the request when its client goes away."""
    while (await call.receive())["type"] != "http.disconnect":
        pass
    call.gone = True
    call.task.cancel()
