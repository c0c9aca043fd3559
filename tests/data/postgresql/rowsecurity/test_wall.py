"""The second wall between tenants: what a statement forgets, the server does not."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Any

import asyncpg
import pytest
import sqlalchemy as sa
from asyncpg.prepared_stmt import PreparedStatement
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.data.conftest import OWNER, Engine, Store
from tests.data.postgresql.rowsecurity.book import (
    BLUE,
    BOOK,
    EVERY,
    RED,
    REMOVE,
    RENAME,
    SLEEP,
    STEAL,
    TOLD,
    UNMARKED,
    Book,
    Note,
    fill,
    name_of,
    opened,
    session_for,
)
from tests.pgbouncer import Bouncer, bouncer
from tests.postgres import empty_database, run_on, server
from trivet.core.clock import Deadline, SystemClock
from trivet.core.error import AlreadyExists, DeadlineExceeded, Error
from trivet.core.page import PageRequest
from trivet.core.principal import Principal
from trivet.data.database import ALL_TENANTS, DatabaseUnavailable, Session, Tenancy
from trivet.data.postgresql.errors import BROKEN
from trivet.data.postgresql.rowsecurity import told
from trivet.data.statement import Form, Statement

pytestmark = pytest.mark.integration

KINDS = [
    pytest.param({"write": False}, id="read"),
    pytest.param({"snapshot": True}, id="snapshot"),
    pytest.param({"write": True}, id="write"),
]


# -- what the wall keeps out


@pytest.mark.parametrize("kind", KINDS)
async def test_a_statement_that_forgets_the_tenant_sees_its_rows_only(store: Store, kind: dict[str, bool]) -> None:
    for tenant, seen in (("red", [0, 2]), ("blue", [1, 3]), ("none such", []), (None, []), ("", [])):
        session = session_for(store, tenant, **kind)
        assert [id for id, _ in await session.fetch(EVERY, ())] == seen
        await session.close()


async def test_without_the_mark_of_a_plan_a_read_sees_nothing_at_all(store: Store) -> None:
    session = session_for(store, "red")
    assert await session.fetch(UNMARKED, ()) == []


async def test_a_plan_whose_condition_was_lost_still_reads_one_tenant(store: Store) -> None:
    plan = store.plans[BOOK.notes]
    query = plan.listings[BOOK.by_name].first[0][0]
    form = query.statement.on("postgresql")
    lost = form.sql.replace("WHERE ", "WHERE true OR ", 1)
    assert lost != form.sql
    broken = Statement.ready(Form(lost, form.arrange, reads=True), "postgresql", tenanted=query.statement.tenanted)
    for who, seen in ((RED, [0, 2]), (BLUE, [1, 3])):
        async with store.reading(who) as ctx:
            values = query.values(ctx, (None, 100))
            rows = await ctx._work.session.fetch(broken, values)
        assert sorted(row[0] for row in rows) == seen


async def test_a_statement_that_forgets_the_tenant_changes_its_rows_only(store: Store) -> None:
    session = session_for(store, "blue", write=True)
    assert await session.execute(RENAME, ()) == 2
    assert await session.execute(REMOVE, ()) == 2
    await session.rollback()
    session.tenant = None
    assert await session.execute(RENAME, ()) == 0
    assert await session.execute(REMOVE, ()) == 0
    await session.close()


async def test_a_row_can_not_be_given_to_another_tenant_or_come_as_one(store: Store) -> None:
    session = session_for(store, "red", write=True)
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):  # a bug, which stays one
        await session.execute(STEAL, ())
    await session.rollback()
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
        await session.execute(store.plans[BOOK.notes].insert, (9, "blue", "x"))
    await session.close()


@pytest.mark.parametrize("kind", KINDS)
async def test_what_a_team_runs_on_the_drivers_connection_is_held_too(store: Store, kind: dict[str, bool]) -> None:
    session = session_for(store, "red", **kind)
    driver = await session.driver_connection()
    assert [row["id"] for row in await driver.fetch("SELECT id FROM book.notes ORDER BY id")] == [0, 2]
    assert [id for id, _ in await session.fetch(EVERY, ())] == [0, 2]
    await session.close()
    await nothing_stays(store)


async def test_a_connection_that_was_lent_is_held_after_its_transaction_was_ended_there(store: Store) -> None:
    session = session_for(store, "red")
    driver = await session.driver_connection()
    await driver.execute("ROLLBACK")
    assert await driver.fetch("SELECT id FROM book.notes") == []
    assert [id for id, _ in await session.fetch(EVERY, ())] == [0, 2]
    await session.close()


async def test_a_cursor_is_held_to_the_tenant(store: Store) -> None:
    snapshot = store.database.snapshot()
    snapshot.tenant = "blue"
    async with aclosing(snapshot.scan(EVERY, (), 1)) as groups:
        assert [row[0] async for rows in groups for row in rows] == [1, 3]
    await snapshot.close()


async def test_the_platform_sees_all_tenants_and_no_tenant_can_be_called_so(store: Store) -> None:
    for tenant, seen in ((ALL_TENANTS, [0, 1, 2, 3]), ("*", []), ("on", []), ("all tenants", [])):
        for write in (False, True):
            session = session_for(store, tenant, write=write)
            assert [id for id, _ in await session.fetch(EVERY, ())] == seen
            await session.close()


@pytest.mark.parametrize("name", ["o'red", "back\\slash", "\\'; RESET ALL; --", "E'x'", "ünï 🦊", "$1", "a" * 500])
async def test_a_tenant_may_have_any_name(store: Store, name: str) -> None:
    who = Principal(subject="x", tenant=name)
    async with store.writing(who) as ctx:
        await BOOK.notes.insert(ctx, Note(id=77, org=name, name="x"))
    async with store.reading(who) as ctx:
        assert (await BOOK.notes.get(ctx, 77)).org == name
        assert [note.id for note in (await BOOK.notes.page(ctx, BOOK.by_name, PageRequest())).items] == [77]
    session = store.database.session(write=True)
    driver = await session.driver_connection()
    await driver.execute("SET standard_conforming_strings = off")  # as an old server may be set
    await driver.execute(told(name))
    assert [tuple(row) for row in await driver.fetch(TOLD)] == [(name, "")]
    await session.close()


# -- a transaction for several tenants


async def test_whom_a_transaction_works_for_may_change_and_a_savepoint_takes_it_back(store: Store) -> None:
    session = session_for(store, "red", write=True)

    async def seen() -> list[int]:
        return [id for id, _ in await session.fetch(EVERY, ())]

    assert await seen() == [0, 2]

    async def undone(last: Tenancy) -> None:
        with suppress(ZeroDivisionError):
            async with session.savepoint():
                session.tenant = "blue"
                assert await seen() == [1, 3]
                session.tenant = last
                raise ZeroDivisionError

    await undone("blue")
    assert await seen() == [1, 3], "the server took it back with the savepoint, and is told again"
    session.tenant = "red"
    assert await seen() == [0, 2]
    await undone("red")
    assert await seen() == [0, 2]
    async with session.savepoint():
        session.tenant = ALL_TENANTS
        assert await seen() == [0, 1, 2, 3]
    assert await seen() == [0, 1, 2, 3], "what was told in a savepoint stays with it"
    session.tenant = None
    assert await seen() == []
    await session.rollback()
    session.tenant = "blue"
    assert await seen() == [1, 3]
    await session.close()


# -- nothing stays on a connection


async def nothing_stays(store: Store) -> None:
    """Look at every connection of the pool, without saying for whom."""
    database: Any = store.database
    while database.pool.figures.open != database.pool.figures.free:  # noqa: ASYNC110 - nothing waits for it
        await asyncio.sleep(0.005)
    taken = [await database.pool.take() for _ in range(database.pool.figures.free)]
    assert taken
    for connection in taken:
        try:
            [(tenant, everyone)] = [tuple(row) for row in await connection.driver.fetch(TOLD)]
            assert not tenant
            assert not everyone
            assert await connection.driver.fetch("SELECT 1 FROM book.notes") == []
        except BROKEN:  # it was killed a moment ago: nothing is left of it
            connection.terminate()
        finally:
            database.pool.give_back(connection)


@asynccontextmanager
async def working(store: Store, tenant: Tenancy, **kind: Any) -> AsyncIterator[Session]:
    """Give a session that returns what it borrowed, whatever becomes of its statements."""
    session = session_for(store, tenant, **kind)
    try:
        yield session
    finally:
        await session.close()


async def calls(store: Store, number: int, kill: Callable[[], Awaitable[None]] | None = None) -> None:
    """Do what a caller of one of two tenants does, and end it in one of several ways; nobody sees the other's rows."""
    chance = random.Random(number)
    who, own = ((RED, {0, 2}), (BLUE, {1, 3}))[number % 2]
    try:
        match chance.randrange(6):
            case 0:
                async with store.reading(who) as ctx:
                    assert {note.id for note in (await BOOK.notes.page(ctx, BOOK.by_name, PageRequest())).items} == own
                    assert await BOOK.notes.find(ctx, (number + 1) % 2) is None
            case 1:
                async with store.writing(who) as ctx:
                    held = await BOOK.notes.lock(ctx, min(own))
                    await BOOK.notes.update(ctx, held)
            case 2:
                async with working(store, who.tenant, snapshot=True) as session:
                    assert {id for id, _ in await session.fetch(EVERY, ())} == own
            case 3:  # ends at its deadline, in the middle of a statement
                clock = SystemClock()
                late = Deadline(clock.monotonic() + 0.02, clock)
                async with working(store, who.tenant, write=chance.random() < 0.5, deadline=late) as session:
                    with pytest.raises(DeadlineExceeded):
                        await session.fetch(SLEEP, ())
            case 4:  # its caller is gone
                async with working(store, who.tenant, write=chance.random() < 0.5) as session:
                    task = asyncio.create_task(session.fetch(SLEEP, ()))
                    await asyncio.sleep(chance.random() * 0.01)
                    task.cancel()
                    await asyncio.gather(task, return_exceptions=True)
            case 5 if kill is not None:
                await kill()
    except DatabaseUnavailable:
        assert kill is not None, "only where connections are killed may one be lost"


