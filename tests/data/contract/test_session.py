"""What a session promises on every engine: one transaction, all or nothing, whatever fails in the middle."""

from __future__ import annotations

import asyncio

import pytest
import sqlalchemy as sa

from trivet.core.clock import Deadline, SystemClock
from trivet.core.error import DeadlineExceeded
from trivet.data.database import Database, TransactionFailed, UniqueViolated
from trivet.data.statement import Statement

COUNTERS = sa.Table(
    "counters",
    sa.MetaData(),
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("code", sa.Text, unique=True),
    sa.UniqueConstraint("number", "code"),
)
INSERT = Statement(sa.insert(COUNTERS), ("id", "number", "code"))
NUMBERS = Statement(sa.select(COUNTERS.c.number).order_by(COUNTERS.c.id))
SET = Statement(
    sa.update(COUNTERS).values(number=sa.bindparam("value")).where(COUNTERS.c.id == sa.bindparam("of")), ("value", "of")
)
ADD = Statement(
    sa.update(COUNTERS)
    .values(number=COUNTERS.c.number + 1)
    .where(COUNTERS.c.id == sa.bindparam("of"))
    .returning(COUNTERS.c.number),
    ("of",),
)
DELETE = Statement(sa.delete(COUNTERS))


@pytest.fixture
async def counters(database: Database) -> Database:
    """A database with the counter ``a`` at 0."""
    await database.create([COUNTERS])
    session = database.session(write=True)
    await session.execute(INSERT, ("a", 0, "a"))
    await session.commit()
    await session.close()
    return database


async def numbers(database: Database) -> list[int]:
    session = database.session(write=False)
    try:
        return [number for (number,) in await session.fetch(NUMBERS, ())]
    finally:
        await session.close()


async def test_what_was_committed_is_there_and_what_was_not_is_not(counters: Database) -> None:
    session = counters.session(write=True)
    await session.execute(SET, (1, "a"))
    assert await numbers(counters) == [0]
    await session.commit()
    assert await numbers(counters) == [1]
    await session.execute(SET, (2, "a"))
    await session.rollback()
    assert await numbers(counters) == [1]
    await session.execute(SET, (3, "a"))
    await session.close()
    assert await numbers(counters) == [1]


async def test_a_transaction_reads_what_it_wrote(counters: Database) -> None:
    session = counters.session(write=True)
    await session.execute(SET, (5, "a"))
    assert await session.fetch(NUMBERS, ()) == [(5,)]
    assert await session.fetch(ADD, ("a",)) == [(6,)]
    await session.close()


async def test_ending_what_never_began_is_nothing(counters: Database) -> None:
    session = counters.session(write=True)
    await session.commit()
    await session.rollback()
    await session.close()
    await session.close()


async def test_statements_say_how_many_rows_they_changed(counters: Database) -> None:
    session = counters.session(write=True)
    await session.execute_many(INSERT, [(f"b{n}", n, None) for n in range(500)])
    assert await session.execute(SET, (1, "nobody")) == 0
    assert await session.execute(DELETE, ()) == 501
    await session.close()


@pytest.mark.parametrize(
    ("values", "columns"),
    [
        pytest.param(("a", 1, None), ("id",), id="the key"),
        pytest.param(("b", 1, "a"), ("code",), id="a column"),
    ],
)
async def test_a_violated_constraint_names_its_columns(
    counters: Database, values: tuple[object, ...], columns: tuple[str, ...]
) -> None:
    session = counters.session(write=True)
    with pytest.raises(UniqueViolated) as violated:
        await session.execute(INSERT, values)
    assert violated.value.columns == columns
    await session.close()


async def test_after_a_failure_a_transaction_keeps_nothing(counters: Database) -> None:
    session = counters.session(write=True)
    await session.execute(SET, (9, "a"))
    with pytest.raises(UniqueViolated):
        await session.execute(INSERT, ("a", 0, None))
    with pytest.raises(TransactionFailed):
        await session.fetch(NUMBERS, ())
    with pytest.raises(TransactionFailed):
        await session.commit()
    assert await numbers(counters) == [0]
    await session.execute(SET, (2, "a"))  # after the refusal it is fit again
    await session.commit()
    assert await numbers(counters) == [2]


async def test_writers_take_turns_and_lose_no_update(counters: Database) -> None:
    async def add() -> None:
        session = counters.session(write=True)
        try:
            await session.fetch(ADD, ("a",))
            await asyncio.sleep(0)
            await session.commit()
        finally:
            await session.close()

    await asyncio.gather(*(add() for _ in range(30)))
    assert await numbers(counters) == [30]


