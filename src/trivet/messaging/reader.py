"""A reader of the feed: what it was given, and what it is done with."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import TYPE_CHECKING, Generic, TypeVar

from trivet.core.event import Event
from trivet.core.shape import Struct
from trivet.messaging.position import Position

if TYPE_CHECKING:
    from trivet.messaging.feed import Feed

E = TypeVar("E", bound=Event)


class Entry(Struct):
    """An event as it is read from the outbox."""

    at: int
    time: int
    type: str
    payload: bytes


AT = attrgetter("at")


class Reader(Generic[E]):
    """One reader of the feed: an iterator over its events, and the place where it stands.

    Iterating yields committed events in commit order until the feed closes. Asking for the next one says that the last
    one is done with. ``str(reader)`` is the position after which the reader would continue, at any time: it moves on
    while nothing comes, too. Nothing is left out and nothing comes twice; a reader that stood still for longer than
    events are kept gets `PositionExpired`.

    Attributes:
        at: The last event that it is done with, or that is none of its.
        time: As in `Position`.
        decoders: By the names of the types that it follows.
        within: Whether it began within an event that is to come again, and has to be read for it (`Feed.resume`).
        chunk: What was read from the table for it, the next one last.
        waiting: Whether it has seen all there is.
    """

    __slots__ = ("_entry", "_feed", "_given", "_had", "at", "chunk", "decoders", "time", "waiting", "within", "woken")

    def __init__(self, feed: Feed, decoders: Mapping[str, Callable[[bytes], E]], position: Position) -> None:
        self._feed = feed
        self._entry: Entry | None = None
        self._given = 0
        self._had = position.items or 0
        self.decoders = decoders
        self.within = position.items is not None
        self.at = position.at - 1 if self.within else position.at
        self.time = position.time
        self.chunk: list[Entry] = []
        self.waiting = False
        self.woken: asyncio.Future[None] | None = None

    def __repr__(self) -> str:
        return f"Reader({self}, waiting={self.waiting})"

    def __str__(self) -> str:
        entry = self._entry
        if entry is not None:
            return f"{entry.at}-{entry.time}.{max(self._given, self._had)}"
        if self._had:  # the event that it was within has yet to come again
            return f"{self.at + 1}-{self.time}.{self._had}"
        return self._feed.end_of(self) if self.waiting else f"{self.at}-{self.time}"

    def __aiter__(self) -> Reader[E]:
        return self

    async def __anext__(self) -> E:
        self.finish()
        entry = await self._feed.next(self)
        if entry is None:
            raise StopAsyncIteration
        return self.begin(entry)

    def begin(self, entry: Entry) -> E:
        """Return the event of its next entry, which is the present one from now on."""
        event = self.decoders[entry.type](entry.payload)
        self._entry = entry
        return event

    def finish(self) -> None:
        """Be done with the present event, if there is one."""
        entry = self._entry
        if entry is not None:
            self.move(entry.at, entry.time)
            self._entry, self._given = None, 0

    def give(self) -> bool:
        """Count an item that the stream makes of the present event; `False` if its reader has had this one."""
        self._given += 1
        return self._given > self._had

    def move(self, at: int, time: int) -> None:
        """Be done with everything up to a position."""
        self.at, self.time, self._had = at, time, 0
