"""The outbox in partitions: days are dropped whole, nothing else goes, and nobody who writes or reads takes notice."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result

from tests.messaging.contract.world import Happened, World, drained
from tests.postgres import empty_database, run_on, server
from tests.waiting import until
from trivet.cli import command
from trivet.core.module import Module
from trivet.data.partitioned import WIDTH, Close, Drop, Enter, Make, Partition, State, next_step
from trivet.data.postgresql import PostgresDatabase
from trivet.data.postgresql import partitions as engine
from trivet.data.postgresql.partitions import Partitions
from trivet.data.statement import Statement
from trivet.messaging.dead import dead_letters, replay
from trivet.messaging.prune import Pruner
from trivet.messaging.retry import RetryPolicy
from trivet.messaging.tables import OUTBOX, tables

KEPT = Statement(sa.select(tables().outbox.c.aggregate).order_by(tables().outbox.c.position), ())
POSITIONS = Statement(sa.select(tables().outbox.c.position).order_by(tables().outbox.c.position), ())
DAY = timedelta(days=1)
NOON = datetime(2026, 3, 14, 12, tzinfo=UTC)


@pytest.fixture
def url() -> Iterator[str]:
    with empty_database(18) as url:
        yield url


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[PostgresDatabase]:
    database = PostgresDatabase(url)
    await database.open()
    try:
        yield database
    finally:
        await database.close()


@pytest.fixture
async def world(url: str) -> AsyncIterator[World]:
    async with opened(url) as database:
        world = World(database, Module("shop"))
        await world.create()
        yield world


def parts(url: str) -> list[int]:
    rows = run_on(url, "SELECT relname FROM pg_class WHERE relkind = 'r' AND relname ~ '^trivet_outbox'")
    return sorted(int(name.removeprefix("trivet_outbox_")) for (name,) in rows)


async def prune(world: World) -> None:
    await Pruner(world.database, world.subscribers.ids, world.clock).prune()


async def kept(world: World) -> list[str]:
    return [thing for (thing,) in await world.fetch(KEPT)]


# -- what is decided


def state(current: int, begun: datetime | None, *partitions: Partition) -> State:
    return State(current=current, begun=begun, partitions=partitions)


@pytest.mark.parametrize(
    ("found", "step"),
    [
        (state(0, None, Partition(number=0)), None),
        (state(0, NOON, Partition(number=0)), None),
        (state(0, NOON - DAY, Partition(number=0)), Make(number=1)),
        (state(0, NOON - DAY, Partition(number=0), Partition(number=1)), Enter(number=1)),
        (state(1, None, Partition(number=0), Partition(number=1)), Close(number=0)),
        (state(1, NOON, Partition(number=0, closed=NOON - 7 * DAY), Partition(number=1)), None),
        (state(1, NOON, Partition(number=0, closed=NOON - 8 * DAY), Partition(number=1)), Drop(number=0)),
        (state(1, NOON, Partition(number=1, closed=NOON - 8 * DAY)), None),  # the number went back: it is used again
        (state(0, NOON + DAY, Partition(number=0)), None),  # so did the clock
    ],
)
def test_what_comes_next_follows_from_what_is_there(found: State, step: object) -> None:
    assert next_step(found, NOON, NOON - 7 * DAY) == step


def test_what_can_not_be_dropped_just_now_is_in_nobodys_way() -> None:
    old = tuple(Partition(number=number, closed=NOON - 9 * DAY) for number in (0, 1))
    found = state(2, NOON, *old, Partition(number=2))
    assert next_step(found, NOON, NOON - 7 * DAY, [0]) == Drop(number=1)
    assert next_step(found, NOON, NOON - 7 * DAY, [0, 1]) is None


# -- days


async def test_days_are_dropped_whole_once_they_were_over_for_a_week_and_nothing_else_is(
    url: str, world: World
) -> None:
    for day in range(10):
        world.clock.ahead = day * DAY
        await prune(world)
        await world.emit(Happened(thing=str(day)), Happened(thing=str(day)))
    assert parts(url) == [2, 3, 4, 5, 6, 7, 8, 9]  # day 1 was over with the turn on day 2, a week ago
    assert await kept(world) == [str(day) for day in range(2, 10) for _ in range(2)]
    positions = [position for (position,) in await world.fetch(POSITIONS)]
    assert [position // WIDTH for position in positions] == [day for day in range(2, 10) for _ in range(2)]
    world.clock.ahead = timedelta(days=30)
    await prune(world)
    await prune(world)
    assert parts(url) == [9, 10]  # closed on this day, so it stays for a week


async def test_a_day_without_messages_needs_no_partition(url: str, world: World) -> None:
    await world.emit(Happened(thing="a"))
    for day in range(1, 6):
        world.clock.ahead = day * DAY
        await prune(world)
    assert parts(url) == [0, 1]


async def test_messages_find_their_place_though_nobody_looked_after_it_and_clocks_jump(url: str, world: World) -> None:
    for days in (0, 1, 3, 400, -400):
        world.clock.ahead = timedelta(days=days)
        await world.emit(Happened(thing=str(days)))
    assert (parts(url), len(await kept(world))) == ([0], 5)
    world.clock.ahead = timedelta(days=1)
    await prune(world)
    for days in (1, 400, -400):
        world.clock.ahead = timedelta(days=days)
        await world.emit(Happened(thing=str(days)))
    assert (parts(url), len(await kept(world))) == ([0, 1], 8)


async def test_many_workers_begin_a_day_once(url: str, world: World) -> None:
    await world.emit(Happened(thing="a"))
    now = world.clock.now() + DAY

    async def turn() -> None:
        async with opened(url) as database:
            assert await Partitions(database, OUTBOX).turn(now, now - 7 * DAY) is None

    await asyncio.gather(*(turn() for _ in range(8)))
    await turn()
    await world.emit(Happened(thing="b"))
    assert parts(url) == [0, 1]
    assert [position for (position,) in await world.fetch(POSITIONS)] == [1, WIDTH + 1]


# -- what is needed


def failing() -> Module:
    shop = Module("shop")

    @shop.on(Happened)
    async def bill(ctx: Any, event: Happened) -> None:
        if event.number == 0:
            raise ValueError
        await ctx.record(event.thing, event.number)

    return shop


async def test_a_dead_letter_outlives_its_day_and_can_be_replayed(url: str) -> None:
    async with opened(url) as database:
        world = World(database, failing())
        await world.create()
        await world.emit(Happened(thing="dead"), *(Happened(thing=str(n), number=n) for n in range(1, 50)))
        async with world.dispatching(retry=RetryPolicy(attempts_max=1)):

            async def buried() -> bool:
                return await world.pending() == 1 and world.observer.counts["buried"] == 1

            await until(buried)
        for days in (1, 9, 10):
            world.clock.ahead = timedelta(days=days)
            await prune(world)
            if days == 1:
                await world.emit(Happened(thing="next", number=50))
                async with world.dispatching():

                    async def delivered() -> bool:
                        return await world.pending() == 1

                    await until(delivered)
        assert (await kept(world), parts(url)) == (["dead", "next"], [0, 1, 2])
        [letter] = await dead_letters(database.session(write=False))
        assert (letter.position, letter.message.aggregate) == (1, "dead")
        async with world.writing() as session:
            assert await replay(session, [letter], world.clock.now()) == 1
            await session.fetch(Statement(sa.text("DELETE FROM trivet.trivet_delivery RETURNING 1"), ()), ())
        await prune(world)
        assert (await kept(world), parts(url)) == (["next"], [1, 2])


async def test_what_is_left_of_many_days_stands_together(url: str, world: World) -> None:
    for day in range(20):
        world.clock.ahead = day * DAY
        await prune(world)
        await world.emit(*(Happened(thing=f"{day}{what}") for what in ("dead", "done")))
        run_on(
            url,
            "INSERT INTO trivet.trivet_delivery (subscriber, position, aggregate, attempts, due, last_error, dead_time)"
            f" VALUES ('gone', {day * WIDTH + 1}, 'a', 1, 0, 'e', 1)",
        )
    assert parts(url) == [11, *range(12, 20)]  # of days 0 to 11 what is dead
    found = await kept(world)
    assert found[:12] == [f"{day}dead" for day in range(12)]
    assert found[12:] == [f"{day}{what}" for day in range(12, 20) for what in ("dead", "done")]
    letters = await dead_letters(world.database.session(write=False))
    assert [each.message.aggregate for each in letters] == [f"{day}dead" for day in range(20)]
    run_on(url, "DELETE FROM trivet.trivet_delivery")
    world.clock.ahead = 40 * DAY
    await prune(world)
    assert parts(url) == [19, 20]


async def test_a_day_of_which_much_is_needed_stays_as_it_is(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "FEW", 3)
    async with opened(url) as database:
        world = World(database, failing())
        await world.create()
        await world.emit(*(Happened(thing=str(n), number=n) for n in range(1, 6)))
        for count, left in ((5, 5), (4, 5), (3, 3), (1, 1), (0, 0)):
            run_on(url, f"DELETE FROM trivet.trivet_delivery WHERE id > {count}")
            world.clock.ahead += timedelta(days=9)
            await prune(world)
            await prune(world)
            expected = left if count != 5 else 5  # at the first turn it is closed, and goes at a later one
            assert len(await kept(world)) == expected, count


async def test_a_transaction_that_still_writes_into_an_old_day_keeps_it_and_stops_nobody(
    url: str, world: World
) -> None:
    await world.emit(Happened(thing="old"))
    slow = world.database.session(write=True)
    await world.outbox.store(slow, [world.event(Happened(thing="slow"))])
    world.clock.ahead = DAY
    await prune(world)
    await world.emit(Happened(thing="young"))
    world.clock.ahead = timedelta(days=9)
    turning = asyncio.create_task(prune(world))
    for _ in range(20):  # before, while and after it tries
        await world.emit(Happened(thing="more"))
    await turning
    assert (await kept(world))[:2] == ["old", "young"]
    await slow.commit()
    assert (await kept(world))[:3] == ["old", "slow", "young"]
    await slow.close()
    await prune(world)
    assert (await kept(world))[0] == "young"


async def test_whoever_reads_by_position_touches_only_the_partitions_behind_it(url: str, world: World) -> None:
    for day in range(5):
        world.clock.ahead = day * DAY
        await prune(world)
        await world.emit(Happened(thing=str(day)))
    read = "SELECT position FROM trivet.trivet_outbox WHERE position > $1 AND position <= $2 ORDER BY position LIMIT 9"
    joined = (
        "SELECT d.id FROM trivet.trivet_delivery d JOIN trivet.trivet_outbox o ON o.position = d.position "
        "WHERE d.id = ANY($1::bigint[])"
    )
    run_on(url, f"INSERT INTO trivet.trivet_delivery VALUES (1, 'a', {3 * WIDTH + 1}, 'b', 0, 0)")
    session = world.database.session(write=True)
    driver = await session.driver_connection()
    for plans in ("force_generic_plan", "force_custom_plan"):
        await driver.execute(f"SET LOCAL plan_cache_mode = '{plans}'")
        for sql, values, live in ((read, (4 * WIDTH, 9 * WIDTH), {"4"}), (joined, ([1],), {"3"})):
            plan = [line for (line,) in await driver.fetch(f"EXPLAIN (ANALYZE, COSTS OFF) {sql}", *values)]
            touched = {
                line.split("trivet_outbox_")[1][0]
                for line in plan
                if "trivet_outbox_" in line and " on " in line and "never executed" not in line
            }
            assert touched == live, "\n".join(plan)
    await session.close()


async def test_days_begin_and_go_while_messages_are_written_followed_and_delivered(url: str) -> None:
    shop = Module("shop")

    @shop.on(Happened)
    async def note(ctx: Any, event: Happened) -> None:
        await ctx.record(event.thing, event.number)

    async with opened(url) as database:
        world = World(database, shop)
        await world.create()
        feed, followed = world.feed(retention=timedelta(days=1000)), list[tuple[str, int]]()
        ready, written = asyncio.Event(), list[int]()

        async def follow() -> None:
            async with feed.follow([Happened]) as reader:
                ready.set()
                async for event in reader:
                    followed.append((event.thing, event.number))

        async def write(thing: str) -> None:
            for number in range(60):
                async with world.writing() as session:
                    await world.outbox.store(session, [world.event(Happened(thing=thing, number=number))])
                    await asyncio.sleep(0.002 * (number % 5))
                written.append(number)

        async def turn() -> None:
            for _ in range(8):  # each ends every lease: with no end to them nothing would ever be delivered
                count = len(written)

                async def caught_up(count: int = count) -> bool:
                    return len(followed) >= count

                await until(caught_up)  # a reader looks several times a second, and would be a week late
                world.clock.ahead += timedelta(days=3)
                await prune(world)

        following = asyncio.create_task(follow())
        await ready.wait()
        turning = asyncio.create_task(turn())
        things = [f"t{n}" for n in range(6)]
        async with world.dispatching(), world.dispatching():
            await asyncio.gather(*map(write, things))
            await drained(world)

            async def all_followed() -> bool:
                return len(followed) >= 60 * len(things) or following.done()

            await until(all_followed)
        await turning
        for days in (1, 10):
            world.clock.ahead += timedelta(days=days)
            await prune(world)
        await feed.close()
        await following
        assert min(parts(url)) > 0
        delivered = [(thing, number) for _, thing, number in await world.effects()]
        for thing in things:
            assert [number for of, number in followed if of == thing] == list(range(60))
            assert [number for of, number in delivered if of == thing] == list(range(60))


# -- who may not, and who is killed


@pytest.fixture
def poor(url: str) -> Iterator[str]:
    """The URL as a user who may use the tables and does not own them."""
    shared, name = server(18), url.partition("@/")[2].partition("?")[0]
    shared.run("DROP ROLE IF EXISTS renter")
    shared.run("CREATE ROLE renter LOGIN")
    try:
        yield shared.url(name, user="renter")
    finally:
        shared.run("DROP OWNED BY renter", name)
        shared.run("DROP ROLE renter")


async def test_who_does_not_own_the_table_removes_row_by_row_and_is_told_what_to_do(
    url: str, poor: str, world: World
) -> None:
    run_on(url, "GRANT USAGE ON SCHEMA trivet TO renter")
    for kind in ("TABLES", "SEQUENCES"):
        run_on(url, f"GRANT ALL ON ALL {kind} IN SCHEMA trivet TO renter")
    await world.emit(Happened(thing="old"))
    world.clock.ahead = timedelta(days=8)
    await world.emit(Happened(thing="young"))
    said: list[str] = []
    async with opened(poor) as database:
        pruner = Pruner(database, [], world.clock, warn=said.append)
        await pruner.prune()
        await pruner.prune()
    [why] = said
    assert "run `trivet db prune` as postgres once a day, or GRANT postgres TO renter" in why
    assert (await kept(world), parts(url)) == (["young"], [0])


async def test_who_is_a_member_of_the_owner_acts_as_the_owner(url: str, poor: str, world: World) -> None:
    run_on(url, "CREATE ROLE landlord")
    try:
        run_on(url, "ALTER SCHEMA trivet OWNER TO landlord")
        for name in ("trivet_outbox", "trivet_outbox_0", "trivet_delivery", "trivet_job", "trivet_key"):
            run_on(url, f"ALTER TABLE trivet.{name} OWNER TO landlord")
        run_on(url, "GRANT landlord TO renter")
        await world.emit(Happened(thing="old"))
        world.clock.ahead = DAY
        async with opened(poor) as database:
            await Pruner(database, [], world.clock).prune()
            await world.emit(Happened(thing="young"))
            world.clock.ahead = timedelta(days=9)
            await Pruner(database, [], world.clock).prune()
        owners = run_on(url, "SELECT DISTINCT tableowner FROM pg_tables WHERE tablename LIKE 'trivet_outbox%'")
        assert (await kept(world), owners) == (["young"], [("landlord",)])
    finally:
        run_on(url, "DROP OWNED BY landlord CASCADE")
        run_on(url, "DROP ROLE landlord")


APP = """
import trivet

