"""A savepoint: a part of somebody's transaction as a session of its own, which can be undone without the rest."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress

from trivet.core.consistency import Marks
from trivet.data.database import Session, Tenancy, TransactionFailed
from trivet.data.deferred import Deferred


class _Undone(Exception):
    """Ends a savepoint whose changes are not wanted."""


class Savepoint(Deferred):
    """A writing session inside of another one; its first statement sets the savepoint.

    It is for whoever does not know that there are others: to commit it is theirs who began the transaction.

    Args:
        session: Has the transaction.
    """

    __slots__ = ("_inside", "_left", "_session", "_turn")

    def __init__(self, session: Session) -> None:
        self._session = session
        self._inside: AbstractAsyncContextManager[None] | None = None
        self._turn = asyncio.Lock()
        self._left = False

    @property
    def tenant(self) -> Tenancy:
        """Whom the transaction works for; see `Session.tenant`."""
        return self._session.tenant

    @tenant.setter
    def tenant(self, tenant: Tenancy) -> None:
        self._session.tenant = tenant

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
