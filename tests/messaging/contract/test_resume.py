"""Readers that break off and come back, in many seeded schedules: nothing is lost, nothing comes twice.

Two feeds stand for two workers. A reader makes several items of an event, breaks off anywhere (between two items, while
it waits, with items on their way that never arrive), and continues on either feed from the last position that it was
told. Feeds are closed and opened again, time passes and old events are removed. The one way to miss something is to be
told so.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import timedelta
from functools import partial
from random import Random
from typing import Any, cast

import pytest

from tests.messaging.contract.world import Happened, Other, World
from tests.waiting import until
from trivet.core.module import Module
from trivet.data.database import Database, DatabaseUnavailable, Session
from trivet.messaging.feed import Feed
from trivet.messaging.position import PositionExpired
from trivet.messaging.prune import Pruner
from trivet.messaging.reader import Reader

LAST = 10**6


class Schedule:
    """What happens in one seeded schedule.

    Attributes:
        written: The numbers of all events, in the order of their commits.
        expirations: How often a reader was told that its position is too old.
    """

    def __init__(self, world: World, seed: int) -> None:
        self.random = Random(seed)
        self.world = world
        self.feeds = [world.feed(), world.feed()]
        self.written: list[int] = []
        self.expirations = 0
        self.begun = asyncio.Barrier(4)
        self._pruner = Pruner(world.database, world.subscribers.ids, world.clock)

    def items_of(self, number: int) -> list[tuple[int, int]]:
        """Return what the stream makes of an event: nothing, one item, or a few."""
        return [(number, part) for part in range((1, 1, 0, 3, 1)[number % 5])]

    # -- what happens around

    async def write(self, count: int) -> None:
        while len(self.written) < count:
            batch = range(len(self.written), len(self.written) + self.random.choice((1, 1, 2, 7, 300)))
            events = [Happened(thing="t", number=number) for number in batch]
            others = [Other(thing="o") for _ in range(self.random.choice((0, 0, 3, 150)))]
            await self.world.emit(*others, *events)
            self.written += batch
            if self.random.random() < 0.7:
                self.random.choice(self.feeds).wake()
            await asyncio.sleep(self.random.choice((0, 0, 0.002, 0.02)))

    async def disturb(self) -> None:
        while True:
            await asyncio.sleep(self.random.uniform(0, 0.05))
            index = self.random.randrange(2)
            match self.random.randrange(3):
                case 0:
                    old, self.feeds[index] = self.feeds[index], self.world.feed()
                    await old.close()
                case 1 if self.random.random() < 0.3:
                    self.world.clock.ahead += timedelta(days=self.random.choice((1, 3, 9)))
                case 2:
                    await self._pruner.prune()
                case _:
                    pass

    # -- a reader

    async def read(self) -> list[tuple[int, int]]:
        """Return the items that arrived; after a gap that was announced, with a mark (-1, -1)."""
        arrived: list[tuple[int, int]] = []
        position = await self.feeds[0].start(None)
        await self.begun.wait()
        while not arrived or arrived[-1][0] != LAST:
            feed = self.random.choice(self.feeds)
            try:
                async with feed.follow((Happened,), position) as reader:
                    position = await self._connection(reader, position, arrived)
            except PositionExpired:
                self.expirations += 1
                arrived.append((-1, -1))
                position = await feed.start(None)
        return arrived

    async def _connection(self, reader: Reader[Happened], position: str, arrived: list[tuple[int, int]]) -> str:
        """Read until something happens, and return the position that the other side was told last."""
        told = position
        last_words = self.random.random() < 0.5
        sent: list[tuple[tuple[int, int], str]] = []

        async def run() -> None:
            async for event in reader:
                for item in self.items_of(event.number) if event.number != LAST else [(LAST, 0)]:
                    if reader.give():
                        sent.append((item, str(reader)))
                    if self.random.random() < 0.1:
                        await asyncio.sleep(0)

        task = asyncio.create_task(run())
        await asyncio.wait({task}, timeout=self.random.choice((0, 0.001, 0.01, 0.1)))
        heartbeat = str(reader)
        count = len(sent)
        if not task.done():
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        elif (failed := task.exception()) is not None:
            raise failed
        if last_words:  # it ended in order: everything that was sent arrived, and then where the reader stands
            arrived += [item for item, _ in sent]
            return str(reader)
        through = self.random.randint(0, len(sent))  # the rest was on its way
        for item, place in sent[:through]:
            arrived.append(item)
            told = place
        return heartbeat if through == count == len(sent) else told


class Reachable:
    """A store that one process can lose sight of.

    Attributes:
        reachable: Whether it sees it.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self.dialect = database.dialect
        self.reachable = True

    def session(self, **options: Any) -> Session:
        if not self.reachable:
            raise DatabaseUnavailable()
        return self._database.session(**options)


