"""Three sessions: reads that borrow per statement, a snapshot, and a transaction."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from hashlib import blake2s
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import asyncpg

from trivet.core.clock import Deadline
from trivet.core.consistency import Marks
from trivet.core.error import DeadlineExceeded
from trivet.data.database import DatabaseUnavailable, Row, Tenancy, TransactionFailed, UniqueViolated
from trivet.data.postgresql.connection import Connection
from trivet.data.postgresql.errors import BROKEN, STALE, columns_of, lost, reraise, row_of
from trivet.data.postgresql.rowsecurity import told
from trivet.data.statement import Form, Insert, Statement, as_given
from trivet.data.turn import Turn
from trivet.data.waiting import uninterrupted

if TYPE_CHECKING:
    from trivet.data.postgresql.database import PostgresDatabase

R = TypeVar("R")

FINISH_SECONDS = 10.0
"""How long a COMMIT, which no deadline ends, may take before the connection counts as lost."""


class _Session:
    """What the three have in common: one statement at a time, at most one connection."""

    __slots__ = ("_connection", "_database", "_deadline", "_turn", "tenant")

    writes = False

    def __init__(self, database: PostgresDatabase, deadline: Deadline | None) -> None:
        self.tenant: Tenancy = None
        self._database = database
        self._deadline = deadline
        self._connection: Connection | None = None
        self._turn = Turn()

    def _in_time(self) -> None:
        if self._deadline is not None and self._deadline.remaining() <= 0:
            raise DeadlineExceeded()

    def _fail(self, error: BaseException, connection: Connection | None = None) -> NoReturn:
        if connection is not None and isinstance(error, STALE):
            self._database.pool.renew(connection)
        reraise(error, self._database, self._database.uniques)

    async def seen(self) -> Marks:
        """Return nothing: there are no replicas."""
        return ()

    def _let_go(self) -> None:
        """Give the connection back, clean or not; never waits."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self._database.pool.give_back(connection)


class ReadSession(_Session):
    """Reads, each statement on its own and on a connection that is borrowed for as long as it runs.

    Args:
        database: Where.
        deadline: Bounds every statement.
        insists: Whether a read whose connection broke is asked once more; no, where another node can take over.
    """

    __slots__ = ("_insists",)

    def __init__(self, database: PostgresDatabase, deadline: Deadline | None, insists: bool = True) -> None:
        super().__init__(database, deadline)
        self._insists = insists

    async def fetch(self, statement: Statement, values: Sequence[Any]) -> list[Row]:
        """Run a statement and return its rows as the driver gives them; see `Session.fetch`."""
        form, deadline, pool = statement.on("postgresql"), self._deadline, self._database.pool
        if not self._turn.free():
            await self._turn.wait()
        try:
            if self._connection is not None:
                return await self._fetch(self._connection, form, values)
            connection = pool.free() or await pool.take(deadline)
            try:
                rows = await connection.ask(form, values, deadline)
            except BaseException as error:
                return await self._once_more(error, connection, form, values)
            if form.reads:
                pool.put_back(connection)
            else:
                pool.give_back(connection)
            return rows
        finally:
            self._turn.release()

    async def _once_more(
        self, error: BaseException, connection: Connection, form: Form, values: Sequence[Any]
    ) -> list[Row]:
        """Ask again where nothing was changed: what was prepared is outdated, or the server or the way to it went away.

        Raises:
            BaseException: What the error stands for, where it is another one or comes again.
        """
        pool, deadline = self._database.pool, self._deadline
        if not connection.failed(error):
            pool.give_back(connection)
            if not (lost(error) and form.reads and self._insists):
                self._fail(error)
            connection = await pool.take(deadline)
        try:
            return await connection.fetch(form, values, deadline)
        except BaseException as again:
            self._fail(again)
        finally:
            pool.give_back(connection)

    async def _fetch(self, connection: Connection, form: Form, values: Sequence[Any]) -> list[Row]:
        try:
            return await connection.fetch(form, values, self._deadline)
        except BaseException as error:
            self._fail(error, connection)

    async def _run(self, connection: Connection, act: Callable[[], Awaitable[R]]) -> R:
        try:
            return await act()
        except BaseException as error:
            self._fail(error, connection)

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
        """End what was lent; nothing was begun otherwise."""
        await self.close()

    async def rollback(self) -> None:
        """End what was lent; nothing was begun otherwise."""
        await self.close()

    async def close(self) -> None:
        """Return what is borrowed."""
        self._let_go()

    async def driver_connection(self) -> asyncpg.Connection:
        """Return a connection that this session keeps until it is closed."""
        async with self._turn:
            self._in_time()
            if self._connection is None:
                self._connection = await self._database.pool.take(self._deadline)
            self._connection.lent = True
            return self._connection.driver


