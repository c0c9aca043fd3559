"""The feed: committed events in commit order, for streams.

One tailer in each process reads the outbox behind its position, when it is woken or once per poll while anybody
follows, and hands each event to every follower. A follower holds a bounded number of events; one that is too slow for
that is taken off, and reads the table from its own position until it has caught up. So nothing is dropped, memory is
bounded, and no follower waits for another.

Positions are given out while the only writer of SQLite holds its lock, so they are committed in their order and
without gaps. An engine whose transactions commit side by side must keep the tailer behind the oldest one that still
runs: on PostgreSQL a row counts once its `xid8` is below ``pg_snapshot_xmin(pg_current_snapshot())``.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from trivet.core.clock import Clock, SystemClock
from trivet.core.error import InvalidArgument, OutOfRange, Violation
from trivet.core.event import Event
from trivet.core.shape import Struct
from trivet.core.tolerant import tolerant
from trivet.data.database import Database, DatabaseUnavailable
from trivet.messaging.message import MessageKind
from trivet.messaging.names import EventNames
from trivet.messaging.prune import RETENTION
from trivet.messaging.retry import idle
from trivet.messaging.tables import instant, micros, tables

if TYPE_CHECKING:
    from trivet.data.statement import Statement

E = TypeVar("E", bound=Event)

POLL_SECONDS = 0.25
BUFFER = 256
"""How many events wait for a follower before it is taken off."""
CHUNK = 256
"""How many events are read from the table at once."""

POSITION = re.compile(r"(\d{1,18})-(\d{1,17})", re.ASCII)


class PositionExpired(OutOfRange):
    """Events after this position may be gone; read the present state and follow from now."""


class Position(Struct):
    """Where a follower stands.

    Attributes:
        at: The last event that it saw.
        time: When that event was emitted, in microseconds since 1970; it tells whether later ones may be gone.
    """

    at: int
    time: int

    def __str__(self) -> str:
        return f"{self.at}-{self.time}"


def position_of(text: str) -> Position:
    """Return a position from its text.

    Raises:
        InvalidArgument: It is none.
    """
    match = POSITION.fullmatch(text)
    if match is None:
        raise InvalidArgument(violations=(Violation(detail="is not a position of this stream", pointer="#/after"),))
    return Position(at=int(match[1]), time=int(match[2]))


class Entry(Struct):
    """An event as it is read from the outbox."""

    at: int
    time: int
    type: str
    payload: bytes


class Follower:
    """What one reader of the feed waits at."""

    __slots__ = ("attached", "entries", "filled")

    def __init__(self) -> None:
        self.attached = False
        self.entries: deque[Entry] = deque()
        self.filled = asyncio.Event()

    def offer(self, entry: Entry) -> None:
        """Take an entry, or be taken off when too many wait."""
        self.filled.set()
        if len(self.entries) < BUFFER:
            self.entries.append(entry)
        else:
            self.attached = False


class Feed:
    """Committed events for whoever follows them.

    Args:
        database: The store.
        names: The names of event types.
        clock: Time.
        retention: How long events are kept.
    """

    def __init__(
        self,
        database: Database,
        names: EventNames,
        *,
        clock: Clock | None = None,
        retention: timedelta = RETENTION,
    ) -> None:
        self._database = database
        self._names = names
        self._clock: Clock = clock or SystemClock()
        self._retention = retention
        self._followers: set[Follower] = set()
        self._at = 0
        self._woken = asyncio.Event()
        self._tailer: asyncio.Task[None] | None = None
        self._closed = False
        self._decoders: dict[type[Event], Callable[[bytes], Any]] = {}

    def __repr__(self) -> str:
        return f"Feed(followers={len(self._followers)}, at={self._at})"

    def wake(self) -> None:
        """Say that this process committed events; cheap, and harmless when it did not."""
        self._woken.set()

    async def end(self) -> str:
        """Return the position of now: who follows after it gets what is committed from here on."""
        return str(Position(at=await self._last(), time=micros(self._clock.now())))

    async def follow(self, types: Sequence[type[E]], after: str | None = None) -> AsyncGenerator[tuple[str, E], None]:
        """Yield committed events of these types with their positions, in commit order, until the feed closes.

        Nothing is left out and nothing comes twice. Closing the iterator ends it at once.

        Args:
            types: The classes of the events.
            after: The position behind which to begin; ``None`` begins with what is committed from now on, where "now"
                is when the first event is asked for.

        Raises:
            InvalidArgument: `after` is not a position.
            PositionExpired: Events behind `after` may be gone.
        """
        decoders = {self._names.of(type): self._decoder(type) for type in types}
        at = position_of(await self.end() if after is None else after)
        if instant(at.time) < self._clock.now() - self._retention:
            raise PositionExpired()
        follower = Follower()
        self._followers.add(follower)
        try:
            async with aclosing(self._entries(follower, at.at)) as entries:
                async for entry in entries:
                    decode = decoders.get(entry.type)
                    if decode is not None:
                        yield str(Position(at=entry.at, time=entry.time)), decode(entry.payload)
        finally:
            self._followers.discard(follower)

    async def close(self) -> None:
        """End every follower's iteration and stop reading."""
        self._closed = True
        for follower in self._followers:
            follower.filled.set()
        tailer, self._tailer = self._tailer, None
        if tailer is not None:
            tailer.cancel()
            await asyncio.gather(tailer, return_exceptions=True)

    # -- one follower

    async def _entries(self, follower: Follower, at: int) -> AsyncGenerator[Entry, None]:
        """Yield every entry after a position: what waits first, else from the table, else what the tailer hands on."""
        while not self._closed:
            if follower.entries:
                entry = follower.entries.popleft()
                if entry.at > at:
                    at = entry.at
                    yield entry
                continue
            if follower.attached:
                follower.filled.clear()
                await follower.filled.wait()
                continue
            entries = await self._read(at)
            for entry in entries:
                at = entry.at
                yield entry
                if self._closed:
                    return
            if len(entries) < CHUNK:
                self._attach(follower, at)

    def _attach(self, follower: Follower, at: int) -> None:
        """Hand on to a follower that has read the table up to a position, unless the tailer is past that already."""
        if self._tailer is None or self._tailer.done():
            self._at = at
            self._tailer = asyncio.create_task(self._tail(), name="trivet-feed")
        follower.attached = at >= self._at

    def _decoder(self, type: type[E]) -> Callable[[bytes], E]:
        decode = self._decoders.get(type)
        if decode is None:
            decode = self._decoders[type] = tolerant(type)
        return decode

    # -- the tailer

    async def _tail(self) -> None:
        try:
            while self._followers:
                self._woken.clear()
                if await self._hand_on() < CHUNK:
                    await self._pause()
        finally:  # whatever ended it: who still follows reads for itself, and begins another
            for follower in self._followers:
                follower.attached = False
                follower.filled.set()

    async def _hand_on(self) -> int:
        """Read what is new and hand it on; return how much that was."""
        try:
            entries = await self._read(self._at)
        except DatabaseUnavailable:
            return 0
        for entry in entries:
            self._at = entry.at
            for follower in self._followers:
                if follower.attached:
                    follower.offer(entry)
        return len(entries)

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(idle(0.0, None, POLL_SECONDS, 0.0)):
                await self._woken.wait()
        except TimeoutError:
            return

    # -- the table

    async def _read(self, after: int) -> list[Entry]:
        session = self._database.session(write=False, reads="primary")
        try:
            rows = await session.fetch(_statements().after, (after,))
        finally:
            await session.close()
        return [Entry(at=at, time=time, type=type, payload=payload) for at, time, type, payload in rows]

    async def _last(self) -> int:
        session = self._database.session(write=False, reads="primary")
        try:
            [(last,)] = await session.fetch(_statements().last, ())
        finally:
            await session.close()
        return last or 0


class _Statements(Struct):
    after: Statement
    last: Statement


@cache
def _statements() -> _Statements:
    import sqlalchemy as sa

    from trivet.data.statement import Statement

    o = tables().outbox.c
    event: sa.ColumnElement[str] = sa.literal_column(f"'{MessageKind.EVENT.value}'")
    return _Statements(
        after=Statement(
            sa.select(o.position, o.create_time, o.type, o.payload)
            .where(o.position > sa.bindparam("after"), o.kind == event)
            .order_by(o.position)
            .limit(CHUNK),
            ("after",),
        ),
        last=Statement(sa.select(sa.func.max(o.position)), ()),
    )
