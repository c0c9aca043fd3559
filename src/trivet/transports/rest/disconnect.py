"""A client that goes away stops the work that was done for it, at no cost to answers that come soon.

Only a request that is still running after a moment gets a task that listens for the disconnect.
"""

from __future__ import annotations

import asyncio

from trivet.transports.rest.exchange import RestCall

PATIENCE_SECONDS = 0.02
"""How long a request runs before anyone listens."""


class Watch:
    """Cancels the current task when the client goes away; to be used once the body is read."""

    __slots__ = ("_call", "_listener", "_loop", "_task", "_timer")

    def __init__(self, call: RestCall) -> None:
        self._call = call
        self._task = asyncio.current_task()
        self._listener: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(PATIENCE_SECONDS, self._start)

    def stop(self) -> None:
        """Stop listening."""
        self._timer.cancel()
        if self._listener is not None:
            self._listener.cancel()

    def _start(self) -> None:
        self._listener = self._loop.create_task(self._listen())

    async def _listen(self) -> None:
        while (await self._call.receive())["type"] != "http.disconnect":
            pass
        self._call.gone = True
        if self._task is not None:
            self._task.cancel()