async def test_readers_do_not_wait_for_a_writer(counters: Database) -> None:
    session = counters.session(write=True)
    await session.execute(SET, (1, "a"))
    async with asyncio.timeout(1):
        assert await numbers(counters) == [0]
    await session.close()


async def test_a_snapshot_does_not_change(counters: Database) -> None:
    snapshot = counters.session(write=False, snapshot=True)
    assert await snapshot.fetch(NUMBERS, ()) == [(0,)]
    writer = counters.session(write=True)
    await writer.execute(SET, (1, "a"))
    await writer.commit()
    assert await snapshot.fetch(NUMBERS, ()) == [(0,)]
    assert await numbers(counters) == [1]
    await snapshot.close()
    assert await snapshot.fetch(NUMBERS, ()) == [(1,)]
    await snapshot.close()


async def test_one_session_runs_one_statement_at_a_time(counters: Database) -> None:
    session = counters.session(write=True)
    found = await asyncio.gather(*(session.fetch(ADD, ("a",)) for _ in range(10)))
    assert sorted(number for [(number,)] in found) == list(range(1, 11))
    await session.commit()


async def test_a_cancelled_transaction_is_rolled_back_and_frees_the_writer(counters: Database) -> None:
    begun = asyncio.Event()

    async def hang() -> None:
        session = counters.session(write=True)
        try:
            await session.execute(SET, (7, "a"))
            begun.set()
            await asyncio.Event().wait()
            await session.commit()
        finally:
            await session.close()

    task = asyncio.create_task(hang())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    session = counters.session(write=True)
    await session.execute(SET, (1, "a"))
    await session.commit()
    assert await numbers(counters) == [1]


async def test_a_writer_that_waits_can_be_cancelled(counters: Database) -> None:
    first = counters.session(write=True)
    await first.execute(SET, (1, "a"))
    second = counters.session(write=True)
    waiting = asyncio.create_task(second.execute(SET, (2, "a")))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await second.close()
    await first.commit()
    third = counters.session(write=True)
    await third.execute(SET, (3, "a"))
    await third.commit()
    assert await numbers(counters) == [3]


async def test_a_commit_that_is_cancelled_finishes_first(counters: Database) -> None:
    session = counters.session(write=True)
    await session.execute(SET, (1, "a"))
    task = asyncio.create_task(session.commit())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await numbers(counters) == [1]
    await session.close()


class Late(SystemClock):
    """A clock that somebody turns."""

    time = 0.0

    def monotonic(self) -> float:
        return self.time


async def test_past_the_deadline_nothing_begins(counters: Database) -> None:
    clock = Late()
    deadline = Deadline(1.0, clock)
    sessions = [counters.session(write=write, deadline=deadline, snapshot=snap) for write, snap in KINDS]
    for session in sessions:
        assert await session.fetch(NUMBERS, ()) == [(0,)]
        await session.rollback()
    clock.time = 2.0
    for session in sessions:
        with pytest.raises(DeadlineExceeded):
            await session.fetch(NUMBERS, ())
        await session.close()


KINDS = [(False, False), (False, True), (True, False)]


async def test_waiting_for_the_writer_ends_at_the_deadline(counters: Database) -> None:
    holder = counters.session(write=True)
    await holder.execute(SET, (1, "a"))
    waiting = counters.session(write=True, deadline=Deadline(SystemClock().monotonic() + 0.05, SystemClock()))
    with pytest.raises(DeadlineExceeded):
        await waiting.execute(SET, (2, "a"))
    await waiting.close()
    await holder.close()


async def test_a_reading_session_refuses_to_write(counters: Database) -> None:
    session = counters.session(write=False)
    with pytest.raises(RuntimeError, match="has to be a command"):
        await session.execute(SET, (1, "a"))
    with pytest.raises(RuntimeError, match="has to be a command"):
        await session.execute_many(SET, [(1, "a")])
    await session.commit()
    await session.rollback()


async def test_creating_twice_changes_nothing(counters: Database) -> None:
    await counters.create([COUNTERS])
    assert await numbers(counters) == [0]


async def test_a_database_answers_a_ping(counters: Database) -> None:
    await counters.ping()


async def test_a_failure_inside_a_savepoint_undoes_only_what_is_inside(counters: Database) -> None:
    session = counters.session(write=True)
    await session.execute(SET, (1, "a"))

    async def fail() -> None:
        async with session.savepoint():
            await session.execute(SET, (2, "a"))
            async with session.savepoint():
                await session.execute(INSERT, ("a", 0, None))

    with pytest.raises(UniqueViolated):
        await fail()
    assert await session.fetch(NUMBERS, ()) == [(1,)]
    async with session.savepoint():
        await session.execute(SET, (3, "a"))
    await session.commit()
    assert await numbers(counters) == [3]