async def test_whatever_becomes_of_a_call_the_next_one_sees_its_own_tenant(store: Store) -> None:
    for first in range(0, 72, 12):
        await asyncio.gather(*(calls(store, number) for number in range(first, first + 12)))
    await nothing_stays(store)


async def test_connections_that_are_killed_in_the_middle_take_their_tenant_along(store: Store, url: str) -> None:
    async def kill() -> None:
        sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{}' AND usename = '{}' LIMIT 1"
        await asyncio.to_thread(server().run, sql.format(name_of(url), OWNER))

    for first in range(0, 60, 12):
        await asyncio.gather(*(calls(store, number, kill) for number in range(first, first + 12)))
    await nothing_stays(store)


@pytest.fixture(scope="module")
def before() -> Iterator[Bouncer]:
    with bouncer(server(), 2) as started:
        yield started


async def test_behind_a_pgbouncer_no_connection_carries_the_tenant_of_who_had_it_before(before: Bouncer) -> None:
    with before.server.database(OWNER) as name:
        one, other = [await opened(before.url(name, OWNER), pgbouncer=True, pool_size=8) for _ in range(2)]
        try:
            await fill(one)
            for first in range(0, 96, 24):
                await asyncio.gather(*(calls((one, other)[n % 3 == 0], n) for n in range(first, first + 24)))
            await nothing_stays(one)
            await nothing_stays(other)
            async with one.writing(RED) as ctx:
                await BOOK.notes.load(ctx, [Note(id=n, org="red", name="many") for n in range(10, 40)])
            async with one.reading(BLUE) as ctx:
                assert await BOOK.notes.get_many(ctx, list(range(10, 40))) == [None] * 30
        finally:
            await one.database.close()
            await other.database.close()
            before.admin(f"KILL {name}")