SNAPSHOT = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"


class SnapshotSession(ReadSession):
    """Reads everything as of its first statement, in a transaction of its own."""

    __slots__ = ()

    async def fetch(self, statement: Statement, values: Sequence[Any]) -> list[Row]:
        """Run a statement and return its rows as the driver gives them; see `Session.fetch`."""
        async with self._turn:
            return await self._fetch(await self._held(), statement.on("postgresql"), values)

    async def _held(self) -> Connection:
        self._in_time()
        if self._connection is None:
            connection = await self._database.pool.take(self._deadline)
            try:
                await connection.command(self._database.beginning(SNAPSHOT, self.tenant), self._deadline)
            except BaseException as error:
                self._database.pool.give_back(connection)
                self._fail(error)
            self._connection = connection
        return self._connection

    async def driver_connection(self) -> asyncpg.Connection:
        """Return the connection that holds the snapshot."""
        async with self._turn:
            connection = await self._held()
            connection.lent = True
            return connection.driver


IDLE = "SET LOCAL idle_in_transaction_session_timeout = '10min'"
"""How long whoever reads a group of rows may do so before it asks for the next one: longer than a command may pause."""


class Scan(SnapshotSession):
    """Reads more than fits into memory as of one instant, by a cursor of the server.

    The cursor is one of SQL, not of the driver: it works behind a PgBouncer too, and can be closed. Its name follows
    from its statement, because a FETCH is prepared once and stands for rows of one kind.
    """

    __slots__ = ()

    async def scan(self, statement: Statement, values: Sequence[Any], size: int) -> AsyncGenerator[list[Row], None]:
        """Yield the rows of a statement in groups; see `Snapshot.scan`."""
        form = statement.on("postgresql")
        name = f'"scan_{blake2s(form.sql.encode(), digest_size=8).hexdigest()}"'
        declare = Form(f"DECLARE {name} NO SCROLL CURSOR FOR {form.sql}", form.arrange, reads=True)
        fetch = Form(f"FETCH {size} FROM {name}", as_given, reads=True)
        async with self._turn:
            connection = await self._held()
            await self._run(connection, lambda: connection.command(IDLE))
            await self._run(connection, lambda: connection.execute(declare, values, self._deadline))
        while True:
            async with self._turn:
                if self._connection is not connection:  # closed meanwhile: it may be somebody else's by now
                    raise TransactionFailed()
                rows = await self._fetch(connection, fetch, ())
            if rows:
                yield rows
            if len(rows) < size:
                break
        async with self._turn:
            await self._run(connection, lambda: connection.command(f"CLOSE {name}"))