@pytest.mark.simulation
@pytest.mark.parametrize("seed", range(20))
async def test_a_reader_misses_nothing_that_it_is_not_told_of_and_gets_nothing_twice(
    database: Database, seed: int
) -> None:
    world = World(database, Module("shop"))
    await world.create()
    schedule = Schedule(world, seed)
    disturbing = asyncio.create_task(schedule.disturb())
    readers = [asyncio.create_task(schedule.read()) for _ in range(3)]
    await schedule.begun.wait()  # three readers stand where they begin, before anything is written
    await schedule.write(1500)
    disturbing.cancel()
    [ended] = await asyncio.gather(disturbing, return_exceptions=True)
    assert isinstance(ended, asyncio.CancelledError)  # or else nothing disturbed any more
    while not all(reader.done() for reader in readers):  # who was told to begin anew needs one more
        await world.emit(Happened(thing="t", number=LAST))
        await asyncio.wait(readers, timeout=0.2)
    whole = [item for number in schedule.written for item in schedule.items_of(number)]
    for reader in readers:
        arrived = [item for item in reader.result() if item[0] != LAST]
        parts: list[list[tuple[int, int]]] = [[]]
        for item in arrived:
            if item == (-1, -1):
                parts.append([])
            else:
                parts[-1].append(item)
        end = 0
        for part in filter(None, parts):
            start = whole.index(part[0])
            assert start >= end
            assert part == whole[start : start + len(part)]
            end = start + len(part)
        if len(parts) == 1:
            assert arrived == whole
        assert not parts[-1] or parts[-1][-1] == whole[-1]
    for feed in schedule.feeds:
        await feed.close()


async def test_a_reader_that_comes_back_within_an_event_and_leaves_at_once_stands_where_it_stood(
    database: Database,
) -> None:
    world = World(database, Module("shop"))
    await world.create()
    feed: Feed = world.feed()
    start = await feed.start(None)
    await world.emit(Happened(thing="t", number=0), Other(thing="o"))
    async with feed.follow((Happened,), start) as reader:
        await anext(reader)
        assert [reader.give(), reader.give()] == [True, True]
        within = str(reader)
    async with feed.follow((Happened,), within) as reader:
        assert str(reader) == within
        await anext(reader)
        assert str(reader) == within
        assert [reader.give(), reader.give(), reader.give()] == [False, False, True]
    async with feed.follow((Other,), within) as other:  # a stream of another kind passes over it
        assert (await anext(other)).thing == "o"
        assert str(other).endswith(".0")
    await feed.close()


async def waits(reader: Reader[Happened]) -> bool:
    return reader.waiting


@pytest.mark.parametrize("waited", [False, True], ids=["behind", "waiting"])
async def test_a_reader_that_stood_still_while_events_behind_it_were_removed_is_told_so(
    database: Database, waited: bool
) -> None:
    world = World(database, Module("shop"))
    await world.create()
    store = Reachable(database)
    feed = Feed(cast(Database, store), world.subscribers.names, clock=world.clock)
    async with feed.follow((Happened,)) as reader:
        following = asyncio.create_task(anext(reader)) if waited else None
        if following is not None:
            await until(partial(waits, reader))
        store.reachable = False
        await world.emit(Happened(thing="t", number=0))
        world.clock.ahead = timedelta(days=9)
        await Pruner(database, world.subscribers.ids, world.clock).prune()
        await world.emit(Happened(thing="t", number=1))
        store.reachable = True
        with pytest.raises(PositionExpired):
            await (following or anext(reader))
    async with feed.follow((Happened,)) as anew:  # the feed itself goes on
        await world.emit(Happened(thing="t", number=2))
        assert (await anext(anew)).number == 2
    await feed.close()


@pytest.mark.parametrize("back", [False, True], ids=["new", "back"])
async def test_what_was_removed_is_not_given_from_memory_to_who_begins_after_it(database: Database, back: bool) -> None:
    world = World(database, Module("shop"))
    await world.create()
    feed: Feed = world.feed()
    async with feed.follow((Happened,)) as reader:  # one that stays, so that the feed keeps what it has read
        waiting = asyncio.create_task(anext(reader))
        await until(partial(waits, reader))
        await world.emit(Happened(thing="t", number=0))
        assert (await waiting).number == 0
        world.clock.ahead = timedelta(days=9)
        await Pruner(database, world.subscribers.ids, world.clock).prune()
        start = await feed.start(None)
        async with feed.follow((Happened,), start if back else None) as late:
            await world.emit(Happened(thing="t", number=1))
            assert (await anext(late)).number == 1
    await feed.close()


async def test_an_event_that_was_removed_within_is_not_continued_with_another(database: Database) -> None:
    world = World(database, Module("shop"))
    await world.create()
    feed: Feed = world.feed()
    start = await feed.start(None)
    await world.emit(Happened(thing="t", number=0))
    async with feed.follow((Happened,), start) as reader:
        await anext(reader)
        reader.give()
        within = str(reader)
    world.clock.ahead = timedelta(days=6)
    await world.emit(Happened(thing="t", number=1))
    world.clock.ahead = timedelta(days=7, minutes=-30)  # the margin: it may be gone already
    with pytest.raises(PositionExpired):
        async with feed.follow((Happened,), within):
            pass
    await feed.close()
