"""SQLite alone: several processes on one file, files that can not be used, statements that take long."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.data.conftest import Store
from trivet.core.clock import Deadline, SystemClock
from trivet.core.error import DeadlineExceeded
from trivet.core.module import Module
from trivet.core.shape import Struct
from trivet.data import PUBLIC, Search, Table
from trivet.data.catalog import bind, open_database, schema
from trivet.data.database import Contention, Database, DatabaseUnavailable
from trivet.data.sqlite import SqliteDatabase
from trivet.data.statement import Statement

NUMBERS = sa.Table("numbers", sa.MetaData(), sa.Column("n", sa.Integer, primary_key=True), sqlite_strict=True)
INSERT = Statement(sa.insert(NUMBERS), ("n",))
COUNT = Statement(sa.select(sa.func.count()).select_from(NUMBERS))
ADD = Statement(sa.update(NUMBERS).values(n=NUMBERS.c.n + 1))
_a, _b = NUMBERS.alias(), NUMBERS.alias()
PAIRS = Statement(sa.select(sa.func.count()).select_from(_a.join(_b, sa.true())))
_c = sa.select(sa.literal_column("1").label("x")).cte("c", recursive=True)
_c = _c.union_all(sa.select(_c.c.x + 1))
ENDLESS = Statement(sa.select(sa.func.count()).select_from(_c).where(_c.c.x < 0))
GROW = Statement(
    sa.text("WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) INSERT INTO numbers SELECT -x FROM c")
)


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[SqliteDatabase]:
    database = SqliteDatabase(tmp_path / "data.db")
    await database.open()
    await database.create([NUMBERS])
    yield database
    await database.close()


async def count(database: Database) -> int:
    [(number,)] = await database.session(write=False).fetch(COUNT, ())
    return int(number)


async def fill(database: Database, number: int) -> None:
    session = database.session(write=True)
    await session.execute_many(INSERT, [(n,) for n in range(number)])
    await session.commit()


def soon(seconds: float = 0.1) -> Deadline:
    clock = SystemClock()
    return Deadline(clock.monotonic() + seconds, clock)


def child(source: str, *arguments: object) -> subprocess.Popen[str]:
    """Run a program that has the database's module, in a process of its own."""
    program = textwrap.dedent(source)
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


# -- several processes


async def test_a_process_killed_in_a_transaction_leaves_nothing_of_it(tmp_path: Path) -> None:
    path = tmp_path / "data.db"
    database = SqliteDatabase(path)
    await database.open()
    await database.create([NUMBERS])
    await fill(database, 3)
    process = child(
        """
        import sqlite3, sys, time
        connection = sqlite3.connect(sys.argv[1], isolation_level=None)
        connection.execute("PRAGMA cache_size=1")  # spills the transaction into the log before it commits
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("INSERT INTO numbers VALUES (?)", [(n,) for n in range(100, 20000)])
        print("begun", flush=True)
        time.sleep(60)
        """,
        path,
    )
    assert process.stdout is not None
    await asyncio.to_thread(process.stdout.readline)
    waiting = database.session(write=True, deadline=soon(0.05))
    with pytest.raises(Contention):
        await waiting.execute(INSERT, (50,))
    process.send_signal(signal.SIGKILL)
    await asyncio.to_thread(process.communicate)
    assert await count(database) == 3
    session = database.session(write=True)
    await session.execute(INSERT, (50,))
    assert await session.fetch(Statement(sa.text("PRAGMA integrity_check")), ()) == [("ok",)]
    await session.commit()
    assert await count(database) == 4
    await database.close()


WRITER = """
    import asyncio, sys
    from pathlib import Path
    import sqlalchemy as sa
    from trivet.data.sqlite import SqliteDatabase
    from trivet.data.statement import Statement

    table = sa.Table("numbers", sa.MetaData(), sa.Column("n", sa.Integer, primary_key=True), sqlite_strict=True)
    read = Statement(sa.select(table.c.n))
    write = Statement(sa.update(table).values(n=sa.bindparam("value")), ("value",))

    async def main():
        database = SqliteDatabase(Path(sys.argv[1]))
        await database.open()
        await database.create([table])  # all of them at once
        print("ready", flush=True)
        sys.stdin.readline()
        for _ in range(int(sys.argv[2])):
            session = database.session(write=True)
            [(number,)] = await session.fetch(read, ())
            await session.execute(write, (number + 1,))
            await session.commit()
        await database.close()

    asyncio.run(main())
"""


