"""Reads where the server is told for whom: what is kept per tenant is read in a transaction.

A setting that ends by itself ends with a transaction; a statement outside of one has no place to put it. So such a
read costs three round trips instead of one: begin and say for whom, read, end. It ends before the connection is given
back; where that fails or is cancelled, the pool undoes it before anybody else gets the connection.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import asyncpg

from trivet.data.database import Row
from trivet.data.postgresql.connection import Connection
from trivet.data.postgresql.errors import STALE, lost
from trivet.data.postgresql.rowsecurity import told
from trivet.data.postgresql.session import ReadSession
from trivet.data.statement import Form, Statement

BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY"


class ConfinedReadSession(ReadSession):
    """Reads, each statement on its own; those of rows that are kept per tenant in a transaction of their own."""

    __slots__ = ()

    async def fetch(self, statement: Statement, values: Sequence[Any]) -> list[Row]:
        """Run a statement and return its rows as the driver gives them; see `Session.fetch`."""
        if not statement.tenanted:
            return await super().fetch(statement, values)
        form, pool = statement.on("postgresql"), self._database.pool
        async with self._turn:
            self._in_time()
            kept = self._connection
            if kept is not None:
                await self._run(kept, lambda: self._begin(kept))
                return await self._run(kept, lambda: kept.fetch(form, values, self._deadline))
            for last in (False, True):
                connection = await pool.take(self._deadline)
                try:
                    return await self._alone(connection, form, values)
                except BaseException as error:
                    again = form.reads and (isinstance(error, STALE) or (lost(error) and self._insists))
                    if last or not again:
                        self._fail(error, connection)
                    if isinstance(error, STALE):
                        pool.renew(connection)
                finally:
                    pool.give_back(connection)
        raise AssertionError("the last attempt returned or raised")

    async def _alone(self, connection: Connection, form: Form, values: Sequence[Any]) -> list[Row]:
        """Run a statement in a transaction of its own."""
        deadline = self._deadline
        await connection.command(f"{BEGIN}; {told(self.tenant)}", deadline)
        rows = await connection.fetch(form, values, deadline)
        await connection.command("COMMIT", deadline)
        return rows

    async def _begin(self, connection: Connection) -> None:
        """Let a connection that was lent be in a transaction, which whoever has it may have ended."""
        if not connection.in_transaction:
            await connection.command(f"{BEGIN}; {told(self.tenant)}", self._deadline)

    async def driver_connection(self) -> asyncpg.Connection:
        """Return a connection that this session keeps until it is closed, in a transaction that says for whom."""
        driver = await super().driver_connection()
        async with self._turn:
            kept = self._connection
            assert kept is not None
            await self._run(kept, lambda: self._begin(kept))
        return driver
