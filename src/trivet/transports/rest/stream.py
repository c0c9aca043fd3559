"""Streams as server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html).

Nothing is buffered: the next item is asked for when the last one is sent, so a reader that stops reading stops its
stream, and the events wait in the outbox. Each item carries the position after which a reader that comes back
(``Last-Event-ID``) continues. A quiet stream says now and then where its reader stands: that keeps middleboxes from
closing it, and a position never gets too old while it is read. What fails before the first item is an ordinary error;
what fails later is an event named ``error``. However a stream ends in order (nothing more, idle, old, the process is
about to end), its last words are the reader's position.

One task runs a stream, one listens for its reader going away. Everything that depends on time is done by one timer for
all streams of the process: two thousand quiet ones cost next to nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

from trivet.core.backoff import spread
from trivet.core.call import Place
from trivet.core.error import Error
from trivet.transports.rest import problem
from trivet.transports.rest.exchange import RestCall, Send
from trivet.transports.rest.render import ENCODER

HEARTBEAT_SECONDS = 15.0
"""How long a stream says nothing at most."""

TICK_SECONDS = 1.0
"""How often all streams are looked at; a heartbeat may be late by that much."""

FIRST_ITEM_SECONDS = 0.1
"""How long the head of the answer waits for a first item or an early error."""

RETRY_SECONDS, RETRY_SPREAD = 3.0, 2 / 3
"""Between how many seconds a reader waits before it comes back: streams that end together do not return together."""

HEARTBEAT = b": still here\n\n"
"""What a stream says that has no positions."""

FIELDS = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]


WriteEvent = Callable[[Any, Place | None], bytes]
"""Writes an item and where its reader stands then as one event."""


class Streams:
    """All streams of this process, and the timer that beats for them."""

    def __init__(self) -> None:
        self._due: dict[Events, float] = {}  # the one that said something longest ago comes first
        self._ticking = False
        self.ending = False

    def __len__(self) -> int:
        return len(self._due)

    def said(self, events: Events) -> None:
        """Note that a stream said something just now; also the first time."""
        self._due.pop(events, None)
        loop = asyncio.get_running_loop()
        self._due[events] = loop.time() + HEARTBEAT_SECONDS
        if not self._ticking:
            self._ticking = True
            loop.call_later(TICK_SECONDS, self._tick)

    def forget(self, events: Events) -> None:
        """Leave a stream alone from now on."""
        self._due.pop(events, None)

    def end(self) -> None:
        """End every stream, those that are still to come included: their readers come back elsewhere."""
        self.ending = True
        for events in list(self._due):
            events.end()

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        due: list[Events] = []
        for events, at in self._due.items():
            if at > now:
                break
            due.append(events)
        for events in due:
            self.said(events)
            events.beat()
        self._ticking = bool(self._due)
        if self._ticking:
            loop.call_later(TICK_SECONDS, self._tick)


class Events:
    """One stream on its way to one reader.

    Args:
        call: The request.
        items: What is streamed; closed in any case.
        head: The header fields of the answer.
        send: Where the bytes go.
        streams: All streams of the process.
        write: Writes one item as an event.

    Attributes:
        started: Whether the head was sent; then nothing can be answered any more but events.
        size: How many bytes of the body were sent.
    """

    __slots__ = (
        "_beating",
        "_call",
        "_ended",
        "_head",
        "_items",
        "_listening",
        "_send",
        "_streams",
        "_task",
        "_turn",
        "_unsent",
        "_write_event",
        "size",
        "started",
    )

    def __init__(
        self,
        call: RestCall,
        items: AsyncIterator[Any],
        head: list[tuple[bytes, bytes]],
        send: Send,
        streams: Streams,
        write: WriteEvent | None = None,
    ) -> None:
        self._call = call
        self._items = items
        self._head = head
        self._send = send
        self._streams = streams
        self._write_event = write or event
        self._turn = asyncio.Lock()
        self._task: asyncio.Task[Any] | None = None
        self._beating: asyncio.Task[None] | None = None
        self._listening: asyncio.Task[None] | None = None
        self._ended = False
        self._unsent = False
        self.started = False
        self.size = 0

    async def run(self) -> None:
        """Send items as they come until there are no more, the reader goes away or the process is about to end.

        Raises:
            Error: What the stream failed with.
            Exception: An item can not be written.
        """
        if self._streams.ending:
            await close(self._items)
            return
        loop = asyncio.get_running_loop()
        task = self._task = asyncio.current_task()
        assert task is not None  # a coroutine runs in a task
        self._streams.said(self)
        self._start_listening()
        first = loop.call_later(FIRST_ITEM_SECONDS, self.beat)
        try:
            async for item in self._items:
                self._unsent = True
                await self._write(self._write_event(item, self._call.position))
                self._unsent = False
            if self._call.items is not None:
                self._call.items.check()
        except asyncio.CancelledError:
            if not self._ended:
                raise
        finally:
            self._task = None
            self._streams.forget(self)
            first.cancel()
            if self._call.items is not None:
                self._call.items.then = None
            if self._listening is not None:
                self._listening.cancel()
            if self._beating is not None:
                self._beating.cancel()
                await asyncio.wait((self._beating,))
            await close(self._items)
            if self._ended and task.uncancel() > 0:
                raise asyncio.CancelledError  # somebody else wants an end as well
        if self._ended and not self._call.gone:
            self._call.code = None  # it was not the reader who gave up

    async def fail(self, error: Error) -> None:
        """Say in an event what is wrong."""
        shown = problem.render(error, self._call, self._call.root)
        await self._write(b"event: error\ndata: %b\n\n" % shown.body)

    async def finish(self) -> None:
        """Say where the reader stands, unless an item did not get through, and end the answer."""
        if self._call.gone:
            return
        await self._write(b"" if self._unsent else self._place())
        await self._send({"type": "http.response.body", "body": b""})

    def beat(self) -> None:
        """Say something, unless the reader has yet to take what was said last."""
        if not self._turn.locked():
            self._beating = asyncio.ensure_future(self._beat())

    def end(self) -> None:
        """End the stream as if there were nothing more."""
        if self._task is not None and not self._ended:
            self._ended = True
            self._task.cancel()

    def _start_listening(self) -> None:
        """Hear of the reader going away; where items come in, who asks for them hears of it until all are there."""
        items = self._call.items
        if items is None or items.ended:
            self._listening = asyncio.ensure_future(self._listen())
        else:
            items.then = self._start_listening

    async def _listen(self) -> None:
        while (await self._call.receive())["type"] != "http.disconnect":
            pass
        self._call.gone = True
        self.end()

    async def _beat(self) -> None:
        with suppress(OSError):  # the reader is gone: the listener hears of it as well
            await self._write((self._place() or HEARTBEAT) if self.started else b"")

    def _place(self) -> bytes:
        """Return an event without data: it moves the reader's position on, and nobody is called for it."""
        place = self._call.position or self._call.resume_after
        return b"" if place is None else b"id: %b\n\n" % str(place).encode()

    def _opening(self) -> bytes:
        """Return the first words: when to come back, and from where if nothing else is said."""
        seconds = spread(RETRY_SECONDS, RETRY_SPREAD)
        start = self._call.resume_after
        return b"retry: %d\n%b\n" % (seconds * 1000, b"" if start is None else b"id: %b\n" % start.encode())

    async def _write(self, data: bytes) -> None:
        async with self._turn:
            if not self.started:
                await self._send({"type": "http.response.start", "status": 200, "headers": self._head})
                self.started = True
                data = self._opening() + data
            if not data:
                return
            await self._send({"type": "http.response.body", "body": data, "more_body": True})
            self.size += len(data)
            if self._task is not None:
                self._streams.said(self)


async def close(items: AsyncIterator[Any]) -> None:
    """Close an iterator that has an end to come to."""
    aclose = getattr(items, "aclose", None)
    if aclose is not None:
        await aclose()


def event(item: Any, place: Place | None) -> bytes:
    """Return one event; JSON has no line ends of its own, so the data is one line."""
    data = ENCODER.encode(item)
    return b"data: %b\n\n" % data if place is None else b"id: %b\ndata: %b\n\n" % (str(place).encode(), data)