class WriteSession(_Session):
    """One transaction, from the first statement to `commit`, `rollback` or `close`."""

    __slots__ = ("_closed", "_depth", "_failed", "_told")

    writes = True

    def __init__(self, database: PostgresDatabase, deadline: Deadline | None) -> None:
        super().__init__(database, deadline)
        self._told: Tenancy = None
        self._failed = self._closed = False
        self._depth = 0

    async def fetch(self, statement: Statement, values: Sequence[Any]) -> list[Row]:
        """Run a statement and return its rows as the driver gives them; see `Session.fetch`."""
        async with self._turn:
            connection = await self._held()
            try:
                return await connection.fetch(statement.on("postgresql"), values, self._deadline)
            except BaseException as error:
                self._failed = True
                self._fail(error, connection)

    async def execute(self, statement: Statement, values: Sequence[Any]) -> int:
        """Run a statement and return how many rows it changed; see `Session.execute`."""
        async with self._turn:
            connection = await self._held()
            try:
                return await connection.execute(statement.on("postgresql"), values, self._deadline)
            except BaseException as error:
                self._failed = True
                self._fail(error, connection)

    async def execute_many(self, statement: Statement, values: Sequence[Sequence[Any]]) -> None:
        """Run a statement once for each sequence of values; see `Session.execute_many`."""
        async with self._turn:
            connection = await self._held()
            try:
                await connection.execute_many(statement.on("postgresql"), values, self._deadline)
            except BaseException as error:
                self._failed = True
                self._fail(error, connection)

    async def load(self, insert: Insert, rows: Sequence[Row]) -> None:
        """Add rows with COPY; see `Session.load`. They are inserted behind a PgBouncer, where the driver's COPY would
        leave a prepared statement behind, and where row-level security guards them, which COPY does not know.
        """
        if self._database.pgbouncer or (self._database.confines and insert.tenanted):
            await self._inserted(insert, rows)
            return
        async with self._turn:
            connection = await self._held()
            try:
                await connection.copy(insert, rows, self._deadline)
            except BaseException as error:
                self._failed = True
                if isinstance(error, asyncpg.UniqueViolationError):
                    columns = columns_of(error, self._database.uniques)
                    raise UniqueViolated(columns, row_of(error, insert.table, len(rows))) from error
                self._fail(error, connection)

    async def _inserted(self, insert: Insert, rows: Sequence[Row]) -> None:
        """Add rows in few round trips; where one is refused, once more one by one, to find out which."""
        try:
            async with self.savepoint():
                await self.execute_many(insert, rows)
        except UniqueViolated:
            for number, values in enumerate(rows):
                try:
                    await self.execute(insert, values)
                except UniqueViolated as violated:
                    raise UniqueViolated(violated.columns, number) from violated

    async def _held(self) -> Connection:
        if self._failed or self._closed:
            raise TransactionFailed()
        self._in_time()
        if self._connection is None:
            connection = await self._begun()
            if self._closed:  # while it waited: nobody would ever give it back
                self._database.pool.give_back(connection)
                raise TransactionFailed()
            self._connection = connection
        elif self._database.confines and self._told != self.tenant:
            tenant = self.tenant
            await self._mark(self._connection, told(tenant))
            self._told = tenant
        return self._connection

    async def _begun(self) -> Connection:
        database, deadline, tenant = self._database, self._deadline, self.tenant
        for last in (False, True):  # what broke before anything began may begin on another connection
            connection = await database.pool.take(deadline)
            try:
                await connection.command(database.beginning(database.begin, tenant), deadline)
            except BaseException as error:
                database.pool.give_back(connection)
                if last or not lost(error):
                    self._fail(error)
            else:
                self._told = tenant
                return connection
        raise AssertionError("unreachable")

    async def commit(self) -> None:
        """Make everything durable, or keep nothing; see `Session.commit`."""
        async with self._turn:  # a statement of a task that was left behind must not run beside it
            if self._failed:
                await self._undo()
                raise TransactionFailed()
            if self._connection is not None:
                await uninterrupted(self._commit(self._connection))

    async def _commit(self, connection: Connection) -> None:
        try:
            async with asyncio.timeout(FINISH_SECONDS):
                status = await connection.command("COMMIT")
        except TimeoutError as late:
            connection.terminate()
            raise DatabaseUnavailable.because(
                f"{self._database}: no answer to a COMMIT; it may have been kept or not"
            ) from late
        except BaseException as error:
            self._fail(error, connection)
        finally:
            self._let_go()
        if status != "COMMIT":  # the server rolled back: a statement failed and its error was kept from us
            raise TransactionFailed()

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """Undo what happened inside when it raises, and only that; see `Session.savepoint`."""
        async with self._turn:
            connection = await self._held()
            told = self._told
            self._depth += 1
            name = f"s{self._depth}"
            await self._mark(connection, f"SAVEPOINT {name}")
        try:
            yield
            if self._failed:  # the error of a statement was kept from us; what happened inside is undone all the same
                raise TransactionFailed()
        except BaseException:
            if connection is self._connection and not connection.closed:
                await uninterrupted(self._back_to(connection, name))
                self._told = told  # as the server takes back what it was told inside
            raise
        else:
            async with self._turn:
                await self._mark(await self._held(), f"RELEASE {name}")
        finally:
            self._depth -= 1

    async def _mark(self, connection: Connection, sql: str) -> None:
        try:
            await connection.command(sql, self._deadline)
        except BaseException as error:
            self._failed = True
            self._fail(error, connection)

    async def _back_to(self, connection: Connection, name: str) -> None:
        """Go back to a savepoint; where that fails the transaction has failed, and whoever goes on finds out."""
        self._failed = True
        try:
            async with self._turn, asyncio.timeout(FINISH_SECONDS):
                await connection.command(f"ROLLBACK TO {name}")
                await connection.command(f"RELEASE {name}")
        except BROKEN:
            return
        self._failed = False

    async def rollback(self) -> None:
        """Undo everything since the transaction began and return the connection."""
        if self._connection is not None:
            await uninterrupted(self._rolled_back())
        self._failed = False

    async def _rolled_back(self) -> None:
        async with self._turn:
            await self._undo()

    async def _undo(self) -> None:
        connection, self._connection, self._failed = self._connection, None, False
        if connection is not None:
            await self._database.pool.tidy(connection)

    async def close(self) -> None:
        """Undo what was not committed, for good: a task that outlived its handler can not begin anew."""
        self._closed = True
        if self._connection is None:
            return
        if self._turn.locked():  # a task that was left behind waits for a statement; it ends at its deadline
            self._database.later(self._rolled_back())
        else:
            self._let_go()

    async def driver_connection(self) -> asyncpg.Connection:
        """Return the driver's connection with this transaction open on it."""
        async with self._turn:
            connection = await self._held()
            connection.lent = True
            return connection.driver
