"""Tables: a shape kept in rows, with the rules that say who may touch one, and the lists that are made of them.

A table is declared once, beside its shape, and is what handlers speak to: ``await products.get(ctx, id)``. What it has
beyond a `Relation` is that commands change it: ``writable`` is part of every update and delete, and is checked on each
new row and on the new state of a changed one.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from trivet.core.context import Read, Write
from trivet.core.error import AlreadyExists, Conflict, Error, PermissionDenied
from trivet.data.access import plan_of, session_of, tenant_of
from trivet.data.database import UniqueViolated
from trivet.data.groups import in_groups
from trivet.data.mapping import value_at
from trivet.data.relation import Relation

if TYPE_CHECKING:
    from trivet.data.database import Session
    from trivet.data.plan import TablePlan

T = TypeVar("T", bound=msgspec.Struct)
K = TypeVar("K")
X = TypeVar("X")


class Table(Relation[T, K]):
    """Rows of one shape.

    ``products = Table(catalog, Product, key=lambda p: p.id, unique=["sku"], readable=PUBLIC, writable=...)``

    Columns follow from the shape (`trivet.data.columns`). A shape with an ``int`` field named ``version`` is updated
    optimistically: each update expects the version that it was made from, and stores the next.

    Args:
        module: Who owns the rows; only its operations reach them.
        shape: What a row is.
        key: Names the field that identifies a row, or a tuple of them.
        name: Of the table in the database; the plural of the shape's name when absent.
        unique: Fields of which no two rows have the same values; a list of more than one field is a `Unique`.
        indexes: Further indexes, each a field or a tuple of fields; those that listings need are made without saying.
        tenant: Names the field that holds the row's tenant.
        readable: Who may read a row; `PUBLIC` for everybody. Required.
        writable: Who may add, change and remove a row; `PUBLIC` for everybody. Required.
        shard_by: Names the field that decides on which server a row is. Rows of all tables with the same value are
            together, and a command changes what is together. The key has that field in it, or carries its shard: an
            id that was made with ``ctx.new_id(beside=value)``, or by a command that is on that shard already.
        scatter: How many servers one read of this table may ask that is not of one shard; none, when absent.
        search: Which fields hold the words that rows are found by; see `search`.
    """

    # -- changing

    async def lock(self, ctx: Write, key: K, /) -> T:
        """Return the row as it is now; nobody else can change it until this transaction ends.

        This is how to change a row depending on what it holds, such as a stock that must not fall below zero: lock it,
        decide, `update` it. The update can not conflict.

        Raises:
            NotFound: There is none that the caller may read.
        """
        plan = plan_of(ctx, self)
        rows = await self._one(ctx, plan, plan.lock, key, write=True)
        if not rows:
            raise self._missing(key)
        return plan.mapping.decode(rows[0])

    async def lock_many(self, ctx: Write, keys: Sequence[K], /) -> list[T | None]:
        """Return and lock a row for each key, as `get_many` and `lock` do.

        The rows are locked in the order of their keys, so that two transactions that lock several never wait for each
        other in a circle.
        """
        plan = plan_of(ctx, self)
        session_of(ctx, self, write=True)
        return await self._many(ctx, keys, plan.lock_many[plan.readable.choose(ctx)])

    async def insert(self, ctx: Write, row: T, /) -> None:
        """Add a row.

        Raises:
            PermissionDenied: The caller may not write it, or it is another tenant's.
            AlreadyExists: Its key, or something unique, is taken; or the error that the `Unique` declares.
            InvalidArgument: A column can not hold its value.
        """
        plan = plan_of(ctx, self)
        session = session_of(ctx, self, write=True)
        self._permit(ctx, row)
        values: Any = plan.mapping.encode(row)
        if plan.routed:
            session, values = self._placed(ctx, plan, session, row, values)
        try:
            await session.execute(plan.insert, values)
        except UniqueViolated as violated:
            raise self._taken(plan, violated, row) from violated

    async def insert_many(self, ctx: Write, rows: Sequence[T], /) -> None:
        """Add rows, all or none; raises what `insert` raises."""
        plan = plan_of(ctx, self)
        session = session_of(ctx, self, write=True)
        for row in rows:
            self._permit(ctx, row)
        encoded: list[Any] = [plan.mapping.encode(row) for row in rows]
        if plan.routed:
            for index, row in enumerate(rows):
                session, encoded[index] = self._placed(ctx, plan, session, row, encoded[index])
        try:
            await session.execute_many(plan.insert, encoded)
        except UniqueViolated as violated:
            raise self._taken(plan, violated, rows[0] if len(rows) == 1 else None) from violated

    async def load(self, ctx: Write, rows: Iterable[T] | AsyncIterable[T], /) -> int:
        """Add rows, all or none, while they come in: a group of them is in memory at a time.

        It is to `insert_many` what COPY is to INSERT. Rows that come from the same context, such as from a `stream`,
        are read between two groups.

        Args:
            ctx: The context.
            rows: Any number of rows.

        Returns:
            How many they were.

        Raises:
            PermissionDenied: The caller may not write a row, or it is another tenant's.
            AlreadyExists: The key of a row, or something unique, is taken; or the error that the `Unique` declares.
            InvalidArgument: A column can not hold its value.
        """
        plan = plan_of(ctx, self)
        session: Any = session_of(ctx, self, write=True)
        done = 0
        async with session.savepoint(), aclosing(in_groups(rows)) as groups:
            async for group in groups:
                encoded: list[Any] = []
                for row in group:
                    try:
                        self._permit(ctx, row)
                        values: Any = plan.mapping.encode(row)
                    except Error as refused:
                        _of_row(refused, done + len(encoded))
                        raise
                    if plan.routed:
                        session, values = self._placed(ctx, plan, session, row, values)
                    encoded.append(values)
                try:
                    await session.load(plan.insert, encoded)
                except UniqueViolated as violated:
                    if violated.row is None:
                        raise self._taken(plan, violated, None) from violated
                    taken = self._taken(plan, violated, group[violated.row])
                    raise _of_row(taken, done + violated.row) from violated
                done += len(group)
        return done

    async def update(self, ctx: Write, row: T, /) -> T:
        """Replace the row of that key; with a ``version``, only if it is still the one that this row was made from.

        ``await products.update(ctx, msgspec.structs.replace(product, price=price))``

        Returns:
            The row as it is stored: with the next version.

        Raises:
            NotFound: There is none that the caller may read.
            PermissionDenied: The caller may not write it, as it was or as it would be.
            Conflict: Somebody else changed it first.
            AlreadyExists: Something unique is taken; or the error that the `Unique` declares.
        """
        plan = plan_of(ctx, self)
        session = session_of(ctx, self, write=True)
        if plan.routed:
            session, _ = self._placed(ctx, plan, session, row, ())
        if plan.versioned:
            expected = value_at(row, ("version",))
            row = msgspec.structs.replace(row, version=expected + 1)
        else:
            expected = None
        self._permit(ctx, row)
        own = (*plan.mapping.encode(row), expected)
        query = plan.update[plan.writable.choose(ctx)]
        try:
            changed = await session.execute(query.statement, query.values(ctx, own))
        except UniqueViolated as violated:
            raise self._taken(plan, violated, row) from violated
        if not changed:
            raise await self._refusal(ctx, plan.key.of(row))
        return row

    async def delete(self, ctx: Write, key: K, /, version: int | None = None) -> None:
        """Remove the row of that key; with a version, only if it is still that one.

        Raises:
            NotFound: There is none that the caller may read.
            PermissionDenied: The caller may not write it.
            Conflict: It is not of that version any more.
        """
        plan = plan_of(ctx, self)
        session = self._session(ctx, plan, key, write=True)
        if version is not None and not plan.versioned:
            raise TypeError(f"{self!r} has no versions: its shape has no field `version: int`")
        query = (plan.delete if version is None else plan.delete_version)[plan.writable.choose(ctx)]
        if not await session.execute(query.statement, query.values(ctx, (*plan.key.parts(key), version))):
            raise await self._refusal(ctx, key)

    def _placed(
        self, ctx: Read, plan: TablePlan[T], session: Any, row: T, values: tuple[Any, ...]
    ) -> tuple[Session, tuple[Any, ...]]:
        """Return the session for a row that is stored, and its values with its shard."""
        if plan.placement is None:
            return session.on(None), values
        shard = plan.placement.of_row(ctx, row)
        return session.on(shard), (*values, shard)

    # -- refusing

    def _permit(self, ctx: Write, row: T) -> None:
        """Check a new row, or the new state of one, before it is stored."""
        plan = plan_of(ctx, self)
        if plan.tenant_of_row is not None and plan.tenant_of_row(row) != tenant_of(ctx):
            raise PermissionDenied(detail=f"This {self.shape.__name__} belongs to another tenant.")
        if not ctx._unrestricted and not plan.may_write(ctx.principal, row, ()):
            raise PermissionDenied()

    async def _refusal(self, ctx: Write, key: K) -> Error:
        """Find out why nothing was changed."""
        row = await self.find(ctx, key)
        if row is None:
            return self._missing(key)
        if not ctx._unrestricted and not plan_of(ctx, self).may_write(ctx.principal, row, ()):
            return PermissionDenied()
        return Conflict()

    def _taken(self, plan: TablePlan[T], violated: UniqueViolated, row: T | None) -> Error:
        unique = plan.uniques.get(frozenset(violated.columns))
        if unique is not None and unique.error is not None and row is not None:
            return unique.error(row)
        fields = ", ".join(unique.fields if unique is not None else violated.columns)
        return AlreadyExists(detail=f"A {self.shape.__name__} with this {fields} exists already.")


def _of_row(error: Error, index: int) -> Error:
    """Return an error that says to whoever reads the log which row of many it is about."""
    error.add_note(f"in row {index} of those that were to be loaded, counted from 0")
    return error
