"""Statements: SQLAlchemy Core clauses, compiled once to the text and the order of values that a driver takes.

SQLAlchemy writes the SQL, the driver runs it: no engine, no result object and no type processor stands between, so a
statement costs what the driver costs. What that asks of whoever builds one:

- Values arrive as the driver takes them (`trivet.data.encoding` makes them so, per dialect).
- A list is one value: build ``column IN (...)`` with :func:`any_of` and pass :func:`list_value`. SQLAlchemy's own
  expanding ``in_`` needs its values to be compiled and is refused here.
- Constants in the clause, and those that a dialect adds (SQLite's ``LIMIT ? OFFSET ?``), are remembered and put in
  their places.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from operator import itemgetter
from typing import Any

import msgspec
import sqlalchemy as sa

from trivet.data.database import Dialect


@cache
def compiler(dialect: Dialect) -> sa.Dialect:
    """Return SQLAlchemy's compiler for a dialect, imported when it is first used; no driver is loaded."""
    if dialect == "postgresql":
        from sqlalchemy.dialects.postgresql import asyncpg

        return asyncpg.dialect()  # type: ignore[no-untyped-call]  # as SQLAlchemy has it
    from sqlalchemy.dialects import sqlite

    return sqlite.dialect(paramstyle="qmark")


OPTIONS: Mapping[Dialect, Mapping[str, Any]] = {
    "sqlite": {"schema_translate_map": {"trivet": "main"}, "render_schema_translate": True},
    "postgresql": {},
}
"""How a clause is compiled: the platform's own tables have a schema, where there are schemas."""


TENANT = "tenant"
"""Under which a table has the name of the column with the tenant in its ``info``, where it is kept per tenant."""


class Form:
    """A statement as one dialect has it.

    Attributes:
        sql: The text, with the driver's placeholders.
        arrange: Puts values, given in the order of the statement's parameters, into the driver's order.
        reads: Whether it changes nothing, so that it may be run again. Of plain text only what begins with SELECT is
            known to.
    """

    __slots__ = ("arrange", "reads", "sql")

    def __init__(self, sql: str, arrange: Callable[[Sequence[Any]], Sequence[Any]], reads: bool) -> None:
        self.sql = sql
        self.arrange = arrange
        self.reads = reads


class Statement:
    """A Core clause, compiled once for each dialect that runs it; immutable, built when the app is built.

    Args:
        clause: Any Core construct; its ``bindparam`` without a value are its parameters.
        parameters: The order in which values are passed; that of their first appearance in the SQL when absent.
        tenanted: Whether it is about rows that are kept per tenant.
    """

    __slots__ = ("_clause", "_forms", "_parameters", "tenanted")

    def __init__(
        self, clause: sa.Executable, parameters: Sequence[str] | None = None, *, tenanted: bool = False
    ) -> None:
        self.tenanted = tenanted
        self._clause = clause
        self._parameters = None if parameters is None else tuple(parameters)
        self._forms: dict[str, Form] = {}

    def __repr__(self) -> str:
        known = next(iter(self._forms.values()), None)
        return f"Statement({str(self._clause) if known is None else known.sql!r})"

    @classmethod
    def ready(cls, form: Form, dialect: Dialect, *, tenanted: bool = False) -> Statement:
        """Return a statement that is compiled already, for one dialect only."""
        statement = cls(sa.text(form.sql), tenanted=tenanted)
        statement._forms[dialect] = form
        return statement

    def on(self, dialect: Dialect) -> Form:
        """Return the form for the dialect, compiled at the first call.

        Raises:
            ValueError: The parameters are not those of the clause, or it holds an expanding ``in_``.
        """
        try:
            return self._forms[dialect]
        except KeyError:
            form = self._forms[dialect] = _compile(self._clause, dialect, self._parameters)
            return form


class Insert(Statement):
    """Adds one row; an engine that adds many at a time by other means finds here what it needs for that.

    Args:
        table: Where to. The parameters are all of its columns, in their order.

    Attributes:
        schema: The table's schema, where it has one.
        table: The table's name.
        columns: The names of its columns.
    """

    __slots__ = ("columns", "schema", "table")

    def __init__(self, table: sa.Table) -> None:
        self.schema = table.schema
        self.table = table.name
        self.columns = tuple(column.name for column in table.c)
        super().__init__(sa.insert(table), self.columns, tenanted=TENANT in table.info)


