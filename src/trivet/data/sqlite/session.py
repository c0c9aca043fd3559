"""Three sessions: reads that hold nothing, a snapshot that holds a reader, a transaction that holds the writer."""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from concurrent.futures import Executor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from trivet.core.clock import Deadline
from trivet.core.consistency import Marks
from trivet.core.error import DeadlineExceeded
from trivet.data.database import Contention, Row, Tenancy, TransactionFailed, UniqueViolated
from trivet.data.sqlite.connection import BUDGET, UNLIMITED, Connection
from trivet.data.sqlite.errors import busy, interrupted, reraise, translated
from trivet.data.sqlite.waiting import acquire, in_thread, patiently, to_the_end
from trivet.data.statement import Insert, Statement
from trivet.data.waiting import uninterrupted

if TYPE_CHECKING:
    from trivet.data.sqlite.database import SqliteDatabase

R = TypeVar("R")

BULK = 100
"""Rows from which a bulk statement runs in a thread."""


class ReadSession:
    """Reads, each statement on its own: in the loop on the process's reader, or in a thread on a borrowed one."""

    __slots__ = ("_database", "_deadline", "tenant")

    writes = False

    def __init__(self, database: SqliteDatabase, deadline: Deadline | None) -> None:
        self.tenant: Tenancy = None
        self._database = database
        self._deadline = deadline

    async def fetch(self, statement: Statement, values: Sequence[Any]) -> list[Row]:
        """Run a statement and return its rows as the driver gives them; see `Session.fetch`."""
        database, deadline = self._database, self._deadline
        if deadline is not None and deadline.remaining() <= 0:
            raise DeadlineExceeded()
        form = statement.on("sqlite")
        if statement not in database.slow:
            try:
                return database.reader.fetch(form, values, BUDGET, None)
            except sqlite3.Error as error:
                if interrupted(error):
                    database.slow.add(statement)
                elif not busy(error):
                    reraise(error, database)
        connection = await database.borrow(deadline)
        try:
            run = partial(connection.fetch, form, values, UNLIMITED, deadline)
            return await in_thread(database.threads, connection, run)
        except sqlite3.Error as error:
            reraise(error, database)
        finally:
            database.give_back(connection)

    async def execute(self, statement: Statement, values: Sequence[Any]) -> int:
        """Refuse: this session does not write."""
        raise RuntimeError("a reading session can not change anything: the operation has to be a command")

    async def execute_many(self, statement: Statement, values: Sequence[Sequence[Any]]) -> None:
        """Refuse: this session does not write."""
        raise RuntimeError("a reading session can not change anything: the operation has to be a command")

    async def load(self, insert: Insert, rows: Sequence[Row]) -> None:
        """Refuse: this session does not write."""
        raise RuntimeError("a reading session can not change anything: the operation has to be a command")

    def savepoint(self) -> AbstractAsyncContextManager[None]:
        """Refuse: this session does not write."""
        raise RuntimeError("a reading session can not change anything: the operation has to be a command")

    async def commit(self) -> None:
        """Do nothing: nothing was begun."""

    async def rollback(self) -> None:
        """Do nothing: nothing was begun."""

    async def seen(self) -> Marks:
        """Return nothing: there are no replicas."""
        return ()

    async def close(self) -> None:
        """Do nothing: nothing is held between statements."""

    async def driver_connection(self) -> sqlite3.Connection:
        """Return the connection on which this process reads."""
        return self._database.reader.lent(self._deadline)