async def test_processes_that_create_and_write_at_once_lose_no_update(tmp_path: Path) -> None:
    path = tmp_path / "data.db"
    processes = [child(WRITER, path, 40) for _ in range(3)]
    for process in processes:
        assert process.stdout is not None
        assert await asyncio.to_thread(process.stdout.readline) == "ready\n"
    database = SqliteDatabase(path)
    await database.open()
    session = database.session(write=True)
    await session.execute(INSERT, (0,))
    await session.commit()
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        await asyncio.to_thread(process.communicate)
        assert process.returncode == 0
    assert await database.session(write=False).fetch(Statement(sa.select(NUMBERS.c.n)), ()) == [(120,)]
    await database.close()


OPENER = """
    import asyncio, sys
    from pathlib import Path
    import sqlalchemy as sa
    from trivet.data.sqlite import SqliteDatabase

    table = sa.Table("numbers", sa.MetaData(), sa.Column("n", sa.Integer, primary_key=True), sqlite_strict=True)

    async def main():
        for number in range(15):
            database = SqliteDatabase(Path(sys.argv[1]) / f"{number}.db")
            await database.open()
            await database.create([table])
            await database.close()

    print("ready", flush=True)
    sys.stdin.readline()
    asyncio.run(main())
"""


async def test_processes_that_open_create_and_close_the_same_files_at_once_wait_for_each_other(tmp_path: Path) -> None:
    processes = [child(OPENER, tmp_path) for _ in range(4)]
    for process in processes:
        assert process.stdout is not None
        assert await asyncio.to_thread(process.stdout.readline) == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        await asyncio.to_thread(process.communicate)
        assert process.returncode == 0


