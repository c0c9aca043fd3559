"""Committed events of several databases as one stream, for apps with sharded tables.

A reader has a cursor in the feed of each node and takes whatever is next in any of them, in turn. What happened at
different nodes has no order, with one exception: a shard that changes nodes takes its events along in their order
(`trivet.messaging.handover`).

Nothing that is not at hand is waited for in turn: each node is read in a task of its own, so a node that is down, or
slow, holds up nothing but its own events. They come when it is there again: the cursor stands where it stood, and so
does its position, which the reader carries.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from datetime import timedelta
from typing import Any, Generic, TypeVar

from trivet.core.backoff import spread
from trivet.core.clock import Clock
from trivet.core.event import Event
from trivet.data.database import Database, DatabaseUnavailable
from trivet.data.sharding.reads import together
from trivet.messaging.feed import POLL_SECONDS, Feed
from trivet.messaging.handover import HANDOVER, read_handover
from trivet.messaging.names import EventNames
from trivet.messaging.position import Position, position_of
from trivet.messaging.positions import read_positions, write_positions
from trivet.messaging.prune import RETENTION
from trivet.messaging.reader import Entry, Reader

E = TypeVar("E", bound=Event)

AGAIN_SECONDS, AGAIN_SPREAD = 1.0, 0.5
"""When a cursor tries again to read a node that can not be read."""

CHECK_SECONDS = 1.0
"""How long a reader that comes back waits for a node that says nothing; what it would say is checked later."""


class MergedFeed:
    """Committed events of several databases for whoever follows them.

    Args:
        databases: By name; the first is the one that there always is.
        names: The names of event types.
        key: Signs positions.
        clock: Time.
        retention: How long events are kept.
    """

    def __init__(
        self,
        databases: Mapping[str, Database],
        names: EventNames,
        key: bytes,
        *,
        clock: Clock | None = None,
        retention: timedelta = RETENTION,
    ) -> None:
        self._feeds = {
            name: Feed(database, names, clock=clock, retention=retention) for name, database in databases.items()
        }
        self._home = next(iter(databases))
        self._key = key
        self.closed = False

    def __repr__(self) -> str:
        return f"MergedFeed({', '.join(self._feeds)})"

    def wake(self) -> None:
        """Say that this process committed events; cheap, and harmless when it did not."""
        for feed in self._feeds.values():
            feed.wake()

    async def start(self, after: str | None) -> str:
        """Return the position at which a reader begins.

        Args:
            after: Where it was before; `None` for a new one, which begins with what is committed from here on.

        Raises:
            PositionUnknown: `after` is not a position.
            PositionExpired: Events behind `after` may be gone, or it is not of these databases.
            DatabaseUnavailable: A node can not be read, and nobody in this process knows where it ends.
        """
        if after is None:
            ends = await together([_end_of(feed) for feed in self._feeds.values()])
            return self.text_of(dict(zip(self._feeds, ends, strict=True)))
        positions = read_positions(after, self._feeds, self._home, self._key)
        since, oldest = max(p.time for p in positions.values()), min(p.time for p in positions.values())
        await together(
            [
                _checked(feed, positions[name]) if name in positions else feed.check_new(since)
                for name, feed in self._feeds.items()
            ]
        )
        new = Position(at=0, time=oldest)  # a node that was not there yet when the position was told
        return self.text_of({name: positions.get(name, new) for name in self._feeds})

    @asynccontextmanager
    async def follow(self, types: Sequence[type[E]], after: str | None = None) -> AsyncIterator[MergedReader[E]]:
        """Give a reader of the events of these types; see `Feed.follow`, and `start` for what it raises."""
        positions = read_positions(await self.start(after), self._feeds, self._home, self._key)
        cursors = {name: Cursor[E](feed, types, positions[name]) for name, feed in self._feeds.items()}
        reader = MergedReader(self, cursors)
        with ExitStack() as stack:
            for cursor in cursors.values():
                stack.enter_context(cursor.feed.reading(cursor.reader))
            try:
                yield reader
            finally:
                await reader.close()

    async def close(self) -> None:
        """End every reader's iteration and stop reading."""
        self.closed = True
        for feed in self._feeds.values():
            await feed.close()

    def text_of(self, positions: Mapping[str, Position]) -> str:
        """Return the text of a position in each database."""
        return write_positions(positions, self._key)