notes = trivet.Module("notes")


@notes.command(public=True)
async def touch(ctx: trivet.Write) -> None: ...


app = trivet.App("notebook", modules=[notes])
"""


async def test_the_command_does_what_workers_do_for_whoever_runs_it(url: str, world: World, tmp_path: Path) -> None:
    (tmp_path / "notebook_to_prune.py").write_text(APP)
    words = ["db", "prune", "notebook_to_prune:app", "--app-dir", str(tmp_path)]
    world.clock.ahead = -2 * DAY
    await world.emit(Happened(thing="old"))

    def run() -> Result:
        return CliRunner().invoke(command, words, standalone_mode=False, env={"DATABASE_URL": url})

    ended = await asyncio.to_thread(run)
    assert (ended.exception, ended.return_value, ended.output) == (None, 0, "")
    assert parts(url) == [0, 1]


CHILD = """
import asyncio, sys
from datetime import datetime, timedelta, UTC
from trivet.data.postgresql import PostgresDatabase
from trivet.data.postgresql.partitions import Partitions
from trivet.messaging.tables import OUTBOX

async def main():
    database = PostgresDatabase(sys.argv[1])
    await database.open()
    partitions, now = Partitions(database, OUTBOX), datetime.now(UTC) + timedelta(days=int(sys.argv[2]))
    print("go", flush=True)
    for _ in range(40):
        await partitions.turn(now, now - timedelta(days=7))
        session = database.session(write=True)
        driver = await session.driver_connection()
        await driver.execute(
            "INSERT INTO trivet.trivet_outbox SELECT nextval('trivet.trivet_outbox_position_seq'), 'i', 'k', 't', 1, "
            "'m', 'a', extract(epoch from $1::timestamptz)::bigint * 1000000, null, null, 'r', null, ''", now
        )
        await session.commit()
        now += timedelta(hours=10)
    await asyncio.sleep(3600)

