"""What rows are searched with, in revisions: it is made and dropped as a whole, by the name that says what it is of.

A revision says ``op.invoke(CreateSearch("products", ...))``. What that does on each engine is `trivet.data.search`'s.
Alembic knows nothing of functions, triggers and virtual tables; so what there is, and what there should be, is
compared here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from alembic.autogenerate import renderers
from alembic.operations import MigrateOperation, Operations

from trivet.data.search.index import NAMED, Searched, dropped, index_of, quoted
from trivet.data.search.postgresql import THERE as ON_POSTGRESQL
from trivet.data.search.sqlite import THERE as ON_SQLITE

if TYPE_CHECKING:
    from alembic.autogenerate.api import AutogenContext

    from trivet.migrations.part import Part


class CreateSearch(MigrateOperation):
    """Makes the rows of a table searchable, those that are there as those that come.

    Args:
        table_name: The table as SQL has it.
        key: The columns that tell rows apart.
        fields: The columns with the words, the most telling level first.
        language: Whose endings are cut off.
        schema: The table's schema, where it has one.
        aside: Whether nobody may be kept from writing meanwhile; then it runs outside of a transaction.
    """

    def __init__(
        self,
        table_name: str,
        *,
        key: Sequence[str],
        fields: Sequence[Sequence[str]],
        language: str,
        schema: str | None = None,
        aside: bool = False,
    ) -> None:
        self.table_name = table_name
        self.schema = schema
        self.aside = aside
        self.searched = Searched(
            table=table_name,
            schema=schema,
            key=tuple(key),
            levels=tuple(tuple(level) for level in fields),
            language=language,
        )

    @classmethod
    def of(cls, searched: Searched, *, aside: bool) -> CreateSearch:
        """Return what makes the rows of a table searchable as it declares."""
        return cls(
            searched.table,
            key=searched.key,
            fields=searched.levels,
            language=searched.language,
            schema=searched.schema,
            aside=aside,
        )


class DropSearch(MigrateOperation):
    """Ends that rows of a table can be searched; outside of a transaction on PostgreSQL.

    Args:
        name: Of what they are searched with.
        schema: The table's schema, where it has one.
    """

    def __init__(self, name: str, *, schema: str | None = None) -> None:
        self.name = name
        self.table_name = NAMED.sub("", name)
        self.schema = schema


@Operations.implementation_for(CreateSearch)
def _create(operations: Operations, operation: CreateSearch) -> None:
    dialect: Any = operations.get_context().dialect.name
    aside = operation.aside and not operations.get_context().as_sql  # printed for a database that nobody uses yet
    for sql in index_of(operation.searched, dialect).create(aside=aside):
        operations.execute(_plain(sql))


@Operations.implementation_for(DropSearch)
def _drop(operations: Operations, operation: DropSearch) -> None:
    dialect: Any = operations.get_context().dialect.name
    for sql in dropped(operation.name, operation.schema, dialect, aside=not operations.get_context().as_sql):
        operations.execute(_plain(sql))


def _plain(sql: str) -> sa.TextClause:
    """Return text in which a colon is a colon."""
    return sa.text(sql.replace(":", "\\:"))


@renderers.dispatch_for(CreateSearch)
def _render_create(context: AutogenContext, operation: CreateSearch) -> str:
    searched = operation.searched
    schema = "" if searched.schema is None else f", schema={searched.schema!r}"
    aside = ", aside=True" if operation.aside else ""
    return (
        f"op.invoke(CreateSearch({searched.table!r}, key={list(searched.key)!r}, "
        f"fields={[list(level) for level in searched.levels]!r}, language={searched.language!r}{schema}{aside}))"
    )


@renderers.dispatch_for(DropSearch)
def _render_drop(context: AutogenContext, operation: DropSearch) -> str:
    schema = "" if operation.schema is None else f", schema={operation.schema!r}"
    return f"op.invoke(DropSearch({operation.name!r}{schema}))"


def lacking(connection: sa.Connection, part: Part) -> list[Searched]:
    """Return what the tables of a part are not searched with as they declare, or not any more as a whole."""
    there = _there(connection, part)
    return [index.searched for index in part.searches if not index.parts <= there]


def left_over(connection: sa.Connection, part: Part, belongs: Callable[[str], bool]) -> list[str]:
    """Return the names of what tables of a part were searched with and no longer declare; a table may be gone.

    Args:
        connection: To the database.
        part: Whose tables.
        belongs: Whether a table is the part's, by its name.
    """
    wanted = {index.searched.name for index in part.searches}
    return [name for name in existing(connection, part, belongs) if name not in wanted]


def existing(connection: sa.Connection, part: Part, belongs: Callable[[str], bool]) -> list[str]:
    """Return the names of what tables of a part are searched with; takes what `left_over` takes."""
    before = f"{quoted(part.schema)}." if part.schema is not None else ""
    found: set[str] = set()
    for each in _there(connection, part):
        name = each.removeprefix(before).removesuffix("()").strip('"')
        match = NAMED.search(name)
        if match is not None and each.startswith(before) and belongs(name):
            found.add(name[: match.end(1)])
    return sorted(found)


def _there(connection: sa.Connection, part: Part) -> set[str]:
    sql = ON_POSTGRESQL if part.dialect == "postgresql" else ON_SQLITE
    return {name for (name,) in connection.exec_driver_sql(sql)}