async def test_a_database_is_opened_after_a_fork_not_before(database: SqliteDatabase) -> None:
    pid = os.fork()
    if pid == 0:  # the child may only leave by the back door
        try:
            database.session(write=False)
        except RuntimeError as error:
            os._exit(0 if "after the fork" in str(error) else 1)
        os._exit(2)
    _, status = await asyncio.to_thread(os.waitpid, pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert await count(database) == 0


# -- long statements


async def test_a_long_read_moves_to_a_thread_and_stays_there(database: SqliteDatabase) -> None:
    await fill(database, 400)
    session = database.session(write=False)
    assert PAIRS not in database.slow
    assert await session.fetch(PAIRS, ()) == [(160_000,)]
    assert PAIRS in database.slow
    assert await session.fetch(PAIRS, ()) == [(160_000,)]


@pytest.mark.parametrize(("write", "snapshot"), [(False, False), (False, True), (True, False)])
async def test_the_loop_goes_on_while_a_long_read_runs_until_the_deadline(
    database: SqliteDatabase, write: bool, snapshot: bool
) -> None:
    session = database.session(write=write, snapshot=snapshot, deadline=soon(0.2))
    task = asyncio.create_task(session.fetch(ENDLESS, ()))
    await asyncio.sleep(0.01)
    assert not task.done()
    assert await count(database) == 0
    with pytest.raises(DeadlineExceeded):
        await task
    await session.close()


@pytest.mark.parametrize(("write", "snapshot"), [(False, False), (False, True), (True, False)])
async def test_a_long_read_that_is_cancelled_stops_and_gives_its_connection_back(
    database: SqliteDatabase, write: bool, snapshot: bool
) -> None:
    for _ in range(6):  # more often than there are connections
        session = database.session(write=write, snapshot=snapshot)
        task = asyncio.create_task(session.fetch(ENDLESS, ()))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await session.close()
    assert await count(database) == 0


async def test_a_long_write_is_stopped_at_the_deadline_and_undone(database: SqliteDatabase) -> None:
    await fill(database, 3)
    session = database.session(write=True, deadline=soon(0.1))
    with pytest.raises(DeadlineExceeded):
        await session.execute(GROW, ())
    await session.close()
    assert await count(database) == 3
    await fill_more(database)
    assert await count(database) == 4


async def fill_more(database: Database) -> None:
    session = database.session(write=True)
    await session.execute(INSERT, (99,))
    await session.commit()


async def test_a_cancelled_bulk_write_is_undone(database: SqliteDatabase) -> None:
    session = database.session(write=True)
    task = asyncio.create_task(session.execute_many(INSERT, [(n,) for n in range(200_000)]))
    await asyncio.sleep(0.005)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await session.close()
    assert await count(database) == 0
    await fill_more(database)


async def test_readers_that_are_all_taken_are_waited_for_until_the_deadline(database: SqliteDatabase) -> None:
    held = [database.session(write=False, snapshot=True) for _ in range(4)]
    for session in held:
        await session.fetch(COUNT, ())
    late = database.session(write=False, snapshot=True, deadline=soon(0.05))
    with pytest.raises(DeadlineExceeded):
        await late.fetch(COUNT, ())
    await held.pop().close()
    freed = database.session(write=False, snapshot=True)
    assert await freed.fetch(COUNT, ()) == [(0,)]
    for session in (*held, freed):
        await session.close()


# -- files


@pytest.mark.parametrize("content", [b"this is no database, whatever its name says" * 40])
async def test_a_file_that_is_no_database_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "data.db"
    path.write_bytes(content)
    with pytest.raises(DatabaseUnavailable, match=r"data\.db.*not an SQLite database") as refused:
        await SqliteDatabase(path).open()
    assert refused.value.detail is None  # callers of the API learn nothing of files


async def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnavailable, match=r"nowhere/data\.db.*its directory exists"):
        await SqliteDatabase(tmp_path / "nowhere" / "data.db").open()


async def test_a_directory_is_no_database(tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnavailable, match="can not be opened"):
        await SqliteDatabase(tmp_path).open()


async def test_what_is_missing_is_named_before_anything_is_served(database: SqliteDatabase) -> None:
    narrow = sa.Table("words", sa.MetaData(), sa.Column("word", sa.Text))
    wide = sa.Table("words", sa.MetaData(), sa.Column("word", sa.Text), sa.Column("length", sa.Integer))
    with pytest.raises(DatabaseUnavailable, match=r"has no table words\. .*TRIVET_DATABASE__CREATE=true"):
        await database.check([NUMBERS, narrow])
    await database.create([narrow])
    with pytest.raises(DatabaseUnavailable, match="table words was made from another shape; it lacks length"):
        await database.check([NUMBERS, wide])


async def test_an_older_release_uses_fewer_columns(database: SqliteDatabase) -> None:
    await database.create(
        [sa.Table("words", sa.MetaData(), sa.Column("word", sa.Text), sa.Column("length", sa.Integer))]
    )
    await database.check([sa.Table("words", sa.MetaData(), sa.Column("word", sa.Text))])


async def test_a_table_of_another_shape_is_named_with_its_columns(database: SqliteDatabase) -> None:
    changed = sa.Table(
        "numbers", sa.MetaData(), sa.Column("n", sa.Integer, primary_key=True), sa.Column("name", sa.Text)
    )
    with pytest.raises(DatabaseUnavailable, match="table numbers was made from another shape; it lacks name"):
        await database.create([changed])
    await fill(database, 1)


async def test_a_temporary_database_goes_away_when_it_is_closed() -> None:
    database = open_database("sqlite://")
    await database.open()
    await database.create([NUMBERS])
    await fill(database, 3)
    [(_, _, file)] = await database.session(write=False).fetch(Statement(sa.text("PRAGMA database_list")), ())
    assert Path(file).exists()
    await database.close()
    assert not Path(file).parent.exists()
    with pytest.raises(DatabaseUnavailable, match="is not open"):
        await database.ping()
    await database.open()  # and again
    await database.ping()
    await database.close()