class Cursor(Generic[E]):
    """Where a reader stands in one database.

    Args:
        feed: Of the database.
        types: The classes of the events.
        position: Where it begins.

    Attributes:
        reader: Its place in the feed.
        head: What comes next, where that has to wait for another database.
        reading: Reads what is not at hand.
        error: What reading ended with.
    """

    def __init__(self, feed: Feed, types: Sequence[type[E]], position: Position) -> None:
        decoders: dict[str, Callable[[bytes], Any]] = {**feed.decoders(types), HANDOVER: read_handover}
        self.feed = feed
        self.reader: Reader[E] = Reader(feed, decoders, position)
        self.head: Entry | None = None
        self.reading: asyncio.Task[None] | None = None
        self.error: Exception | None = None
        self._position: Position | None = position

    def next(self) -> Entry | None:
        """Return the next entry where it is at hand."""
        if self.reading is not None or self._position is not None:
            return None
        entry, self.head = self.head or self.feed.ready(self.reader), None
        return entry

    @property
    def level(self) -> bool:
        """Whether it has seen all there is, as far as is known."""
        idle = self.reading is None and self._position is None and self.head is None
        return idle and self.feed.level(self.reader)

    async def read(self) -> None:
        """Read on until something is at hand, however long the database can not be read; an error is kept."""
        while True:
            try:
                if self._position is not None:
                    await self.feed.check(self._position)
                    await self.feed.resume(self.reader)
                    self._position = None
                else:
                    await self.feed.fill(self.reader)
            except DatabaseUnavailable:
                await asyncio.sleep(spread(AGAIN_SECONDS, AGAIN_SPREAD))
                continue
            except Exception as error:  # raised to the reader when it asks for the next event
                self.error = error
            return


class MergedReader(Generic[E]):
    """One reader of several feeds; see `Reader`, whose promises it keeps for each database.

    Args:
        merged: Whose it is.
        cursors: By the name of the database.
    """

    def __init__(self, merged: MergedFeed, cursors: Mapping[str, Cursor[E]]) -> None:
        self._merged = merged
        self._cursors = dict(cursors)
        self._turns = list(cursors.values())
        self._present: Cursor[E] | None = None
        self._woken: asyncio.Future[None] | None = None

    def __repr__(self) -> str:
        return f"MergedReader({', '.join(f'{name}: {cursor.reader}' for name, cursor in self._cursors.items())})"

    def __str__(self) -> str:
        return self._merged.text_of({name: position_of(str(c.reader)) for name, c in self._cursors.items()})

    def __aiter__(self) -> MergedReader[E]:
        return self

    async def __anext__(self) -> E:
        if self._present is not None:
            self._present.reader.finish()
            self._present = None
        while not self._merged.closed:
            for cursor in list(self._turns):
                entry = self._next_of(cursor)
                if entry is not None:
                    self._turns.remove(cursor)
                    self._turns.append(cursor)  # the others first, next time
                    self._present = cursor
                    return cursor.reader.begin(entry)
            await self._more()
        raise StopAsyncIteration

    def give(self) -> bool:
        """Count an item that the stream makes of the present event; `False` if its reader has had this one."""
        assert self._present is not None
        return self._present.reader.give()

    async def close(self) -> None:
        """Stop reading."""
        reading = [cursor.reading for cursor in self._turns if cursor.reading is not None]
        for task in reading:
            task.cancel()
        await asyncio.gather(*reading, return_exceptions=True)

    def _next_of(self, cursor: Cursor[E]) -> Entry | None:
        """Return the next event of a cursor where it is at hand and its turn has come; else see to it that it will be.

        Raises:
            PositionExpired: Events behind the cursor may be gone.
        """
        if cursor.error is not None:
            raise cursor.error
        while (entry := cursor.next()) is not None:
            if entry.type != HANDOVER:
                return entry
            if not self._passed(entry):
                cursor.head = entry
                return None
            cursor.reader.move(entry.at, entry.time)
        if cursor.reading is None and not cursor.level:
            cursor.reading = asyncio.ensure_future(cursor.read())
            cursor.reading.add_done_callback(lambda _: self._was_read(cursor))
        return None

    def _passed(self, entry: Entry) -> bool:
        """Return whether everything was seen that comes before a handover; what is gone for ever is not waited for."""
        handover = read_handover(entry.payload)
        source = self._cursors.get(handover.source)
        return source is None or source.feed.progress(source.reader) >= handover.upto

    def _was_read(self, cursor: Cursor[E]) -> None:
        cursor.reading = None
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)

    async def _more(self) -> None:
        """Wait until something may be at hand."""
        woken = self._woken = asyncio.get_running_loop().create_future()
        waiting = [cursor for cursor in self._turns if cursor.level]
        for cursor in waiting:
            cursor.feed.wait(cursor.reader, woken)
        held = any(cursor.head is not None for cursor in self._turns)
        try:
            with suppress(TimeoutError):  # it is time to look whether what is held may pass
                async with asyncio.timeout(POLL_SECONDS if held else None):
                    await woken
        finally:
            self._woken = None
            for cursor in waiting:
                cursor.feed.settle(cursor.reader)


async def _end_of(feed: Feed) -> Position:
    """Return where a new reader begins; at a node that was lost sight of, with what came after that."""
    last = feed.last_end if feed.cut_off else None
    return last or await feed.end()


async def _checked(feed: Feed, position: Position) -> None:
    """Refuse what can not be continued from, as far as can be known; the cursor checks what could not."""
    with suppress(DatabaseUnavailable, TimeoutError):  # the cursor checks it when the node is back
        async with asyncio.timeout(CHECK_SECONDS):
            await feed.check(position)