# -- histories


VERBS = st.sampled_from(["get", "get_many", "page", "insert", "update", "delete", "load", "nested"])
STEPS = st.lists(
    st.tuples(st.sampled_from(["red", "blue", None]), VERBS, st.integers(0, 4), st.sampled_from("ab")), max_size=12
)


async def outcome(ctx: Any, book: Book, verb: str, number: int, name: str) -> Any:
    """Do one thing and return what came of it, the error where there was one."""
    notes = book.notes
    row = Note(id=number, org=ctx.tenant or "red", name=name)
    try:
        match verb:
            case "get":
                return await notes.find(ctx, number)
            case "get_many":
                return await notes.get_many(ctx, [number, 0, 1])
            case "page":
                return (await notes.page(ctx, book.by_name, PageRequest(), name=name)).items
            case "insert":
                return await notes.insert(ctx, row)
            case "update":
                return await notes.update(ctx, row)
            case "delete":
                return await notes.delete(ctx, number)
            case "load":
                return await notes.load(ctx, [row, Note(id=number + 100, org=row.org, name=name)])
            case _:
                async with ctx._work.session.savepoint():
                    await notes.insert(ctx, row)
                    raise AlreadyExists
    except Error as error:
        return type(error).__name__, error.args


@pytest.fixture(scope="module")
def engines() -> Iterator[tuple[Engine, Engine]]:
    with empty_database() as without, empty_database(owner=OWNER) as guarded:
        both = Engine(without), Engine(guarded)
        yield both
        for engine in both:
            engine.close()


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_a_history_of_tenants_has_the_outcomes_that_it_has_without_the_wall(
    steps: list[tuple[str | None, str, int, str]], engines: tuple[Engine, Engine]
) -> None:
    found: list[list[Any]] = []
    for engine in engines:

        async def run(engine: Engine = engine) -> list[Any]:
            book = Book()
            store = await engine.empty(book.module)
            seen: list[Any] = []
            for tenant, verb, number, name in steps:
                who = Principal(subject="x", tenant=tenant)
                try:
                    async with store.writing(who) as ctx:
                        seen.append(await outcome(ctx, book, verb, number, name))
                except Exception as error:
                    seen.append(type(error).__name__)
                async with store.reading(who) as reading:
                    seen.append(await outcome(reading, book, "get_many", number, name))
            return seen

        found.append(engine.run(run()))
    assert found[0] == found[1]