async def test_a_commit_is_synced_to_the_disk(database: SqliteDatabase) -> None:
    session = database.session(write=True)
    assert await session.fetch(Statement(sa.text("PRAGMA synchronous")), ()) == [(2,)]
    assert await session.fetch(Statement(sa.text("PRAGMA journal_mode")), ()) == [("wal",)]
    await session.close()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("mysql://root:secret@localhost/shop", r"'mysql://root:\*{8}@localhost/shop': unknown scheme 'mysql'"),
        ("shop.db", "unknown scheme ''"),
        ("sqlite://shop.db", "write sqlite:///FILE"),
        ("sqlite:///shop.db?mode=ro", "write sqlite:///FILE"),
    ],
)
def test_a_url_that_names_no_database_is_refused(url: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        open_database(url)


def test_a_url_names_a_file(tmp_path: Path) -> None:
    assert repr(open_database("sqlite:///shop.db")) == "SqliteDatabase(shop.db)"
    assert repr(open_database(f"sqlite:///{tmp_path}/x.db")) == f"SqliteDatabase({tmp_path}/x.db)"
    assert repr(open_database("sqlite://")) == "SqliteDatabase(temporary)"


# -- plans


async def test_pages_are_read_from_an_index_without_sorting(tmp_path: Path) -> None:
    class Entry(Struct):
        id: int
        owner: str
        group: str
        rank: int

    module = Module("plans")
    entries = Table(
        module,
        Entry,
        key=lambda e: e.id,
        readable=lambda who, e: (e.owner == who.subject) | who.has("staff"),
        writable=PUBLIC,
    )

    @entries.listing(order="-rank")
    def by_group(e: Entry, group: str | None = None) -> bool:
        return e.group == group

    plans, faults = bind([module], "sqlite", b"k")
    assert faults == []
    database = SqliteDatabase(tmp_path / "plans.db")
    await database.open()
    await database.create(schema([module], "sqlite"))
    driver = await database.session(write=False).driver_connection()
    plan = plans[entries].listings[by_group]
    for query in (*plan.first[0], *plan.first[1], *plan.next[0], *plan.next[1]):
        sql = query.statement.on("sqlite").sql
        steps = [row[3] for row in driver.execute(f"EXPLAIN QUERY PLAN {sql}", (1,) * sql.count("?"))]
        assert len(steps) == 1
        assert "USING INDEX ix_plans_entries_" in steps[0]
    await database.close()


async def test_a_searched_row_is_written_in_as_many_steps_among_many_as_among_few(tmp_path: Path) -> None:
    class Note(Struct):
        id: int
        text: str

    module = Module("notes")
    notes = Table(module, Note, key=lambda n: n.id, readable=PUBLIC, writable=PUBLIC, search=Search("text"))
    plans, faults = bind([module], "sqlite", b"k" * 32)
    assert faults == []
    database = SqliteDatabase(tmp_path / "notes.db")
    await database.open()
    await database.create(schema([module], "sqlite"))
    async with Store(database, module, plans).writing() as ctx:
        driver = await ctx._work.session.driver_connection()

        async def steps(work: Awaitable[object]) -> int:
            """Do something and return how many steps SQLite's virtual machine took, in tens."""
            taken = itertools.count()
            driver.set_progress_handler(lambda: next(taken) < 0, 10)
            await work
            return next(taken)

        async def written(first: int) -> list[int]:
            return [
                await steps(notes.load(ctx, [Note(id=first + n, text="oak") for n in range(20)])),
                await steps(notes.update(ctx, Note(id=first, text="elm"))),
                await steps(notes.delete(ctx, first)),
            ]

        few = await written(0)
        await notes.load(ctx, [Note(id=100 + n, text="pine") for n in range(1_000)])
        many = await written(5_000)
    await database.close()
    assert all(after < 2 * before for before, after in zip(few, many, strict=True)), (few, many)