class SnapshotSession(ReadSession):
    """Reads everything as of its first statement, on a reader that it holds until it is closed."""

    __slots__ = ("_connection", "_turn")

    def __init__(self, database: SqliteDatabase, deadline: Deadline | None) -> None:
        super().__init__(database, deadline)
        self._connection: Connection | None = None
        self._turn = asyncio.Lock()

    async def fetch(self, statement: Statement, values: Sequence[Any]) -> list[Row]:
        """Run a statement and return its rows as the driver gives them; see `Session.fetch`."""
        async with self._turn:
            connection = await self._held()
            try:
                return await read(self._database, connection, self._database.threads, statement, values, self._deadline)
            except sqlite3.Error as error:
                reraise(error, self._database)

    async def _held(self) -> Connection:
        if self._connection is None:
            connection = await self._database.borrow(self._deadline)
            try:
                connection.command("BEGIN")
            except BaseException:
                self._database.give_back(connection)
                raise
            self._connection = connection
        return self._connection

    async def rollback(self) -> None:
        """Let go of the snapshot; the next statement begins another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                connection.command("ROLLBACK")
            finally:
                self._database.give_back(connection)

    commit = rollback
    close = rollback

    async def driver_connection(self) -> sqlite3.Connection:
        """Return the connection that holds the snapshot."""
        async with self._turn:
            return (await self._held()).lent(self._deadline)


class Scan(SnapshotSession):
    """Reads more than fits into memory as of one instant, in a thread."""

    __slots__ = ()

    async def scan(self, statement: Statement, values: Sequence[Any], size: int) -> AsyncGenerator[list[Row], None]:
        """Yield the rows of a statement in groups; see `Snapshot.scan`."""
        database, form = self._database, statement.on("sqlite")
        async with self._turn:
            connection = await self._held()
        cursor = connection.driver.cursor()
        try:
            more = partial(connection.begin_scan, cursor, form, values, size, self._deadline)
            while True:
                try:
                    async with self._turn:
                        if self._connection is not connection:  # closed meanwhile: it may be somebody else's by now
                            raise TransactionFailed()
                        rows = await in_thread(database.threads, connection, more)
                except sqlite3.Error as error:
                    reraise(error, database)
                if rows:
                    yield rows
                if len(rows) < size:
                    return
                more = partial(connection.go_on, cursor, size, self._deadline)
        finally:
            cursor.close()


class WriteSession:
    """One transaction on the process's writer, held from the first statement to `commit`, `rollback` or `close`."""

    __slots__ = ("_closed", "_connection", "_database", "_deadline", "_depth", "_failed", "_turn", "tenant")

    writes = True

    def __init__(self, database: SqliteDatabase, deadline: Deadline | None) -> None:
        self.tenant: Tenancy = None
        self._database = database
        self._deadline = deadline
        self._connection: Connection | None = None
        self._failed = self._closed = False
        self._depth = 0
        self._turn = asyncio.Lock()

    async def fetch(self, statement: Statement, values: Sequence[Any]) -> list[Row]:
        """Run a statement and return its rows as the driver gives them; see `Session.fetch`."""
        async with self._turn:
            connection = await self._held()
            try:
                if statement.on("sqlite").reads:
                    database = self._database
                    return await read(database, connection, database.committer, statement, values, self._deadline)
                return await self._change(connection, connection.fetch, statement, values, UNLIMITED)
            except BaseException as error:
                self._failed = True
                reraise(error, self._database)

    async def execute(self, statement: Statement, values: Sequence[Any]) -> int:
        """Run a statement and return how many rows it changed; see `Session.execute`."""
        async with self._turn:
            connection = await self._held()
            try:
                return await self._change(connection, connection.execute, statement, values)
            except BaseException as error:
                self._failed = True
                reraise(error, self._database)

    async def execute_many(self, statement: Statement, values: Sequence[Sequence[Any]]) -> None:
        """Run a statement once for each sequence of values; see `Session.execute_many`."""
        async with self._turn:
            connection = await self._held()
            run = partial(connection.execute_many, statement.on("sqlite"), values, self._deadline)
            try:
                if len(values) < BULK:
                    run()
                else:
                    await in_thread(self._database.committer, connection, run)
            except BaseException as error:
                self._failed = True
                reraise(error, self._database)

    async def load(self, insert: Insert, rows: Sequence[Row]) -> None:
        """Add rows; see `Session.load`."""
        async with self._turn:
            connection = await self._held()
            taken = itertools.count()  # the driver takes a row when it is done with the one before
            counted = (row for _, row in zip(taken, rows, strict=False))
            run = partial(connection.load, insert.on("sqlite"), counted, self._deadline)
            try:
                await in_thread(self._database.committer, connection, run)
            except BaseException as error:
                self._failed = True
                known = translated(error, self._database) if isinstance(error, sqlite3.Error) else error
                if isinstance(known, UniqueViolated):
                    raise UniqueViolated(known.columns, next(taken) - 1) from error
                reraise(error, self._database)

    async def _change(
        self, connection: Connection, run: Callable[..., R], statement: Statement, values: Sequence[Any], *ticks: int
    ) -> R:
        """Run what can not be run again: in the loop, unless it took too long before."""
        database = self._database
        call = partial(run, statement.on("sqlite"), values, *ticks, self._deadline)
        if statement in database.slow:
            return await in_thread(database.committer, connection, call)
        result = call()
        if connection.over_budget:
            database.slow.add(statement)
        return result

    async def _held(self) -> Connection:
        if self._failed or self._closed:
            raise TransactionFailed()
        deadline = self._deadline
        if deadline is not None and deadline.remaining() <= 0:
            raise DeadlineExceeded()
        if self._connection is None:
            database = self._database
            await acquire(database.queue, deadline, Contention())
            try:
                await patiently(partial(database.writer.command, "BEGIN IMMEDIATE"), deadline)
            except BaseException as error:
                database.queue.release()
                reraise(error, database)
            if self._closed:  # while it waited: nobody would ever give the writer back
                database.writer.command("ROLLBACK")
                database.queue.release()
                raise TransactionFailed()
            self._connection = database.writer
        return self._connection

    async def commit(self) -> None:
        """Make everything durable, or keep nothing; see `Session.commit`."""
        async with self._turn:  # a statement of a task that was left behind must not run beside it
            if self._failed:
                await self.rollback()
                raise TransactionFailed()
            connection = self._connection
            if connection is None:
                return
            try:
                await to_the_end(self._database.committer, partial(connection.command, "COMMIT"))
            except sqlite3.Error as error:
                reraise(error, self._database)
            finally:
                await self.rollback()  # after a commit there is nothing to undo, and the writer is returned

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """Undo what happened inside when it raises, and only that; see `Session.savepoint`."""
        async with self._turn:
            connection = await self._held()
            self._depth += 1
            name = f"s{self._depth}"
            connection.command(f"SAVEPOINT {name}")
        try:
            yield
            if self._failed:  # the error of a statement was kept from us; what happened inside is undone all the same
                raise TransactionFailed()
        except BaseException:
            if connection is self._connection and connection.driver.in_transaction:
                connection.command(f"ROLLBACK TO {name}")
                connection.command(f"RELEASE {name}")
                self._failed = False
            raise
        else:
            async with self._turn:
                (await self._held()).command(f"RELEASE {name}")
        finally:
            self._depth -= 1

    async def rollback(self) -> None:
        """Undo everything since the transaction began and return the writer."""
        connection, self._connection, self._failed = self._connection, None, False
        if connection is not None:
            try:
                if connection.driver.in_transaction:  # a full disk or a deadline has rolled back already
                    connection.command("ROLLBACK")
            finally:
                self._database.queue.release()

    async def seen(self) -> Marks:
        """Return nothing: there are no replicas."""
        return ()

    async def close(self) -> None:
        """Undo what was not committed, for good: a task that outlived its handler can not begin anew."""
        self._closed = True
        if self._connection is not None:
            await uninterrupted(self._give_up(self._connection))

    async def _give_up(self, connection: Connection) -> None:
        connection.meter.stopped = True  # a statement in a thread must not end in somebody else's transaction
        async with self._turn:
            connection.meter.stopped = False
            await self.rollback()

    async def driver_connection(self) -> sqlite3.Connection:
        """Return the driver's connection with this transaction open on it."""
        async with self._turn:
            return (await self._held()).lent(self._deadline)


async def read(
    database: SqliteDatabase,
    connection: Connection,
    executor: Executor,
    statement: Statement,
    values: Sequence[Any],
    deadline: Deadline | None,
) -> list[Row]:
    """Read on a connection that the caller holds: in the loop within the budget, else in a thread.

    Raises:
        DeadlineExceeded: The deadline passed.
        sqlite3.Error: The statement failed.
    """
    if deadline is not None and deadline.remaining() <= 0:
        raise DeadlineExceeded()
    form = statement.on("sqlite")
    if statement not in database.slow:
        try:
            return connection.fetch(form, values, BUDGET, None)
        except sqlite3.Error as error:
            if not interrupted(error):
                raise
            database.slow.add(statement)
    return await in_thread(executor, connection, partial(connection.fetch, form, values, UNLIMITED, deadline))