async def test_a_table_that_changes_between_two_reads_is_no_failure(store: Store, url: str) -> None:
    async with store.reading(RED) as ctx:
        before = await BOOK.notes.get(ctx, 0)
    run_on(url, "ALTER TABLE book.notes ALTER COLUMN name TYPE varchar(200)")  # what was prepared is of no use now
    async with store.reading(RED) as ctx:
        assert await BOOK.notes.get(ctx, 0) == before


# -- what it costs


MANY = """
INSERT INTO book.notes
SELECT n, CASE WHEN n % 5 = 0 THEN 't' || n % 1000 ELSE 'red' END, md5(n::text) FROM generate_series(1000, 9000) n
"""


async def test_statements_use_the_same_indexes_and_lists_of_a_large_tenant_are_not_sorted(store: Store) -> None:
    plan = store.plans[BOOK.notes]
    session = session_for(store, ALL_TENANTS, write=True)
    await session.execute(Statement(sa.text(MANY)), ())
    driver = await session.driver_connection()
    await driver.execute("ANALYZE book.notes")
    session.tenant = "red"
    first = plan.listings[BOOK.by_name].first
    for query, values, index in (
        (plan.get[0], (1001, "red"), "notes_pkey"),
        (first[0][0], ("red", 20), "ix_notes_org_name_id"),
        (first[1][0], ("x", "red", 20), "ix_notes_org_name_id"),
    ):
        sql = query.statement.on("postgresql").sql
        explained = "\n".join(row[0] for row in await driver.fetch(f"EXPLAIN {sql}", *values))
        assert "CASE WHEN" in explained, "the wall is part of it"
        assert f"using {index}" in explained, explained
        assert "Sort" not in explained, explained
    await session.close()


async def counted(monkeypatch: pytest.MonkeyPatch, act: Callable[[], Awaitable[Any]]) -> list[str]:
    """Return what the driver sends while something is done, one text for each round trip."""
    await act()  # which prepares what is not prepared yet
    sent: list[str] = []
    execute, fetch = asyncpg.Connection.execute, PreparedStatement.fetch

    def executed(driver: asyncpg.Connection, sql: str, *values: Any, **options: Any) -> Any:
        sent.append(sql)
        return execute(driver, sql, *values, **options)

    def fetched(statement: PreparedStatement, *values: Any, **options: Any) -> Any:
        sent.append(statement.get_query())
        return fetch(statement, *values, **options)

    with monkeypatch.context() as patch:
        patch.setattr(asyncpg.Connection, "execute", executed)
        patch.setattr(PreparedStatement, "fetch", fetched)
        await act()
    return sent


async def test_a_read_costs_two_round_trips_more_and_a_command_none(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def get() -> None:
        async with store.reading(RED) as ctx:
            await BOOK.notes.get(ctx, 0)

    async def get_plain() -> None:
        async with store.reading(RED) as ctx:
            await BOOK.plain.find(ctx, 0)

    async def change() -> None:
        async with store.writing(RED) as ctx:
            await BOOK.notes.update(ctx, Note(id=0, org="red", name="z"))

    assert [sql.partition(" ")[0] for sql in await counted(monkeypatch, get)] == ["BEGIN", "SELECT", "COMMIT"]
    assert len(await counted(monkeypatch, get_plain)) == 1
    assert [sql.partition(" ")[0] for sql in await counted(monkeypatch, change)] == ["BEGIN", "UPDATE", "COMMIT"]