asyncio.run(main())
"""


@pytest.mark.slow
async def test_whoever_is_killed_leaves_what_the_next_one_goes_on_with(url: str, world: World, tmp_path: Path) -> None:
    """The first rows are needed by dead letters, the others by nobody."""
    await world.emit(*(Happened(thing="dead") for _ in range(3)))
    dead = "SELECT n, 'gone', n, 'dead', 1, 0, NULL, 'e', 1 FROM generate_series(1, 3) AS n"
    run_on(url, f"INSERT INTO trivet.trivet_delivery {dead}")
    program = tmp_path / "child.py"
    program.write_text(CHILD)
    for kill in range(3):
        words = [sys.executable, str(program), url, str(1000 * kill)]
        with subprocess.Popen(words, stdout=subprocess.PIPE) as child:
            try:
                assert child.stdout is not None
                assert await asyncio.to_thread(child.stdout.readline) == b"go\n"
                await asyncio.sleep(0.2 + 0.137 * kill)
            finally:
                child.kill()
        assert run_on(url, "SELECT position FROM trivet.trivet_outbox ORDER BY position LIMIT 3") == [(1,), (2,), (3,)]
        leftovers = run_on(url, "SELECT relname FROM pg_class WHERE relname LIKE 'trivet_outbox%kept'")
        assert leftovers == []
    for days in (9000, 9010):
        world.clock.ahead = timedelta(days=days)
        await prune(world)
    assert parts(url)[0] == 0  # what is needed
    assert len(parts(url)) <= 3  # and the last days
    assert (await kept(world))[:3] == ["dead"] * 3
    await world.emit(Happened(thing="after"))
    assert (await kept(world))[-1] == "after"
