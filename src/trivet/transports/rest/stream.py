"""Streams as server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html).

Nothing is buffered: the next item is asked for when the last one is sent. Each event carries the position after which
a reader that comes back (``Last-Event-ID``) continues; a process that is about to end closes its streams, and readers
come back by themselves. A comment now and then keeps middleboxes from closing a quiet stream. What fails before the
first item is an ordinary error; what fails later is an event named ``error``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

from trivet.core.error import Error
from trivet.transports.rest import problem
from trivet.transports.rest.exchange import RestCall, Send
from trivet.transports.rest.render import ENCODER

HEARTBEAT_SECONDS = 15.0
LOOK_UP_SECONDS = 0.5
"""How often a stream without items looks up from its work."""

FIRST_ITEM_SECONDS = 0.1
"""How long the head of the answer waits for a first item or an early error."""

HEARTBEAT = b": still here\n\n"
FIELDS = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]


class Events:
    """One stream on its way to one reader.

    Args:
        call: The request.
        items: What is streamed; closed in any case.
        send: Where the bytes go.
        draining: Whether the process is about to end: then the stream ends, and the reader comes back elsewhere.
    """

    def __init__(
        self, call: RestCall, items: AsyncIterator[Any], send: Send, draining: Callable[[], bool] = lambda: False
    ) -> None:
        self._call = call
        self._draining = draining
        self._items = items
        self._send = send
        self._next: asyncio.Future[Any] | None = None
        self.size = 0

    async def first(self) -> None:
        """Wait a moment for the first item.

        Raises:
            Error: The stream failed before it began.
        """
        self._next = asyncio.ensure_future(anext(self._items))
        done, _ = await asyncio.wait((self._next,), timeout=FIRST_ITEM_SECONDS)
        if done and isinstance(self._next.exception(), Error):
            self._next.result()

    async def run(self) -> None:
        """Send items as they come until there are no more, the reader goes away or the process is about to end."""
        loop = asyncio.get_running_loop()
        gone = asyncio.ensure_future(self._gone())
        wrote = loop.time()
        try:
            while not self._draining():
                if self._next is None:
                    self._next = asyncio.ensure_future(anext(self._items))
                await asyncio.wait((self._next, gone), timeout=LOOK_UP_SECONDS, return_when="FIRST_COMPLETED")
                if gone.done():
                    return
                if not self._next.done():
                    if loop.time() - wrote >= HEARTBEAT_SECONDS:
                        await self._write(HEARTBEAT)
                        wrote = loop.time()
                    continue
                following, self._next = self._next, None
                try:
                    item = following.result()
                except StopAsyncIteration:
                    return
                except Error as failed:
                    await self.fail(failed)
                    return
                await self._write(event(item, self._call.position))
                wrote = loop.time()
        finally:
            gone.cancel()

    async def fail(self, error: Error) -> None:
        """Say in an event what is wrong."""
        shown = problem.render(error, self._call, self._call.root)
        await self._write(b"event: error\ndata: %b\n\n" % shown.body)

    async def close(self) -> None:
        """End the handler's generator."""
        if self._next is not None:
            self._next.cancel()
            await asyncio.wait((self._next,))
            if not self._next.cancelled():
                self._next.exception()  # retrieved: nobody is left to hear it
        await close(self._items)

    async def _gone(self) -> None:
        while (await self._call.receive())["type"] != "http.disconnect":
            pass
        self._call.gone = True

    async def _write(self, data: bytes) -> None:
        self.size += len(data)
        await self._send({"type": "http.response.body", "body": data, "more_body": True})


async def close(items: AsyncIterator[Any]) -> None:
    """Close an iterator that has an end to come to."""
    aclose = getattr(items, "aclose", None)
    if aclose is not None:
        await aclose()


def event(item: Any, position: str | None) -> bytes:
    """Return one event; JSON has no line ends of its own, so the data is one line."""
    data = ENCODER.encode(item)
    return b"data: %b\n\n" % data if position is None else b"id: %b\ndata: %b\n\n" % (position.encode(), data)
