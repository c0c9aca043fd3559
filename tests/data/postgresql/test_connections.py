"""How the engine treats its connections: one statement at a time, cleaned after a cancellation, never lost."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest
import sqlalchemy as sa

from tests.postgres import SURVIVES, Server, empty_database, server
from trivet.core.clock import Deadline, SystemClock
from trivet.core.error import DeadlineExceeded
from trivet.data.database import Contention, DatabaseUnavailable, TransactionFailed
from trivet.data.postgresql import PostgresDatabase
from trivet.data.postgresql.connection import Connection
from trivet.data.statement import Statement
from trivet.resilience.alarm import Alarms
from trivet.settings import DatabaseSettings

COUNTERS = sa.Table(
    "counters", sa.MetaData(), sa.Column("id", sa.Text, primary_key=True), sa.Column("number", sa.Integer)
)
SET = Statement(
    sa.update(COUNTERS).values(number=sa.bindparam("value")).where(COUNTERS.c.id == sa.bindparam("of")), ("value", "of")
)
ALL = Statement(sa.select(COUNTERS).order_by(COUNTERS.c.id))
NUMBER = Statement(sa.select(COUNTERS.c.number).where(COUNTERS.c.id == sa.bindparam("of")), ("of",))
TOTAL = Statement(sa.select(sa.func.sum(COUNTERS.c.number)))
INSERT = Statement(sa.insert(COUNTERS).returning(COUNTERS.c.id), ("id", "number"))
SLEEP = Statement(sa.text("SELECT pg_sleep(60)"))
PID = Statement(sa.text("SELECT pg_backend_pid()"))
RUNNING = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state <> 'idle' "
    "AND pid <> pg_backend_pid()"
)
FOREVER = Deadline(float("inf"), SystemClock())


def within(seconds: float) -> Deadline:
    clock = SystemClock()
    return Deadline(clock.monotonic() + seconds, clock)


@pytest.fixture
def url() -> Iterator[str]:
    with empty_database() as url:
        yield url


async def filled(url: str, **settings: object) -> PostgresDatabase:
    database = PostgresDatabase(url, DatabaseSettings(**settings))  # type: ignore[arg-type]  # one test's few
    await database.open()
    await database.create([COUNTERS])
    session = database.session(write=True)
    await session.execute_many(INSERT, [("a", 0), ("b", 0)])
    await session.commit()
    return database


@pytest.fixture
async def database(url: str) -> AsyncIterator[PostgresDatabase]:
    database = await filled(url, pool_size=3)
    yield database
    await database.close()


async def idle(url: str) -> None:
    """Return once nothing runs and no transaction is open on the server."""
    name = url.partition("@/")[2].partition("?")[0]
    while (await asyncio.to_thread(server().run, RUNNING, name)) != [(0,)]:  # noqa: ASYNC110 - the server does not say
        await asyncio.sleep(0.01)


async def settled(database: PostgresDatabase) -> None:
    while database.pool.figures.open != database.pool.figures.free:  # noqa: ASYNC110 - nothing waits for it
        await asyncio.sleep(0.005)


# -- deadlines and cancellation


@pytest.mark.parametrize("kind", [(False, False), (False, True), (True, False)], ids=["read", "snapshot", "write"])
async def test_at_its_deadline_a_statement_ends_here_and_on_the_server(
    kind: tuple[bool, bool], database: PostgresDatabase, url: str
) -> None:
    write, snapshot = kind
    session = database.session(write=write, snapshot=snapshot, deadline=within(0.1))
    with pytest.raises(DeadlineExceeded):
        await session.fetch(SLEEP, ())
    await session.close()
    await idle(url)
    await settled(database)


@pytest.mark.parametrize("write", [False, True])
async def test_a_cancelled_statement_ends_on_the_server_and_its_connection_is_used_again(
    write: bool, database: PostgresDatabase, url: str
) -> None:
    await settled(database)
    session = database.session(write=write)
    [(before,)] = await session.fetch(PID, ())
    task = asyncio.create_task(session.fetch(SLEEP, ()))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await session.close()
    await idle(url)
    await settled(database)
    assert await database.session(write=False).fetch(PID, ()) == [(before,)]


@pytest.mark.parametrize("write", [False, True])
async def test_where_an_alarm_cancels_the_task_its_statement_ends_on_the_server(
    write: bool, database: PostgresDatabase, url: str
) -> None:
    alarms, clock = Alarms(SystemClock()), SystemClock()
    running = asyncio.current_task()
    assert running is not None
    alarm = alarms.arm(clock.monotonic() + 0.05, running)
    session = database.session(write=write, deadline=alarm)
    with pytest.raises(asyncio.CancelledError):
        await session.fetch(SLEEP, ())
    assert running.uncancel() == 0
    with pytest.raises(DeadlineExceeded):
        await database.session(write=write, deadline=alarm).fetch(ALL, ())
    await session.close()
    await idle(url)
    await settled(database)


async def test_at_the_deadline_of_an_alarm_that_does_not_ring_for_the_task_a_statement_ends_all_the_same(
    database: PostgresDatabase, url: str
) -> None:
    alarms, clock = Alarms(SystemClock(), tick=3600), SystemClock()
    running = asyncio.current_task()
    assert running is not None
    for beside in (True, False):
        alarm = alarms.arm(clock.monotonic() + 0.05, running)
        session = database.session(write=False, deadline=alarm)
        if not beside:
            alarms.disarm(alarm)
        with pytest.raises(DeadlineExceeded):
            await (asyncio.create_task(session.fetch(SLEEP, ())) if beside else session.fetch(SLEEP, ()))
        alarms.disarm(alarm)
    await idle(url)
    await settled(database)


async def test_the_server_ends_what_this_process_does_not(url: str) -> None:
    database = await filled(url, statement_timeout=0.1)
    with pytest.raises(DeadlineExceeded):
        await database.session(write=False).fetch(SLEEP, ())
    await database.close()


@pytest.mark.simulation
async def test_whatever_is_cancelled_whenever_no_connection_is_lost(database: PostgresDatabase, url: str) -> None:
    async def work(number: int) -> None:
        session = database.session(write=number % 2 == 0, snapshot=number % 3 == 0)
        try:
            await session.fetch(ALL, ())
            if session.writes:
                async with session.savepoint():
                    await session.execute(SET, (number, "ab"[number % 4 // 2]))
                await session.commit()
            await session.fetch(ALL, ())
        finally:
            await session.close()

    for steps in range(60):
        tasks = [asyncio.create_task(work(number)) for number in range(8)]
        for _ in range(steps):
            await asyncio.sleep(0)
        for task in tasks[steps % 3 :: 2]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    await settled(database)
    await idle(url)
    assert database.pool.figures.waiting == 0
    for session in [database.session(write=True) for _ in range(3)]:
        await session.fetch(ALL, ())
        await session.close()


async def test_what_still_runs_when_its_session_is_closed_is_undone(database: PostgresDatabase) -> None:
    session = database.session(write=True, deadline=within(0.2))
    await session.execute(SET, (7, "a"))
    left_behind = asyncio.create_task(session.fetch(SLEEP, ()))
    await asyncio.sleep(0.01)
    await session.close()
    with pytest.raises(DeadlineExceeded):
        await left_behind
    with pytest.raises(TransactionFailed):
        await session.fetch(ALL, ())
    await settled(database)
    assert await database.session(write=False).fetch(ALL, ()) == [("a", 0), ("b", 0)]


# -- one connection at most


async def test_a_session_holds_one_connection_however_much_it_is_asked_at_once(url: str) -> None:
    database = await filled(url, pool_size=1, pool_queue=1)  # a second one that waited would be refused
    for write, snapshot in [(False, False), (False, True), (True, False)]:
        session = database.session(write=write, snapshot=snapshot)
        await asyncio.gather(*(session.fetch(PID, ()) for _ in range(20)))
        await session.close()
    await database.close()


async def test_a_hundred_callers_on_a_pool_of_three_all_get_their_turn(database: PostgresDatabase) -> None:
    async def nested(number: int) -> None:
        session = database.session(write=True)
        try:
            async with session.savepoint():
                await session.execute(SET, (number, "a"))
                async with session.savepoint():
                    await session.fetch(ALL, ())
            await session.commit()
        finally:
            await session.close()

    await asyncio.gather(*(nested(number) for number in range(100)))
    await settled(database)
    assert database.pool.figures.open <= 3


async def test_what_a_team_did_to_a_connection_is_forgotten(url: str) -> None:
    database = await filled(url, pool_size=1)  # so that it is the same one that is used again
    for write, snapshot in [(False, False), (False, True), (True, False)]:
        session = database.session(write=write, snapshot=snapshot)
        driver: asyncpg.Connection = await session.driver_connection()
        await driver.execute("SET search_path = 'elsewhere'")
        await driver.execute("SELECT pg_advisory_lock(1)")
        [(pid,)] = await session.fetch(PID, ())
        await session.close()
        await settled(database)
        after = database.session(write=False)
        assert await after.fetch(PID, ()) == [(pid,)]
        assert await after.fetch(Statement(sa.text("SELECT current_setting('search_path')")), ()) != [("elsewhere",)]
        assert await after.fetch(
            Statement(sa.text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")), ()
        ) == [(0,)]
    await database.close()


async def test_a_reading_session_can_not_write_whatever_it_is_given(database: PostgresDatabase) -> None:
    for snapshot in (False, True):
        session = database.session(write=False, snapshot=snapshot)
        with pytest.raises(DatabaseUnavailable):
            await session.fetch(INSERT, ("c", 1))
        await session.close()
    assert len(await database.session(write=False).fetch(ALL, ())) == 2


async def test_the_server_knows_the_app_by_its_name(url: str) -> None:
    database = PostgresDatabase(url, name="shop")
    await database.open()
    name = Statement(sa.text("SELECT current_setting('application_name')"))
    assert await database.session(write=False).fetch(name, ()) == [("shop",)]
    await database.close()
    assert "pass" not in repr(PostgresDatabase("postgresql://ann:pass@host/shop"))


# -- others in the way


async def test_writers_in_a_circle_are_contention(database: PostgresDatabase) -> None:
    first, second = database.session(write=True), database.session(write=True)
    await first.execute(SET, (1, "a"))
    await second.execute(SET, (2, "b"))
    both = await asyncio.gather(first.execute(SET, (1, "b")), second.execute(SET, (2, "a")), return_exceptions=True)
    assert [type(each) for each in both].count(Contention) == 1
    await first.close()
    await second.close()


async def test_transactions_that_do_not_fit_one_after_the_other_are_contention(url: str) -> None:
    database = await filled(url, isolation="serializable")
    first, second = database.session(write=True), database.session(write=True)
    for session, other in ((first, "b"), (second, "a")):
        await session.fetch(TOTAL, ())
        await session.execute(SET, (1, other))
    await first.commit()
    with pytest.raises(Contention):
        await second.commit()
    await second.close()
    await database.close()


async def test_after_the_tables_changed_reads_go_on_and_commands_run_again(database: PostgresDatabase) -> None:
    holding = [database.session(write=True) for _ in range(3)]
    for session in holding:  # every connection has prepared the statement
        await session.fetch(Statement(sa.text("SELECT * FROM counters")), ())
    for session in holding:
        await session.close()
    await settled(database)
    session = database.session(write=True)
    await (await session.driver_connection()).execute("ALTER TABLE counters ADD COLUMN more text")
    await session.commit()
    everything = Statement(sa.text("SELECT * FROM counters"))
    writer = database.session(write=True)
    with pytest.raises(Contention):
        await writer.fetch(everything, ())
    await writer.close()
    await settled(database)
    for _ in range(3):
        writer = database.session(write=True)
        assert len((await writer.fetch(everything, ()))[0]) == 3
        await writer.close()
    assert len((await database.session(write=False).fetch(everything, ()))[0]) == 3


async def changed(url: str, sql: str) -> None:
    """Change the database beside the process."""
    beside = await asyncpg.connect(url)
    try:
        await beside.execute(sql)
    finally:
        await beside.close()


@pytest.mark.parametrize("snapshot", [False, True])
async def test_a_read_that_is_prepared_goes_on_when_a_column_gets_another_type(snapshot: bool, url: str) -> None:
    database = await filled(url, pool_size=1)

    async def read() -> list[tuple[object, ...]]:
        session = database.session(write=False, snapshot=snapshot)
        try:
            return [tuple(row) for row in await session.fetch(NUMBER, ("a",))]
        finally:
            await session.close()

    assert await read() == [(0,)]
    await changed(url, "ALTER TABLE counters ADD COLUMN more text")
    assert await read() == [(0,)]
    await changed(url, "ALTER TABLE counters ALTER COLUMN number TYPE text")
    if snapshot:  # its transaction has failed, and begins again
        with pytest.raises(Contention):
            await read()
        await settled(database)
    assert await read() == [("0",)]
    await database.close()


async def test_a_type_that_gets_another_member_is_contention_once(url: str) -> None:
    database = await filled(url, pool_size=1)
    await changed(url, "CREATE TYPE place AS (x int); CREATE TABLE places AS SELECT ROW(1)::place AS at")
    places = Statement(sa.text("SELECT at FROM places"))
    session = database.session(write=False)
    assert await session.fetch(places, ()) == [((1,),)]
    await changed(url, "ALTER TYPE place ADD ATTRIBUTE y int")
    with pytest.raises(Contention):
        await session.fetch(places, ())
    await settled(database)
    assert await session.fetch(places, ()) == [((1, None),)]
    await database.close()


@pytest.mark.parametrize("word", ["DISCARD ALL", "DEALLOCATE ALL"])
async def test_what_is_prepared_may_be_forgotten_by_others(word: str, url: str) -> None:
    database = await filled(url, pool_size=1)
    assert await database.session(write=False).fetch(NUMBER, ("a",)) == [(0,)]
    session = database.session(write=False)
    driver: asyncpg.Connection = await session.driver_connection()
    await driver.execute(word)
    assert await session.fetch(NUMBER, ("a",)) == [(0,)]
    await driver.execute(word)
    await session.close()
    await settled(database)
    assert await database.session(write=False).fetch(NUMBER, ("a",)) == [(0,)]
    assert database.pool.figures.open == 1
    await database.close()


async def test_a_connection_keeps_so_many_prepared_statements_and_no_more(database: PostgresDatabase) -> None:
    driver = await database.connect()
    connection = Connection(driver, 3)
    try:
        for _ in range(2):
            for number in range(10):
                form = Statement(sa.text(f"SELECT {number}")).on("postgresql")
                assert await connection.fetch(form, (), None) == [(number,)]
        kept = await driver.fetchval("SELECT count(*) FROM pg_prepared_statements WHERE statement ~ '^SELECT [0-9]$'")
        assert kept in (3, 4)  # the one that went last is closed with the next
    finally:
        driver.terminate()


async def test_what_was_prepared_on_a_connection_that_was_killed_is_prepared_on_the_next(url: str) -> None:
    database = await filled(url, pool_size=1)
    session = database.session(write=False)
    [(pid,)] = await session.fetch(PID, ())
    assert await session.fetch(NUMBER, ("a",)) == [(0,)]
    await changed(url, f"SELECT pg_terminate_backend({pid})")
    assert await session.fetch(NUMBER, ("a",)) == [(0,)]
    assert await session.fetch(PID, ()) != [(pid,)]
    await settled(database)
    await database.close()


# -- the server goes away


@pytest.mark.integration
async def test_after_the_server_restarted_everything_goes_on() -> None:
    own = await asyncio.to_thread(Server, 18, SURVIVES)
    try:
        database = await filled(own.url(), pool_size=4)
        sessions = [database.session(write=True) for _ in range(3)]
        for session in sessions:
            await session.fetch(ALL, ())
        await asyncio.to_thread(own.stop, signal.SIGKILL)
        for session in sessions:
            with pytest.raises(DatabaseUnavailable):
                await session.fetch(ALL, ())
            await session.close()
        with pytest.raises(DatabaseUnavailable):
            await database.session(write=False).fetch(ALL, ())
        await asyncio.to_thread(own.start)
        assert await database.session(write=False).fetch(ALL, ()) == [("a", 0), ("b", 0)]
        await settled(database)
        await database.close()
    finally:
        await asyncio.to_thread(own.remove)


async def test_a_read_whose_connection_broke_is_asked_once_more(database: PostgresDatabase, url: str) -> None:
    session = database.session(write=False, deadline=within(60))
    reading = asyncio.create_task(session.fetch(Statement(sa.text("SELECT pg_sleep(0.3)")), ()))
    await asyncio.sleep(0.1)
    name = url.partition("@/")[2].partition("?")[0]
    kill = (
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}' "
        "AND state = 'active' AND pid <> pg_backend_pid()"
    )
    await asyncio.to_thread(server().run, kill)
    assert len(await reading) == 1
    await settled(database)
