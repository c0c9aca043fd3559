"""Tables as SQL has them: columns, keys, uniqueness, and the indexes that listings need.

A listing gets one index with what is always compared for equality in front, then its order. A field that is compared
only sometimes, because an argument is optional or because the rule lets some callers see everything, gets a second
index with that field in front: it may well be what makes the list short.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from trivet.data.database import Dialect
from trivet.data.expression import Argument, equalities
from trivet.data.mapping import Column
from trivet.data.resolve import Order, ResolvedListing, ResolvedTable
from trivet.data.rule import Rule
from trivet.data.search.index import INFO, Searched, index_of
from trivet.data.sharding.tables import SHARD_COLUMN
from trivet.data.sqltypes import sql_type
from trivet.data.statement import TENANT

MAX_IDENTIFIER = 63
"""Bytes of a name that PostgreSQL keeps."""


def table_of(resolved: ResolvedTable, dialect: Dialect, metadata: sa.MetaData) -> sa.Table:
    """Return the table; on PostgreSQL each module has a schema, elsewhere its name is in front."""
    module = resolved.declared.module.name
    schema = module if dialect == "postgresql" else None
    key = {column.name for column in resolved.key}
    strict: dict[str, Any] = {} if schema else {"sqlite_strict": True}
    table = sa.Table(
        resolved.name if schema else f"{module}_{resolved.name}",
        metadata,
        *(
            sa.Column(
                column.name,
                sql_type(column.value, dialect),
                primary_key=column.name in key,
                nullable=column.value.nullable,
                autoincrement=False,
            )
            for column in resolved.columns
        ),
        *_shard_column(resolved),
        schema=schema,
        info={} if resolved.tenant is None else {TENANT: resolved.tenant.name},
        **strict,
    )
    for columns, _ in resolved.uniques:
        _add_index(table, ascending(columns), unique=True)
    for order in index_orders(resolved):
        _add_index(table, order, unique=False)
    if resolved.placement is not None:  # a shard that moves is read in the order of its keys
        keys = [table.c[column.name] for column in resolved.key]
        sa.Index(short(f"ix_{table.name}{SHARD_COLUMN}"), table.c[SHARD_COLUMN], *keys)
    if resolved.search:
        levels = tuple(tuple(column.name for column in level) for level in resolved.search)
        language = resolved.declared.searched.language if resolved.declared.searched is not None else "simple"
        searched = Searched(
            table=table.name,
            schema=schema,
            key=tuple(column.name for column in resolved.key),
            levels=levels,
            language=language,
        )
        table.info[INFO] = index_of(searched, dialect)
    return table


def _shard_column(resolved: ResolvedTable) -> list[sa.Column[int]]:
    if resolved.placement is None:
        return []
    integer = sa.SmallInteger().with_variant(sa.Integer(), "sqlite")  # the only one that a strict table takes
    return [sa.Column(SHARD_COLUMN, integer, nullable=False)]


def ascending(columns: tuple[Column, ...]) -> Order:
    """Return the columns as an order."""
    return tuple((column, False) for column in columns)


def index_orders(resolved: ResolvedTable) -> list[Order]:
    """Return the indexes to make beside the key and what is unique, none of them the beginning of another."""
    wanted: list[Order] = [ascending(each) for each in resolved.indexes]
    for listing in resolved.listings:
        wanted += _orders_of(resolved, listing)
    wanted = list(dict.fromkeys(wanted))
    served = [ascending(resolved.key), *(ascending(columns) for columns, _ in resolved.uniques)]
    return [
        order
        for order in wanted
        if not any(_begins(order, other) for other in (*served, *(each for each in wanted if each is not order)))
    ]


def _orders_of(resolved: ResolvedTable, listing: ResolvedListing) -> Iterator[Order]:
    always = [] if resolved.tenant is None else [resolved.tenant]
    sometimes: list[Column] = []
    for column, other in equalities(listing.node):
        optional = isinstance(other, Argument) and other.optional
        (sometimes if optional else always).append(column)
    for form in Rule(resolved.readable).forms:
        sometimes += [column for column, _ in equalities(form)]
    for front in ([], *([column] for column in sometimes)):
        first = tuple(dict.fromkeys((*always, *front)))
        rest = tuple((column, down) for column, down in listing.order if column not in first)
        mixed = len({down for _, down in rest}) == 2  # an index is read from both ends, so one way is as good as both
        yield (*ascending(first), *(rest if mixed else ascending(tuple(column for column, _ in rest))))


def _begins(order: Order, other: Order) -> bool:
    return order == other[: len(order)]


def short(name: str) -> str:
    """Return a name that PostgreSQL keeps as it is."""
    if len(name.encode()) <= MAX_IDENTIFIER:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{name.encode()[: MAX_IDENTIFIER - 9].decode(errors='ignore')}_{digest}"


def _add_index(table: sa.Table, order: Order, *, unique: bool) -> None:
    names = "_".join(column.name for column, _ in order)
    ways = "".join("d" if down else "a" for _, down in order)
    name = f"{'uq' if unique else 'ix'}_{table.name}_{names}" + (f"_{ways}" if "d" in ways else "")
    name = short(name)
    parts = [table.c[column.name].desc() if down else table.c[column.name] for column, down in order]
    sa.Index(name, *parts, unique=unique)  # attaches itself to the table of its columns
