"""What is special where transactions write side by side: nothing is skipped, and each aggregate keeps its order."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from tests.messaging.contract.world import Happened, World, drained
from tests.postgres import empty_database, server
from tests.waiting import until
from trivet.core.module import Module
from trivet.data.database import Database
from trivet.data.postgresql import PostgresDatabase
from trivet.data.statement import Statement
from trivet.settings import DatabaseSettings

WRITERS = 16
THINGS = 5

THING = sa.Table(
    "thing", sa.MetaData(), sa.Column("id", sa.Text, primary_key=True), sa.Column("number", sa.Integer, nullable=False)
)
ADD = Statement(sa.insert(THING), ("id", "number"))
NEXT = Statement(
    sa.update(THING)
    .values(number=THING.c.number + 1)
    .where(THING.c.id == sa.bindparam("of"))
    .returning(THING.c.number),
    ("of",),
)
TOUCH = Statement(sa.insert(THING), ("id", "number"))


@pytest.fixture
def url() -> Iterator[str]:
    with empty_database(18) as url:
        yield url


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    database = PostgresDatabase(url, DatabaseSettings(pool_size=40))
    await database.open()
    yield database
    await database.close()


async def write(world: World, seed: int, count: int = 25) -> None:
    """Change things one after the other; each says so with its next number, sometimes in a long transaction."""
    chance = random.Random(seed)
    for step in range(count):
        session = world.database.session(write=True)
        try:
            if chance.random() < 0.3:  # it has its transaction id long before its position
                await session.execute(TOUCH, (f"early {seed} {step}", 0))
                await asyncio.sleep(chance.random() * 0.05)
            thing = f"t{chance.randrange(THINGS)}"
            [(number,)] = await session.fetch(NEXT, (thing,))
            await world.outbox.store(session, [world.event(Happened(thing=thing, number=number))])
            if chance.random() < 0.2:  # and holds it for long
                await asyncio.sleep(chance.random() * 0.05)
            if chance.random() < 0.9:
                await session.commit()
        finally:
            await session.close()


async def long_ones(world: World, stop: asyncio.Event) -> None:
    """Write something, emit about a thing of its own, and take a while to commit, again and again."""
    number = 0
    while not stop.is_set():
        number += 1
        session = world.database.session(write=True)
        await session.execute(TOUCH, (f"long {number}", 0))
        await world.outbox.store(session, [world.event(Happened(thing="long", number=number))])
        await asyncio.sleep(0.3)
        await session.commit()
        await session.close()


async def test_sixteen_writers_with_long_transactions_among_them_and_the_feed_skips_nothing(database: Database) -> None:
    shop = Module("shop")
    delivered: dict[str, list[int]] = defaultdict(list)

    @shop.on(Happened)
    async def note(ctx: Any, event: Happened) -> None:
        await ctx.record(event.thing, event.number)

    world = World(database, shop)
    await world.create()
    await database.create([THING])
    async with world.writing() as session:
        await session.execute_many(ADD, [(f"t{n}", 0) for n in range(THINGS)])
    feed = world.feed()
    followed: dict[str, list[int]] = defaultdict(list)

    async def follow() -> None:
        async with feed.follow([Happened]) as reader:
            ready.set()
            async for event in reader:
                followed[event.thing].append(event.number)

    ready, stop = asyncio.Event(), asyncio.Event()
    following = asyncio.create_task(follow())
    await ready.wait()
    async with world.dispatching(concurrency=8), world.dispatching(concurrency=8):
        long = asyncio.create_task(long_ones(world, stop))
        await asyncio.gather(*(write(world, seed) for seed in range(WRITERS)))
        stop.set()
        await long
        await drained(world)
    rows = await world.fetch(Statement(sa.select(THING.c.id, THING.c.number).where(THING.c.id.like("t_")), ()))
    written = {thing: list(range(1, number + 1)) for thing, number in rows}
    for _, thing, number in await world.effects():
        delivered[thing].append(number)
    counted = sum(map(len, written.values())) + len(delivered["long"])

    async def all_followed() -> bool:
        return sum(map(len, followed.values())) >= counted

    await until(all_followed)
    await feed.close()
    await following
    for thing, numbers in written.items():
        assert followed[thing] == numbers, thing
        assert delivered[thing] == numbers, thing
    assert followed["long"] == delivered["long"] == list(range(1, len(followed["long"]) + 1))


async def test_an_event_that_is_committed_behind_a_later_one_is_neither_skipped_nor_before_it(
    database: Database,
) -> None:
    world = World(database, Module("shop"))
    await world.create()
    feed = world.feed()
    async with feed.follow([Happened]) as reader:
        slow, quick = database.session(write=True), database.session(write=True)
        await world.outbox.store(slow, [world.event(Happened(thing="slow", number=1))])
        await world.outbox.store(quick, [world.event(Happened(thing="quick", number=2))])
        await quick.commit()
        feed.wake()
        first = asyncio.create_task(anext(reader))
        await asyncio.sleep(0.6)  # two looks at least
        assert not first.done()
        await slow.commit()
        assert [(await first).number, (await anext(reader)).number] == [1, 2]
    await feed.close()


async def test_who_begins_to_follow_while_a_long_transaction_runs_gets_what_it_commits(database: Database) -> None:
    world = World(database, Module("shop"))
    await world.create()
    long = database.session(write=True)
    await world.outbox.store(long, [world.event(Happened(thing="long", number=1))])
    feed = world.feed()
    position = asyncio.create_task(feed.start(None))
    await asyncio.sleep(0.1)
    await long.commit()
    async with feed.follow([Happened], await position) as reader:
        await world.emit(Happened(thing="next", number=2))
        feed.wake()
        seen = [(await anext(reader)).number]
        if seen == [1]:
            seen.append((await anext(reader)).number)
    assert seen in ([1, 2], [2])
    await feed.close()


async def test_a_process_hears_what_another_one_committed_also_after_its_connection_was_lost(url: str) -> None:
    databases = [PostgresDatabase(url) for _ in range(2)]
    for each in databases:
        await each.open()
    heard = asyncio.Event()
    databases[0].listen(heard.set)
    databases[1].listen(lambda: None)
    listening = (
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() "
        "AND (query ILIKE 'listen%' OR query ILIKE 'notify%') AND pid <> pg_backend_pid()"
    )
    name = url.partition("@/")[2].partition("?")[0]

    async def both_listen() -> bool:
        return len(await asyncio.to_thread(server(18).run, listening, name)) == 2

    for _ in range(2):
        await until(both_listen)
        heard.clear()
        databases[1].tell()
        await heard.wait()
        heard.clear()
        for (pid,) in await asyncio.to_thread(server(18).run, listening, name):
            await asyncio.to_thread(server(18).run, f"SELECT pg_terminate_backend({pid})", name)
        await heard.wait()  # it may have missed something
    for each in databases:
        await each.close()
