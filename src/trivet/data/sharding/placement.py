"""Where the rows of a sharded table are: found from a key, a row, or the arguments of a listing, without a lookup."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

from trivet.core.context import Read
from trivet.core.sharding import logical_of
from trivet.data.access import tenant_of
from trivet.data.mapping import Column


class Misplaced(ValueError):
    """A row's key does not carry the shard that the row belongs to: by its key it would never be found."""


class Placement:
    """How a table's rows are placed.

    Args:
        title: Names the table in messages.
        column: The shard key.
        key: The columns of the key.
        tenant: The column of the tenant.
        scatter: How many nodes one read may ask.
    """

    __slots__ = ("_by_tenant", "_index", "_key_of", "_single", "_title", "_value_of", "column", "scatter")

    def __init__(
        self, title: str, column: Column, key: Sequence[Column], tenant: Column | None, scatter: int | None
    ) -> None:
        self.column = column
        self.scatter = scatter
        self._title = title
        self._by_tenant = column == tenant
        self._single = len(key) == 1
        self._index = next((index for index, each in enumerate(key) if each == column), None)
        self._value_of = operator.attrgetter(".".join(column.path))
        self._key_of: Callable[[Any], Any] = operator.attrgetter(*(".".join(each.path) for each in key))

    def of_key(self, ctx: Read, key: Any) -> int:
        """Return the logical shard of the row with this key."""
        if self._by_tenant:
            return logical_of(tenant_of(ctx))
        value: Any = key if self._single else key[self._index or 0]
        return logical_of(value)

    def of_value(self, value: Any) -> int:
        """Return the logical shard of rows with this shard key."""
        return logical_of(value)

    def of_tenant(self, ctx: Read) -> int | None:
        """Return the caller's logical shard, where tenants are what is sharded by."""
        return logical_of(tenant_of(ctx)) if self._by_tenant else None

    def of_row(self, ctx: Read, row: Any) -> int:
        """Return the logical shard of a row that is to be stored.

        Raises:
            Misplaced: Its key would lead elsewhere.
        """
        shard = logical_of(self._value_of(row))
        if self._index is None and not self._by_tenant and logical_of(self._key_of(row)) != shard:
            name = ".".join(self.column.path)
            raise Misplaced(
                f"{self._title}: the key does not carry the shard of {name}: make it with ctx.new_id(beside={name})"
            )
        return shard
