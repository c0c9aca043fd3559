"""What changes the rows of a view: the statements of its handlers and of a rebuild, compiled when the app is built.

Two handlers may change the same row at once, or add it. Who changes a row holds a lock on its key until the end of the
transaction, and reads the row after that, so that none of them undoes what another did. Where a rebuild fills the view
anew, it has the table for itself, except for readers, and handlers wait outside of a transaction until it is through.
On SQLite there is one writer, and nothing has to be locked.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Sequence
from typing import Any, TypeVar

import msgspec
import sqlalchemy as sa

from trivet.core.backoff import spread
from trivet.core.context import Read
from trivet.data.access import session_of, tenant_of
from trivet.data.database import Contention, Dialect, Session
from trivet.data.encoding import encoder
from trivet.data.groups import in_groups
from trivet.data.plan import Query, TablePlan
from trivet.data.resolve import ResolvedTable
from trivet.data.statement import Statement, compiler
from trivet.data.view import lock_of

T = TypeVar("T", bound=msgspec.Struct)

WAITS = 8
"""How often a handler looks whether a rebuild is through, before its delivery is put off."""

WAIT_SECONDS, WAIT_SPREAD = 0.75, 2 / 3

AS_OF_ONE_INSTANT = Statement(sa.text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"), ())


class ViewPlan(TablePlan[T]):
    """Everything that a view runs: what a table does, and what fills it.

    Args:
        resolved: The view.
        table: As SQL has it.
        dialect: Of the driver that runs it.
        signing_key: Signs page tokens.

    Attributes:
        selected: Adds the rows of a source that is a select.
    """

    def __init__(self, resolved: ResolvedTable, table: sa.Table, dialect: Dialect, signing_key: bytes) -> None:
        super().__init__(resolved, table, dialect, signing_key)
        self.view: Any = resolved.declared
        self.id: str = self.view.id
        self.selected: Query | None = None
        names = [column.name for column in table.c]
        self._put = Statement(_upsert(table, [column.name for column in resolved.key], dialect), names)
        self._clear = Statement(sa.delete(table), ())
        quoted = compiler(dialect).identifier_preparer.format_table(table)
        self._shared = Statement(sa.text(f"LOCK TABLE {quoted} IN ROW EXCLUSIVE MODE NOWAIT"), ())
        self._alone = Statement(sa.text(f"LOCK TABLE {quoted} IN SHARE ROW EXCLUSIVE MODE"), ())
        self._alone_now = Statement(sa.text(f"LOCK TABLE {quoted} IN SHARE ROW EXCLUSIVE MODE NOWAIT"), ())
        self._lock = Statement(sa.select(sa.func.pg_advisory_xact_lock(sa.bindparam("key", type_=sa.BigInteger))))
        self._key_encoders = [encoder(column.value, "sqlite") for column in resolved.key]
        locking = (self._shared, self._alone, self._alone_now, self._lock) if dialect == "postgresql" else ()
        for statement in (self._put, self._clear, *locking):
            statement.on(dialect)

    # -- for a handler

    async def admit(self, ctx: Read) -> None:
        """Keep a rebuild out until the transaction ends; wait while one is there.

        Raises:
            Contention: It takes longer; the delivery is tried again soon.
        """
        session: Any = ctx._work.session
        if self.routed:
            session.on(None)  # also where what the handler reads first is elsewhere: then it is refused
        if self.dialect == "sqlite":
            return
        for last in (*[False] * WAITS, True):
            try:
                await session.execute(self._shared, ())
                return
            except Contention as rebuilding:
                if last:
                    raise
                try:
                    await session.rollback()  # which returns the connection: there is nothing to do with it now
                except RuntimeError:  # others share the transaction, and go on without this handler
                    raise rebuilding from None
            await asyncio.sleep(spread(WAIT_SECONDS, WAIT_SPREAD))

    async def reserve(self, ctx: Read, key: Any) -> None:
        """Keep others from changing the row of that key, or adding it, until the transaction ends."""
        if self.dialect == "sqlite":
            return
        encoded = [encode(part) for encode, part in zip(self._key_encoders, self.key.parts(key), strict=True)]
        await session_of(ctx, self.view).fetch(self._lock, (lock_of(self.id, encoded),))

    async def put(self, ctx: Read, row: T) -> None:
        """Add the row, or replace the one with its key."""
        self._of_tenant(ctx, row)
        await session_of(ctx, self.view).execute(self._put, self.mapping.encode(row))

    async def remove(self, ctx: Read, key: Any) -> None:
        """Remove the row of that key, if there is one."""
        query = self.delete[self.writable.choose(ctx)]
        session = session_of(ctx, self.view)
        await session.execute(query.statement, query.values(ctx, (*self.key.parts(key), None)))

    def _of_tenant(self, ctx: Read, row: T) -> None:
        if self.tenant_of_row is not None and self.tenant_of_row(row) != tenant_of(ctx):
            raise ValueError(f"{self.view!r}: a row of another tenant than its event")

    # -- for a rebuild

    async def begin(self, session: Session, *, wait: bool) -> None:
        """Begin the transaction that fills the view anew: it sees one instant, at which no handler was half done.

        Args:
            session: In which nothing has begun.
            wait: Whether to wait for others that are at it.

        Raises:
            Contention: Others are, and are not waited for.
        """
        if self.dialect == "postgresql":
            await session.execute(AS_OF_ONE_INSTANT, ())
            await session.execute(self._alone if wait else self._alone_now, ())  # the instant is that of what follows

    async def clear(self, session: Session) -> None:
        """Remove all rows; readers see them until the commit."""
        await session.execute(self._clear, ())

    async def load(self, session: Session, ctx: Read, rows: AsyncIterable[T]) -> int:
        """Add rows that are not there while they come, and return how many they were.

        Raises:
            UniqueViolated: One is there.
        """
        count = 0
        async for group in in_groups(rows):
            for row in group:
                self._of_tenant(ctx, row)
            await session.load(self.insert, [self.mapping.encode(row) for row in group])
            count += len(group)
        return count


def tenants_of(plan: TablePlan[Any]) -> Statement:
    """Return what finds the tenants that have rows in a table."""
    assert plan.resolved.tenant is not None
    return Statement(sa.select(plan.table.c[plan.resolved.tenant.name]).distinct(), (), tenanted=True)


def _upsert(table: sa.Table, key: Sequence[str], dialect: Dialect) -> Any:
    insert: Any
    if dialect == "postgresql":
        from sqlalchemy.dialects import postgresql

        insert = postgresql.insert(table)
    else:
        from sqlalchemy.dialects import sqlite

        insert = sqlite.insert(table)
    insert = insert.values({column.name: sa.bindparam(column.name) for column in table.c})
    rest = {column.name: insert.excluded[column.name] for column in table.c if column.name not in key}
    if not rest:
        return insert.on_conflict_do_nothing(index_elements=key)
    return insert.on_conflict_do_update(index_elements=key, set_=rest)