def _compile(clause: Any, dialect: Dialect, declared: tuple[str, ...] | None) -> Form:
    compiled = clause.compile(dialect=compiler(dialect), **OPTIONS[dialect])
    sql = str(compiled).strip()
    if "POSTCOMPILE" in sql:
        raise ValueError(f"an expanding IN needs its values to be compiled; use any_of(): {sql}")
    places: Sequence[str] = compiled.positiontup or ()
    needed = list(dict.fromkeys(name for name in places if compiled.binds[name].required))
    parameters = tuple(needed) if declared is None else declared
    if not set(needed) <= set(parameters) <= set(places):
        raise ValueError(f"the statement takes {needed}, declared are {list(parameters)}: {sql}")
    constants = {name: value for name, value in compiled.params.items() if name not in parameters}
    return Form(sql, _arrangement(parameters, places, constants), _reads(clause, sql))


def _arrangement(
    parameters: tuple[str, ...], places: Sequence[str], constants: dict[str, Any]
) -> Callable[[Sequence[Any]], Sequence[Any]]:
    if tuple(places) == parameters:
        return as_given
    names = (*parameters, *constants)
    order = [names.index(name) for name in places]
    extra = tuple(constants.values())
    pick = itemgetter(*order)
    if len(order) == 1:
        return lambda values: (pick((*values, *extra)),)
    return lambda values: pick((*values, *extra))


def as_given(values: Sequence[Any]) -> Sequence[Any]:
    """Return the values as they are: what `Form.arrange` is where nothing has to move."""
    return values


def _reads(clause: Any, sql: str) -> bool:
    if isinstance(clause, sa.TextClause):
        return sql[:6].upper() == "SELECT"
    return bool(clause.is_select) and not clause.is_dml


def any_of(columns: sa.ColumnElement[Any] | Sequence[sa.ColumnElement[Any]], parameter: str, dialect: Dialect) -> Any:
    """Return ``columns IN (the rows of one list value)``.

    Args:
        columns: One column, or several compared together.
        parameter: Names the value; pass what :func:`list_value` makes of the list.
        dialect: The dialect that the clause will be compiled for.
    """
    if isinstance(columns, sa.ColumnElement):
        if dialect == "postgresql":
            return columns == sa.any_(sa.bindparam(parameter, type_=sa.ARRAY(columns.type)))
        return columns.in_(sa.select(_members(parameter, "json_each").c.value))
    if dialect == "postgresql":
        from sqlalchemy.dialects.postgresql import JSONB

        members = sa.func.jsonb_array_elements(sa.bindparam(parameter, type_=JSONB)).table_valued("value")
        texts = [members.c.value.op("->>")(sa.literal_column(str(index))) for index in range(len(columns))]
        parts: list[Any] = [sa.cast(text, column.type) for text, column in zip(texts, columns, strict=True)]
    else:
        each = _members(parameter, "json_each")
        paths: list[sa.ColumnElement[Any]] = [sa.literal_column(f"'$[{index}]'") for index in range(len(columns))]
        parts = [sa.func.json_extract(each.c.value, path) for path in paths]
    return sa.tuple_(*columns).in_(sa.select(*parts))


def list_value(values: Sequence[Any], dialect: Dialect, *, rows: bool = False) -> Any:
    """Return a list as the one value that :func:`any_of` takes.

    Args:
        values: As the driver takes each; with `rows`, sequences of such values.
        dialect: The dialect of the statement.
        rows: Whether several columns are compared together.
    """
    if dialect == "postgresql" and not rows:
        return list(values)
    return _JSON.encode(values).decode()


_JSON = msgspec.json.Encoder()


def _members(parameter: str, function: str) -> sa.TableValuedAlias:
    return getattr(sa.func, function)(sa.bindparam(parameter, type_=sa.Text)).table_valued("value")  # type: ignore[no-any-return]  # SQLAlchemy's func is untyped
