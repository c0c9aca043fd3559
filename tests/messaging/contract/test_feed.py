"""What the feed promises to whoever follows."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from random import Random
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.messaging.contract.world import Happened, Other, World
from tests.waiting import until
from trivet.core.event import Event
from trivet.core.module import Module
from trivet.data.database import Database, Session
from trivet.data.statement import Statement
from trivet.messaging.feed import WINDOW, Feed
from trivet.messaging.position import POSITION, Position, PositionExpired, PositionUnknown, position_of


async def take(feed: Feed, count: int, after: str | None, *types: type[Event]) -> list[tuple[str, Any]]:
    """Return the next events and stop following."""
    taken: list[tuple[str, Any]] = []
    if count == 0:
        return taken
    async with feed.follow(types or (Happened,), after) as reader:
        async for event in reader:
            if reader.give():
                taken.append((str(reader), event))
            if len(taken) == count:
                break
    return taken


async def world_on(database: Database) -> World:
    world = World(database, Module("shop"))
    await world.create()
    return world


async def test_events_come_in_commit_order_from_a_position_on(database: Database) -> None:
    world = await world_on(database)
    await world.emit(Happened(thing="before"))
    feed = world.feed()
    start = await feed.start(None)
    for n in range(0, 30, 3):
        await world.emit(*(Happened(thing="t", number=m) for m in range(n, n + 3)))
    taken = await take(feed, 30, start)
    assert [event.number for _, event in taken] == list(range(30))
    await feed.close()


async def test_a_reader_that_comes_back_with_its_last_position_misses_nothing(database: Database) -> None:
    world = await world_on(database)
    feed = world.feed()
    position = await feed.start(None)
    await world.emit(*(Happened(thing="t", number=n) for n in range(20)))
    numbers = []
    for _ in range(5):
        taken = await take(feed, 4, position)
        numbers += [event.number for _, event in taken]
        position = taken[-1][0]
    assert numbers == list(range(20))
    await feed.close()


async def test_only_events_of_the_asked_types_come(database: Database) -> None:
    world = await world_on(database)
    feed = world.feed()
    start = await feed.start(None)
    await world.emit(Happened(thing="a"), Other(thing="b"), Happened(thing="c"), Other(thing="d"))
    assert [event.thing for _, event in await take(feed, 2, start, Other)] == ["b", "d"]
    assert [event.thing for _, event in await take(feed, 4, start, Other, Happened)] == ["a", "b", "c", "d"]
    await feed.close()


@pytest.mark.parametrize("woken", [True, False], ids=["woken", "polling"])
async def test_a_waiting_reader_gets_what_is_committed_later(database: Database, woken: bool) -> None:
    world = await world_on(database)
    feed = world.feed()
    reader = asyncio.create_task(take(feed, 3, await feed.start(None)))
    for n in range(3):
        await asyncio.sleep(0.02)
        await world.emit(Happened(thing="t", number=n))
        if woken:
            feed.wake()
    assert [event.number for _, event in await reader] == [0, 1, 2]
    await feed.close()


async def test_a_slow_reader_loses_nothing_and_holds_up_nobody(database: Database) -> None:
    world = await world_on(database)
    feed = world.feed()
    start = await feed.start(None)
    count = WINDOW * 2
    go_on = asyncio.Event()
    slow: list[int] = []

    async def read_slowly() -> None:
        async with feed.follow((Happened,), start) as reader:
            async for event in reader:
                slow.append(event.number)
                if len(slow) == 1:
                    await go_on.wait()
                if len(slow) == count:
                    return

    reader = asyncio.create_task(read_slowly())
    quick = asyncio.create_task(take(feed, count, start))
    for n in range(0, count, 64):
        await world.emit(*(Happened(thing="t", number=m) for m in range(n, n + 64)))
        feed.wake()
        await asyncio.sleep(0)
    assert [event.number for _, event in await quick] == list(range(count))
    assert slow == [0]
    go_on.set()
    await reader
    assert slow == list(range(count))
    await feed.close()


async def test_many_readers_and_writers_agree_on_one_order(database: Database) -> None:
    world = await world_on(database)
    feed = world.feed()
    start = await feed.start(None)
    readers = [asyncio.create_task(take(feed, 100, start)) for _ in range(5)]

    async def write(first: int) -> None:
        for n in range(first, first + 10):
            await world.emit(Happened(thing=str(first), number=n))
            feed.wake()

    await asyncio.gather(*(write(n * 10) for n in range(10)))
    orders = [[event.number for _, event in await reader] for reader in readers]
    assert sorted(orders[0]) == list(range(100))
    assert all(order == orders[0] for order in orders)
    await feed.close()


async def test_closing_the_feed_ends_its_readers(database: Database) -> None:
    world = await world_on(database)
    feed = world.feed()

    read: list[Any] = []

    async def follow(after: str) -> None:
        async with feed.follow((Happened,), after) as reader:
            async for event in reader:
                read.append(event)

    async def has_read() -> bool:
        return bool(read)

    start = await feed.start(None)
    await world.emit(Happened(thing="t"))
    reader = asyncio.create_task(follow(start))
    await until(has_read)
    await feed.close()
    await reader
    assert len(read) == 1


async def test_a_position_behind_which_events_may_be_gone_is_refused(database: Database) -> None:
    world = await world_on(database)
    feed = world.feed()
    start = await feed.start(None)
    world.clock.ahead = timedelta(days=8)
    with pytest.raises(PositionExpired):
        await take(feed, 1, start)


@given(st.integers(0, 10**18 - 1), st.integers(0, 10**17 - 1), st.none() | st.integers(0, 10**9 - 1))
def test_a_position_survives_its_text(at: int, time: int, items: int | None) -> None:
    position = Position(at=at, time=time, items=items)
    assert position_of(str(position)) == position


@given(st.text())
def test_any_other_text_is_refused(text: str) -> None:
    assume(not POSITION.fullmatch(text))
    with pytest.raises(PositionUnknown):
        position_of(text)


class Dawdling:
    """A store that takes its time before and after each read, so that readers and the tailer overtake each other."""

    def __init__(self, database: Database, seed: int) -> None:
        self._database = database
        self._random = Random(seed)
        self.dialect = database.dialect

    def session(self, **options: Any) -> DawdlingSession:
        return DawdlingSession(self._database.session(**options), self._random)


class DawdlingSession:
    def __init__(self, session: Session, random: Random) -> None:
        self._session = session
        self._random = random

    async def fetch(self, statement: Statement, values: Sequence[Any]) -> list[Any]:
        await self._dawdle()
        rows = await self._session.fetch(statement, values)
        await self._dawdle()
        return rows

    async def close(self) -> None:
        await self._session.close()

    async def _dawdle(self) -> None:
        await asyncio.sleep(self._random.choice((0, 0, 0.002, 0.01)))


@pytest.mark.parametrize("seed", range(6))
async def test_readers_that_join_while_others_are_ahead_miss_nothing_and_get_nothing_twice(
    database: Database, seed: int
) -> None:
    world = await world_on(database)
    slow: Any = Dawdling(database, seed)
    feed = Feed(slow, world.subscribers.names, clock=world.clock)
    start = await feed.start(None)
    readers = []
    for n in range(60):
        if n % 6 == 0:
            readers.append(asyncio.create_task(take(feed, 60, start)))
        await world.emit(Happened(thing="t", number=n))
        feed.wake()
        await asyncio.sleep(0)
    for reader in readers:
        assert [event.number for _, event in await reader] == list(range(60))
    await feed.close()
