"""A transaction over nodes: it is on one shard, or on what is not sharded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, NoReturn

from trivet.core.clock import Deadline
from trivet.core.consistency import Marks
from trivet.data.database import Database, Row, Session, Tenancy, TransactionFailed
from trivet.data.deferred import Deferred

if TYPE_CHECKING:
    from trivet.data.sharding.database import ShardedDatabase
    from trivet.data.statement import Statement

HOME_PLACE = -1
"""The place of everything that is not sharded."""


class SecondShard(RuntimeError):
    """A transaction that is on one shard was to read or change something elsewhere."""

    def __init__(self, first: int, second: int) -> None:
        super().__init__(
            f"this transaction is on {_named(first)} and can not reach {_named(second)}: keep what changes together "
            "under one shard key, or emit an event, ctx.send a command or write a job for the other part"
        )


def _named(place: int) -> str:
    return "what is not sharded (the home database)" if place == HOME_PLACE else f"logical shard {place}"


class ShardedWrite(Deferred):
    """One transaction, on the place that it first reached: a logical shard, or what is not sharded.

    Args:
        database: The nodes.
        deadline: Bounds every statement.
        after: What the caller has seen.
    """

    __slots__ = (
        "_after",
        "_broken",
        "_closed",
        "_database",
        "_deadline",
        "_first",
        "_inner",
        "_marks",
        "_node",
        "_place",
        "_tenant",
        "_turn",
    )

    def __init__(self, database: ShardedDatabase, deadline: Deadline | None, after: Marks | None) -> None:
        self._database = database
        self._deadline = deadline
        self._after = after
        self._place: int | None = None
        self._node: Database | None = None
        self._inner: Session | None = None
        self._first: Callable[[Session, int | None], Awaitable[None]] | None = None
        self._broken: Exception | None = None
        self._marks: list[_Mark] = []
        self._turn = asyncio.Lock()
        self._closed = False
        self._tenant: Tenancy = None

    @property
    def tenant(self) -> Tenancy:
        """Whom this transaction works for; see `Session.tenant`."""
        return self._tenant

    @tenant.setter
    def tenant(self, tenant: Tenancy) -> None:
        self._tenant = tenant
        if self._inner is not None:
            self._inner.tenant = tenant

    # -- where it is

    @property
    def place(self) -> int | None:
        """The logical shard of this transaction; `HOME_PLACE` for what is not sharded, ``None`` before it is known."""
        return self._place

    @property
    def shard(self) -> int | None:
        """The logical shard of this transaction, ``None`` where it is on none."""
        return None if self._place == HOME_PLACE else self._place

    def on(self, shard: int | None) -> Session:
        """Return this transaction, for a row of a logical shard, or with ``None`` for what is not sharded.

        Raises:
            SecondShard: It is elsewhere already.
        """
        wanted = HOME_PLACE if shard is None else shard
        if self._place is None and self._node is None:
            self._place = wanted
        elif self._place != wanted:
            raise SecondShard(HOME_PLACE if self._place is None else self._place, wanted)
        return self

    def joins(self, node: Database) -> bool:
        """Return whether this transaction is on a node; one that has reached nothing yet is from now on."""
        if self._inner is None and self._place in (None, HOME_PLACE):
            self._node = node if self._place is None else self._database.home
        return self._node is node

    async def fetch_anywhere(self, statement: Statement, values: Sequence[Any]) -> list[Row]:
        """Return the rows of the first node that has any; the transaction is on that node from now on.

        Raises:
            SecondShard: It is elsewhere already.
        """
        if self._inner is not None:
            return await self.fetch(statement, values)
        for node in self._database.nodes.values():
            session = node.session(write=False, deadline=self._deadline, reads="primary")
            try:
                rows = await session.fetch(statement, values)
            finally:
                await session.close()
            if rows:
                if not self.joins(node):
                    raise SecondShard(HOME_PLACE if self._place is None else self._place, HOME_PLACE)
                return rows
        return []

    def first(self, act: Callable[[Session, int | None], Awaitable[None]]) -> None:
        """Do something before everything else in the transaction, wherever that will be; it gets the shard.

        What it raises, every statement raises from then on.
        """
        self._first = act

    async def begin(self) -> None:
        """Begin, where nothing has; then on the home database."""
        await self._begun()

    async def _begun(self) -> Session:
        if self._broken is not None:
            raise self._broken
        if self._closed:
            raise TransactionFailed
        if self._inner is not None:
            return self._inner
        async with self._turn:
            if self._inner is None:
                inner = await self._claimed()
                self._inner = inner
                try:
                    if self._first is not None:
                        await self._first(inner, None if self._place == HOME_PLACE else self._place)
                    for mark in self._marks:
                        await mark.enter(inner)
                except Exception as error:
                    self._broken = error
                    raise
            return self._inner

    async def _claimed(self) -> Session:
        database = self._database
        if self._place is None and self._node is None:
            self._place = HOME_PLACE
        if self._place is None or self._place == HOME_PLACE:
            node = self._node = self._node or database.home
            inner = node.session(write=True, deadline=self._deadline)
            inner.tenant = self._tenant
            return inner
        inner, self._node = await database.claim(self._place, self._deadline, self._tenant)
        return inner

    # -- as every session

    async def ask_all(self, *_: Any) -> NoReturn:
        """Refuse: a transaction is on one shard."""
        raise RuntimeError(
            "a command can not read across shards: its transaction is on one. Read in a query, or find the rows by "
            "their shard key"
        )

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """Undo what happened inside when it raises; where nothing has begun yet, it begins with the transaction."""
        mark = _Mark()
        self._marks.append(mark)
        if self._inner is not None:
            await mark.enter(self._inner)
        try:
            yield
        except BaseException as error:
            self._marks.remove(mark)
            await mark.leave(error)
            raise
        self._marks.remove(mark)
        await mark.leave(None)

    async def commit(self) -> None:
        """Make everything durable, or keep nothing; see `Session.commit`."""
        if self._inner is not None:
            await self._inner.commit()

    async def rollback(self) -> None:
        """Undo everything; the next statement begins anew, anywhere."""
        inner, self._inner, self._place, self._node, self._broken = self._inner, None, None, None, None
        if inner is not None:
            await inner.rollback()
            await inner.close()

    async def seen(self) -> Marks:
        """Return what this transaction has seen; see `Session.seen`."""
        return () if self._inner is None else self._database.marks(await self._inner.seen(), self._after)

    async def close(self) -> None:
        """Return what is borrowed; an open transaction is rolled back."""
        self._closed = True
        if self._inner is not None:
            await self._inner.close()


class _Mark:
    """A savepoint that begins when its transaction does."""

    __slots__ = ("entered",)

    def __init__(self) -> None:
        self.entered: AbstractAsyncContextManager[None] | None = None

    async def enter(self, session: Session) -> None:
        context = session.savepoint()
        await context.__aenter__()
        self.entered = context

    async def leave(self, error: BaseException | None) -> None:
        if self.entered is None:
            return
        if error is None:
            await self.entered.__aexit__(None, None, None)
            return
        with suppress(type(error)):  # a savepoint raises again what it was left with
            await self.entered.__aexit__(type(error), error, error.__traceback__)
