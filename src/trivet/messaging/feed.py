"""The feed: committed events in commit order, for streams.

One tailer in each process reads the outbox behind its position, when it is woken or once per poll while anybody
follows, and keeps the latest events in a window that all readers share. A reader is a position and nothing more: it
takes the next event from the window, or from the table where the window does not reach back to it. So nothing is
dropped, no reader waits for another, and one that stops costs the same few bytes however much happens meanwhile.

Nothing is read beyond the horizon (`trivet.messaging.horizon`), up to which every position is settled.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from trivet.core.clock import Clock, SystemClock
from trivet.core.event import Event
from trivet.core.tolerant import tolerant
from trivet.data.database import Database, DatabaseUnavailable
from trivet.messaging.horizon import Horizon
from trivet.messaging.message import MessageKind
from trivet.messaging.names import EventNames
from trivet.messaging.position import Position, PositionExpired, position_of
from trivet.messaging.prune import RETENTION
from trivet.messaging.reader import AT, Entry, Reader
from trivet.messaging.retry import idle
from trivet.messaging.tables import micros, tables

if TYPE_CHECKING:
    from trivet.data.statement import Statement

E = TypeVar("E", bound=Event)

POLL_SECONDS = 0.25
CHUNK = 128
"""How many events are read from the table at once."""
CHUNK_BYTES = 256 * 1024
"""How much of what was read a reader keeps while it waits for its client; the rest is read again."""
WINDOW = 1024
"""How many events the window holds at most."""
WINDOW_BYTES = 1024 * 1024
"""How many bytes of events the window holds at most."""
MARGIN = timedelta(hours=1)
"""How much earlier a position expires than events are removed: an event is as old as its call, not as its commit."""


class Feed:
    """Committed events for whoever follows them.

    Args:
        database: The store.
        names: The names of event types.
        clock: Time.
        retention: How long events are kept.

    Attributes:
        cut_off: Whether the store could not be read when it was last tried, while somebody followed.
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
        self._readers: set[Reader[Any]] = set()
        self._waiting: dict[str, set[Reader[Any]]] = {}
        self._window: list[Entry] = []
        self._bytes = 0
        self._start = self._at = self._time = self._seen = 0
        self._woken = asyncio.Event()
        self._tailer: asyncio.Task[None] | None = None
        self._closed = False
        self.cut_off = False
        self._decoders: dict[type[Event], Callable[[bytes], Any]] = {}
        self._horizon = Horizon(database.dialect)

    def __repr__(self) -> str:
        return f"Feed(readers={len(self._readers)}, at={self._at})"

    def wake(self) -> None:
        """Say that this process committed events; cheap, and harmless when it did not."""
        self._woken.set()

    async def start(self, after: str | None) -> str:
        """Return the position at which a reader begins.

        Args:
            after: Where it was before; `None` for a new one, which begins with what is committed from here on.

        Raises:
            PositionUnknown: `after` is not a position.
            PositionExpired: Events behind `after` may be gone, or it is not of this store.
        """
        if after is None:
            return str(await self.end())
        await self.check(position_of(after))
        return after

    async def end(self) -> Position:
        """Return a position that is before everything that is committed from now on."""
        await self._look()
        while (settled := self._horizon.settled) is None:
            await asyncio.sleep(POLL_SECONDS)
            await self._look()
        return Position(at=settled, time=self._horizon.as_of)

    @property
    def last_end(self) -> Position | None:
        """What `end` would have returned when the store was last read, ``None`` where nobody followed then."""
        settled = self._horizon.settled
        return None if self._tailer is None or settled is None else Position(at=settled, time=self._horizon.as_of)

    async def check(self, position: Position) -> None:
        """Return where a reader can go on from a position.

        Raises:
            PositionExpired: Events behind it may be gone, or it is not of this store.
        """
        if self._expired(position.time):
            raise PositionExpired()
        if position.at > self._horizon.last:
            await self._look()
            if position.at > self._horizon.last:
                raise PositionExpired()

    async def check_new(self, since: int) -> None:
        """Return where all events that there are came after an instant, in microseconds since 1970.

        Raises:
            PositionExpired: There is one that did not.
        """
        session = self._database.session(write=False, reads="primary")
        try:
            rows = await session.fetch(_first(), ())
        finally:
            await session.close()
        if rows and rows[0][0] <= since:
            raise PositionExpired()

    @asynccontextmanager
    async def follow(self, types: Sequence[type[E]], after: str | None = None) -> AsyncIterator[Reader[E]]:
        """Give a reader of the events of these types.

        Args:
            types: The classes of the events.
            after: The position at which to begin; `None` begins with what is committed from now on.

        Raises:
            PositionUnknown: `after` is not a position.
            PositionExpired: Events behind `after` may be gone, or it is not of this store.
        """
        position = position_of(await self.start(after))
        reader = Reader(self, self.decoders(types), position)
        await self.resume(reader)
        with self.reading(reader):
            yield reader

    @contextmanager
    def reading(self, reader: Reader[Any]) -> Iterator[None]:
        """Count a reader among those that are followed for, for as long as it reads."""
        self._readers.add(reader)
        try:
            yield
        finally:
            self._readers.discard(reader)

    def decoders(self, types: Sequence[type[E]]) -> dict[str, Callable[[bytes], E]]:
        """Return what decodes events of these types, by their names."""
        return {self._names.of(type): self._decoder(type) for type in types}

    async def close(self) -> None:
        """End every reader's iteration and stop reading."""
        self._closed = True
        self._wake_all()
        tailer, self._tailer = self._tailer, None
        if tailer is not None:
            tailer.cancel()
            await asyncio.gather(tailer, return_exceptions=True)

    # -- one reader

    async def next(self, reader: Reader[Any]) -> Entry | None:
        """Return the next event of a reader as it is stored, `None` when the feed is closed."""
        while not self._closed:
            entry = self.ready(reader)
            if entry is not None:
                return entry
            if not self.level(reader):
                await self.fill(reader)
                continue
            woken = asyncio.get_running_loop().create_future()
            self.wait(reader, woken)
            try:
                await woken
            finally:
                self.settle(reader)
        return None

    def ready(self, reader: Reader[Any]) -> Entry | None:
        """Return the next event of a reader where it is at hand; else it is `level`, or to be filled."""
        while True:
            if reader.chunk:
                entry = reader.chunk.pop()
            else:
                index = self._index(reader)
                if index is None or index == len(self._window):
                    return None
                entry = self._window[index]
            if entry.type in reader.decoders:
                return entry
            reader.move(entry.at, entry.time)

    def level(self, reader: Reader[Any]) -> bool:
        """Return whether a reader has seen all there is, as far as is known."""
        return not reader.chunk and self._index(reader) == len(self._window)

    def _index(self, reader: Reader[Any]) -> int | None:
        """Return the place in the window of what a reader has not seen, ``None`` where that is not in it any more."""
        if self._tailer is None or reader.at < self._start:
            return None
        return bisect_right(self._window, reader.at, key=AT)

    def progress(self, reader: Reader[Any]) -> int:
        """Return up to which position a reader is done with everything, of whatever kind."""
        return max(reader.at, self._seen) if self.level(reader) else reader.at

    def end_of(self, reader: Reader[Any]) -> str:
        """Return where a reader stands that has seen all there is."""
        return f"{max(self._at, reader.at)}-{max(self._time, reader.time)}"

    async def resume(self, reader: Reader[Any]) -> None:
        """Let a reader that is within an event begin with it again.

        Raises:
            PositionExpired: The event is gone, or another one is in its place.
        """
        if not reader.within:
            return
        at, time = reader.at + 1, reader.time
        entries = await self._read(at - 1, time, upto=at)  # whoever gave the position out knew that it is settled
        if not entries or (entries[0].at, entries[0].time) != (at, time):
            raise PositionExpired()
        reader.chunk = kept(entries)

    async def fill(self, reader: Reader[Any]) -> None:
        """Read on for a reader from the table; at the end of the table, let it go on with the window.

        Raises:
            PositionExpired: It stood still for so long that events behind it may be gone.
        """
        tailing, at, time = self._tailer is not None, self._at, self._horizon.as_of
        entries = await self._read(reader.at, reader.time, upto=at if tailing else 0)
        if entries:
            reader.chunk = kept(entries)
            await asyncio.sleep(0)  # a long way to catch up must not keep the loop from everybody else
            return
        if tailing:
            reader.move(max(at, reader.at), reader.time)  # what the tailer had read was committed before we read
        elif self._tailer is None and not self._closed:
            self._start = self._at = reader.at
            self._time = max(time, reader.time)
            self._tailer = asyncio.create_task(self._tail(), name="trivet-feed")

    def wait(self, reader: Reader[Any], woken: asyncio.Future[None]) -> None:
        """Let a reader that is level wait until there is an event of a type that it follows."""
        reader.woken = woken
        reader.waiting = True
        for type in reader.decoders:
            self._waiting.setdefault(type, set()).add(reader)

    def settle(self, reader: Reader[Any]) -> None:
        """Let a reader wait no more, whether it was woken or gives up."""
        self._settle(reader, self._at, self._time)
        reader.woken = None

    def _settle(self, reader: Reader[Any], at: int, time: int) -> None:
        """Let a reader wait no more, if it still does: it has seen everything up to a position."""
        if not reader.waiting:
            return
        reader.waiting = False
        reader.move(max(at, reader.at), max(time, reader.time))
        for type in reader.decoders:
            self._waiting[type].discard(reader)

    def _wake_all(self) -> None:
        for reader in self._readers:
            if reader.woken is not None and not reader.woken.done():
                reader.woken.set_result(None)

    def _decoder(self, type: type[E]) -> Callable[[bytes], E]:
        decode = self._decoders.get(type)
        if decode is None:
            decode = self._decoders[type] = tolerant(type)
        return decode

    # -- the tailer

    async def _tail(self) -> None:
        try:
            while self._readers:
                self._woken.clear()
                if await self._hand_on() < CHUNK:
                    await self._pause()
        except PositionExpired:
            return  # the process stood still; each of its readers is told so when it reads for itself
        finally:  # whatever ended it: who still follows reads for itself, and begins another
            for reader in self._readers:
                self._settle(reader, self._at, self._time)
            self._wake_all()
            self._window.clear()
            self._bytes = 0
            self._tailer = None
            self._seen, self.cut_off = 0, False

    async def _hand_on(self) -> int:
        """Read what is new into the window and wake who waits for it; return how much that was.

        Raises:
            PositionExpired: The window ends so long ago that events behind it may be gone.
        """
        try:
            await self._look()
            as_of, settled = self._horizon.as_of, self._horizon.settled
            entries = await self._read(self._at, self._time)
        except DatabaseUnavailable:
            self.cut_off = True
            return 0
        self.cut_off = False
        for entry in entries:
            for reader in list(self._waiting.get(entry.type, ())):
                self._settle(reader, entry.at - 1, self._time)
                if reader.woken is not None and not reader.woken.done():
                    reader.woken.set_result(None)
            self._at, self._time = entry.at, max(self._time, entry.time)
            self._window.append(entry)
            self._bytes += len(entry.payload)
        if len(entries) < CHUNK:
            self._time = max(self._time, as_of)
            self._seen = settled or 0
        self._trim()
        return len(entries)

    def _trim(self) -> None:
        """Drop what the window has too much of."""
        drop = max(0, len(self._window) - WINDOW)
        self._bytes -= sum(len(entry.payload) for entry in self._window[:drop])
        while self._bytes > WINDOW_BYTES:
            self._bytes -= len(self._window[drop].payload)
            drop += 1
        if drop:
            self._start = self._window[drop - 1].at
            del self._window[:drop]

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(idle(0.0, None, POLL_SECONDS, 0.0)):
                await self._woken.wait()
        except TimeoutError:
            return

    # -- the table

    async def _read(self, after: int, time: int, upto: int = 0) -> list[Entry]:
        """Return the next events after a position, as far as they are settled, or known to be up to another one.

        Raises:
            PositionExpired: Some of them may be gone.
        """
        upto = max(upto, self._horizon.settled or 0)
        session = self._database.session(write=False, reads="primary")
        try:
            rows = await session.fetch(_after(), (after, upto))
        finally:
            await session.close()
        if self._expired(time):  # asked after the read: what was there by now has not been removed before
            raise PositionExpired()
        return [Entry(at=at, time=when, type=type, payload=payload) for at, when, type, payload in rows]

    def _expired(self, time: int) -> bool:
        """Return whether events behind a position of this time may be gone."""
        return time < micros(self._clock.now() - self._retention + MARGIN)

    async def _look(self) -> None:
        session = self._database.session(write=False, reads="primary")
        try:
            await self._horizon.look(session, micros(self._clock.now()))
        finally:
            await session.close()


def kept(entries: Sequence[Entry]) -> list[Entry]:
    """Return as many of the first entries as a reader may keep, at least one, in reverse."""
    size = 0
    for index, entry in enumerate(entries):
        size += len(entry.payload)
        if size > CHUNK_BYTES:
            return list(reversed(entries[: max(1, index)]))
    return list(reversed(entries))


@cache
def _first() -> Statement:
    import sqlalchemy as sa

    from trivet.data.statement import Statement

    o = tables().outbox.c
    return Statement(sa.select(o.create_time).order_by(o.position).limit(sa.literal_column("1")), ())


@cache
def _after() -> Statement:
    import sqlalchemy as sa

    from trivet.data.statement import Statement

    o = tables().outbox.c
    event: sa.ColumnElement[str] = sa.literal_column(f"'{MessageKind.EVENT.value}'")
    return Statement(
        sa.select(o.position, o.create_time, o.type, o.payload)
        .where(o.position > sa.bindparam("after"), o.position <= sa.bindparam("upto"), o.kind == event)
        .order_by(o.position)
        .limit(CHUNK),
        ("after", "upto"),
    )
