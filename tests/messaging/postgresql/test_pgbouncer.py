"""The outbox in partitions behind a PgBouncer in transaction mode: days begin and go, no message is lost or doubled."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from tests.messaging.contract.world import Happened, World, drained
from tests.messaging.postgresql.test_partitions import kept, parts, prune
from tests.pgbouncer import Bouncer, bouncer
from tests.postgres import run_on, server
from tests.waiting import until
from trivet.core.module import Module
from trivet.data.partitioned import WIDTH
from trivet.data.postgresql import PostgresDatabase
from trivet.settings import DatabaseSettings

SIZE = 3
"""Connections that the PgBouncer has to the server."""

DAY = timedelta(days=1)

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def before() -> Iterator[Bouncer]:
    with bouncer(server(18), SIZE) as started:
        yield started


@pytest.fixture
def name(before: Bouncer) -> Iterator[str]:
    with before.server.database() as name:
        yield name
        before.admin(f"KILL {name}")


@asynccontextmanager
async def opened(before: Bouncer, name: str) -> AsyncIterator[PostgresDatabase]:
    database = PostgresDatabase(before.url(name), DatabaseSettings(pgbouncer=True, pool_size=10))
    await database.open()
    try:
        yield database
    finally:
        await database.close()


async def test_days_begin_and_are_dropped_whole(before: Bouncer, name: str) -> None:
    async with opened(before, name) as database:
        world = World(database, Module("shop"))
        await world.create()
        for day in range(10):
            world.clock.ahead = day * DAY
            await prune(world)
            await world.emit(Happened(thing=str(day)))
        assert parts(before.server.url(name)) == [2, 3, 4, 5, 6, 7, 8, 9]
        assert await kept(world) == [str(day) for day in range(2, 10)]


async def test_days_begin_once_while_messages_are_written_and_delivered(before: Bouncer, name: str) -> None:
    """By several processes, each with more connections than the server gives to all of them."""
    shop = Module("shop")

    @shop.on(Happened)
    async def note(ctx: Any, event: Happened) -> None:
        await ctx.record(event.thing, event.number)

    async with opened(before, name) as first, opened(before, name) as second:
        worlds = [World(each, shop) for each in (first, second)]
        await worlds[0].create()

        written, turned = Counter[str](), asyncio.Event()

        async def write(world: World, thing: str) -> None:
            for number in range(40):
                if number == 39:
                    await turned.wait()
                await world.emit(Happened(thing=thing, number=number))
                written[thing] += 1

        def has(count: int) -> bool:
            return written.total() >= count

        async def turn() -> None:
            for turns in range(4):
                await until(partial(has, 30 * turns))
                for world in worlds:  # each ends every lease: deliveries begin anew, and take effect once
                    world.clock.ahead += DAY
                await asyncio.gather(*(prune(world) for world in worlds for _ in range(2)))
            turned.set()

        async with worlds[0].dispatching(), worlds[1].dispatching():
            await asyncio.gather(
                turn(), *(write(world, f"{place}{n}") for place, world in enumerate(worlds) for n in "ab")
            )
            await drained(worlds[0])
        assert sorted(await worlds[0].effects()) == sorted(
            ("shop.note", f"{place}{n}", number) for place in (0, 1) for n in "ab" for number in range(40)
        )
        found = run_on(before.server.url(name), "SELECT position FROM trivet.trivet_outbox ORDER BY position")
        assert len(found) == 160
        assert {position // WIDTH for (position,) in found} > {0}
        assert parts(before.server.url(name))[0] == 0
