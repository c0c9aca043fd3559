"""A savepoint: a part of somebody's transaction as a session of its own, which can be undone without the rest."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from trivet.core.consistency import Marks
from trivet.data.database import Row, Session, TransactionFailed

if TYPE_CHECKING:
    from trivet.data.statement import Insert, Statement


class _Undone(Exception):
    """Ends a savepoint whose changes are not wanted."""


class Savepoint:
    """A writing session inside of another one; its first statement sets the savepoint.

    It is for whoever does not know that there are others: to commit it is theirs who began the transaction.

    Args:
        session: Has the transaction.
    """

    __slots__ = ("_inside", "_left", "_session", "_turn")

    writes = True

    def __init__(self, session: Session) -> None:
        self._session = session
        self._inside: AbstractAsyncContextManager[None] | None = None
        self._turn = asyncio.Lock()
        self._left = False

    async def _begun(self) -> Session:
        if self._left:
            raise TransactionFailed
        if self._inside is None:
            async with self._turn:
                if self._inside is None:
                    inside = self._session.savepoint()
                    await inside.__aenter__()
                    self._inside = inside
        return self._session

    async def leave(self, error: BaseException | None) -> None:
        """End it: without an error what happened inside stays for the commit, with one it is undone.

        Raises:
            TransactionFailed: A statement inside failed and nobody was told; it is undone.
        """
        self._left = True
        if self._inside is None:
            return
        if error is None:
            await self._inside.__aexit__(None, None, None)
            return
        with suppress(type(error)):  # a savepoint raises again what it was left with
            await self._inside.__aexit__(type(error), error, error.__traceback__)

    # -- as every session

    async def fetch(self, statement: Statement, values: Sequence[Any]) -> list[Row]:
        """Run a statement and return its rows; see `Session.fetch`."""
        return await (await self._begun()).fetch(statement, values)

    async def execute(self, statement: Statement, values: Sequence[Any]) -> int:
        """Run a statement and return how many rows it changed; see `Session.execute`."""
        return await (await self._begun()).execute(statement, values)

    async def execute_many(self, statement: Statement, values: Sequence[Sequence[Any]]) -> None:
        """Run a statement once for each sequence of values; see `Session.execute_many`."""
        await (await self._begun()).execute_many(statement, values)

    async def load(self, insert: Insert, rows: Sequence[Row]) -> None:
        """Add rows by the fastest means that the engine has; see `Session.load`."""
        await (await self._begun()).load(insert, rows)

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """Undo what happened inside when it raises, and only that; see `Session.savepoint`."""
        async with (await self._begun()).savepoint():
            yield

    async def commit(self) -> None:
        """Refuse: the transaction is not this session's."""
        raise RuntimeError("a savepoint is committed by whoever began its transaction")

    async def rollback(self) -> None:
        """Undo what happened inside; the next statement sets the savepoint anew. What is borrowed is not returned."""
        inside, self._inside = self._inside, None
        if inside is not None:
            with suppress(_Undone):
                await inside.__aexit__(_Undone, _Undone(), None)

    async def seen(self) -> Marks:
        """Return what the transaction has seen; see `Session.seen`."""
        return await self._session.seen()

    async def close(self) -> None:
        """Do nothing: what is borrowed is returned by whoever borrowed it."""

    async def driver_connection(self) -> Any:
        """Return the driver's connection with the transaction open on it."""
        return await (await self._begun()).driver_connection()
