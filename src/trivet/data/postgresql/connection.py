"""One driver connection, and how statements run on it."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Any

import asyncpg
from asyncpg.prepared_stmt import PreparedStatement

from trivet.core.clock import Deadline
from trivet.core.error import DeadlineExceeded
from trivet.data.database import Row
from trivet.data.postgresql.errors import STALE
from trivet.data.statement import Form, Insert


class Connection:
    """A driver connection; whoever took it from the pool runs one statement at a time on it.

    Each statement that is fetched is prepared once and kept, as the driver would do it; but what the driver does to
    find one that it keeps takes a tenth of all that a read takes here.

    Args:
        driver: Connected.
        keeps: How many prepared statements are kept, none where nothing may stay on the server.

    Attributes:
        lent: Whether code of others had it, which may have left anything behind.
    """

    __slots__ = ("_keeps", "_prepared", "_upset", "driver", "lent")

    def __init__(self, driver: asyncpg.Connection, keeps: int) -> None:
        self.driver = driver
        self.lent = False
        self._keeps = keeps
        self._prepared: dict[str, PreparedStatement] = {}
        self._upset = False

    # -- statements

    async def fetch(self, form: Form, values: Sequence[Any], deadline: Deadline | None) -> list[Row]:
        """Run a statement and return its rows; at the deadline it is cancelled, here and on the server."""
        try:
            return await self.ask(form, values, deadline)
        except BaseException as error:
            if not self.failed(error):
                raise
        try:
            return await self.ask(form, values, deadline)
        except BaseException as error:
            self.failed(error)
            raise

    def ask(self, form: Form, values: Sequence[Any], deadline: Deadline | None) -> Awaitable[list[Row]]:
        """Do what `fetch` does, for those who tell `failed` of whatever is raised: it saves them a coroutine."""
        statement = self._prepared.get(form.sql)
        if statement is None:
            return self._prepare_and_ask(form, values, deadline)
        timeout, given = left(deadline), form.arrange(values)
        rows: Awaitable[list[Row]]
        rows = statement.fetch(*given) if timeout is None else statement.fetch(*given, timeout=timeout)
        return rows

    async def _prepare_and_ask(self, form: Form, values: Sequence[Any], deadline: Deadline | None) -> list[Row]:
        statement = await self.driver.prepare(form.sql, timeout=left(deadline))
        if self._keeps:
            if len(self._prepared) >= self._keeps:
                del self._prepared[next(iter(self._prepared))]  # the driver closes it on the server
            self._prepared[form.sql] = statement
        rows: list[Row] = await statement.fetch(*form.arrange(values), timeout=left(deadline))
        return rows

    def failed(self, error: BaseException) -> bool:
        """Note how a statement failed; return whether it is only that what was prepared is of no use any more.

        Then it can be asked again. In a transaction it is not only that: the transaction has failed.
        """
        if isinstance(error, STALE | asyncpg.InvalidSQLStatementNameError):  # or somebody said DEALLOCATE ALL
            self._prepared.clear()
        if not isinstance(error, asyncpg.PostgresError | DeadlineExceeded):  # the latter before anything was sent
            self._upset = True
        forgotten = isinstance(error, asyncpg.InvalidCachedStatementError | asyncpg.InvalidSQLStatementNameError)
        return forgotten and not self.driver.is_in_transaction()

    async def execute(self, form: Form, values: Sequence[Any], deadline: Deadline | None) -> int:
        """Run a statement and return how many rows it changed; at the deadline it is cancelled."""
        try:
            status = await self.driver.execute(form.sql, *form.arrange(values), timeout=left(deadline))
        except asyncpg.PostgresError:
            raise
        except BaseException:
            self._upset = True
            raise
        count = status.rpartition(" ")[2]
        return int(count) if count.isdecimal() else 0

    async def execute_many(self, form: Form, values: Sequence[Sequence[Any]], deadline: Deadline | None) -> None:
        """Run a statement once for each sequence of values, in few round trips; at the deadline it is cancelled."""
        try:
            await self.driver.executemany(form.sql, [form.arrange(each) for each in values], timeout=left(deadline))
        except asyncpg.PostgresError:
            raise
        except BaseException:
            self._upset = True
            raise

    async def copy(self, insert: Insert, rows: Sequence[Row], deadline: Deadline | None) -> None:
        """Add rows with a binary COPY; at the deadline it is cancelled."""
        table, schema, columns = insert.table, insert.schema, list(insert.columns)
        try:
            await self.driver.copy_records_to_table(
                table, schema_name=schema, columns=columns, records=rows, timeout=left(deadline)
            )
        except asyncpg.PostgresError:
            raise
        except BaseException:
            self._upset = True
            raise

    async def command(self, sql: str, deadline: Deadline | None = None) -> str:
        """Run text of ours without values, such as ``BEGIN``, and return its command tag."""
        try:
            status: str = await self.driver.execute(sql, timeout=left(deadline))
        except asyncpg.PostgresError:
            raise
        except BaseException:
            self._upset = True
            raise
        return status

    @property
    def in_transaction(self) -> bool:
        """Whether one is open, failed or not; known as far as the last statement was answered."""
        return bool(self.driver.is_in_transaction())

    # -- what the pool asks

    @property
    def closed(self) -> bool:
        """Whether it can not be used any more."""
        return bool(self.driver.is_closed())

    @property
    def clean(self) -> bool:
        """Whether the next one can use it as it is."""
        return not (self._upset or self.lent or self.driver.is_in_transaction())

    async def tidy(self) -> None:
        """Wait until a cancelled statement has ended, undo an open transaction, and forget what others left behind."""
        if self._upset and not self.driver.is_in_transaction():
            await self.driver.execute("SELECT 1")  # is answered once the server is done with what was cancelled
        if self.driver.is_in_transaction():
            await self.driver.execute("ROLLBACK")
        if self.lent:
            self._prepared.clear()  # DISCARD ALL, DEALLOCATE or another codec: what was prepared may be gone or wrong
            await self.driver.reset()
        self._upset = self.lent = False

    async def probe(self) -> None:
        """Ask for a sign of life; raises when there is none."""
        await self.driver.execute("SELECT 1")

    def terminate(self) -> None:
        """Close it this instant."""
        self.driver.terminate()


def left(deadline: Deadline | None) -> float | None:
    """Return the seconds after which a statement has to be ended, ``None`` where nobody or somebody else sees to that.

    Raises:
        DeadlineExceeded: There are none.
    """
    if deadline is None:
        return None
    seconds = deadline.remaining()
    if seconds <= 0:
        raise DeadlineExceeded()
    return None if seconds == float("inf") or deadline.rings() else seconds
