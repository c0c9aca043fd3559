"""Selects that a module writes itself: they see the rows that the caller may read, and give typed rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from trivet.core.context import Read
from trivet.core.fault import Fault, Place, place_of
from trivet.core.module import Module
from trivet.data.columns import Unmapped, value_of
from trivet.data.database import Dialect, Row
from trivet.data.encoding import Unfit, encoder
from trivet.data.expression import TRUE, Argument
from trivet.data.mapping import Mapping, columns_of
from trivet.data.plan import Plans, Query, TablePlan
from trivet.data.relation import Relation, Selection
from trivet.data.resolve import signature_of
from trivet.data.sqltypes import sql_type
from trivet.data.view import View
from trivet.data.where import Source, Where


class Foreign(Exception):
    """A select names a table of another module."""


class Rows:
    """The rows that the caller of a select may read: ``rows[products]`` has the table's columns in ``.c``."""

    def __init__(self, module: Module, plans: Plans, where: _Guards) -> None:
        self._module = module
        self._plans = plans
        self._guards = where

    def __getitem__(self, table: Relation[Any, Any]) -> sa.Subquery:
        if table.module is not self._module:
            raise Foreign(f"{table!r} belongs to module {table.module.name}")
        return self._guards.guarded(self._plans[table])


class _Guards:
    """Puts rule and tenant around each table that a select names, and collects the sources of their values.

    Attributes:
        tenanted: Whether any of them is kept per tenant.
    """

    def __init__(self, dialect: Dialect, restricted: bool, sources: dict[str, Source]) -> None:
        self.tenanted = False
        self._dialect: Dialect = dialect
        self._restricted = restricted
        self._sources = sources
        self._guarded: dict[int, sa.Subquery] = {}

    def guarded(self, plan: TablePlan[Any]) -> sa.Subquery:
        known = self._guarded.get(id(plan))
        if known is not None:
            return known
        if plan.placement is not None:
            mend = "Write a listing; let the source of a view be an async generator, which sees all nodes."
            raise Unmapped(f"it selects from {plan.name}, which is sharded, and would see one node only", mend)
        self.tenanted |= plan.tenanted
        where = Where(plan.table, self._dialect)
        where.sources = self._sources  # one statement, one set of names
        node = plan.readable.node if self._restricted else TRUE
        select = sa.select(*plan.table.c).where(*plan.guard(where, node))
        result = self._guarded[id(plan)] = select.subquery(f"readable_{plan.resolved.name}")
        return result


class SelectionPlan:
    """A declared select, compiled.

    Attributes:
        arguments: Turns a call's arguments into a tuple.
        decode: Turns rows into objects of the result's shape.
    """

    def __init__(self, selection: Selection[Any, ...], plans: Plans, dialect: Dialect) -> None:
        columns, problems = columns_of(selection.shape)
        if problems:
            raise Unmapped(f"{selection.shape.__name__}.{problems[0].field}: {problems[0].problem}", problems[0].mend)
        arguments, self.arguments = signature_of(selection.function)
        names = [column.name for column in columns]
        self._restricted = self._query(selection, plans, arguments, names, dialect, restricted=True)
        self._unrestricted = self._query(selection, plans, arguments, names, dialect, restricted=False)
        mapping: Mapping[msgspec.Struct] = Mapping(selection.shape, columns, dialect)
        self._mapping = mapping

    def _query(
        self,
        selection: Selection[Any, ...],
        plans: Plans,
        arguments: Sequence[Argument],
        names: Sequence[str],
        dialect: Dialect,
        *,
        restricted: bool,
    ) -> Query:
        clause, sources, tenanted = _selected(selection, plans, arguments, names, dialect, restricted)
        return Query.compiled(clause, dialect, sources, tenanted=tenanted)

    def query(self, ctx: Read) -> Query:
        """Return the statement for the caller."""
        return self._unrestricted if ctx._unrestricted else self._restricted

    def decode(self, rows: Sequence[Row]) -> list[Any]:
        """Return the objects of rows."""
        return self._mapping.decode_all(rows)


def _selected(
    selection: Selection[Any, ...],
    plans: Plans,
    arguments: Sequence[Argument],
    names: Sequence[str],
    dialect: Dialect,
    restricted: bool,
) -> tuple[sa.Select[Any] | sa.CompoundSelect[Any], dict[str, Source], bool]:
    """Return a select with its columns in the order of the shape, the sources of its values, and whether it reads rows
    that are kept per tenant.
    """
    sources: dict[str, Source] = {}
    binds: dict[str, Any] = {}
    for argument in arguments:
        value = value_of(argument.annotation)
        sources[argument.name] = _argument(argument, encoder(value, dialect))
        binds[argument.name] = sa.bindparam(argument.name, type_=sql_type(value, dialect))
    guards = _Guards(dialect, restricted, sources)
    rows = Rows(selection.table.module, plans, guards)
    clause = selection.function(rows, **binds)
    if not isinstance(clause, sa.Select | sa.CompoundSelect):
        raise Unmapped("it does not return a select", "Return sa.select(...).")
    found = clause.selected_columns.keys()
    if set(found) != set(names) or len(found) != len(names):
        raise Unmapped(
            f"it selects {', '.join(found)}; {selection.shape.__name__} has {', '.join(names)}",
            "Give the columns these names with .label(...).",
        )
    whole = clause.subquery("selected")
    ordered = sa.select(*(whole.c[name] for name in names)) if list(found) != list(names) else clause
    return ordered, sources, guards.tenanted


def _argument(argument: Argument, encode: Any) -> Source:
    def source(ctx: Read, own: Sequence[Any]) -> Any:
        value = own[argument.index]
        try:
            return None if value is None else encode(value)
        except Unfit as unfit:
            raise unfit.at(f"#/{argument.name}") from None

    return source


def bind_selection(selection: Selection[Any, ...], plans: Plans) -> list[Fault]:
    """Compile a select into its table's plan, or say what is wrong with it."""

    def compile() -> None:
        plan = plans[selection.table]
        plan.selections[selection] = SelectionPlan(selection, plans, plan.dialect)

    return _faults(compile, selection.place, f"selection {selection.name}", "selection", "See Table.selection.")


def bind_source(view: View[Any, Any], plans: Plans) -> list[Fault]:
    """Compile the select that a view is made from into its plan, or say what is wrong with it."""
    function = view.select_source
    if function is None:
        return []

    def compile() -> None:
        plan: Any = plans[view]
        names = [column.name for column in plan.mapping.columns]
        selection: Selection[Any, ...] = Selection(view, view.shape, function)
        clause, sources, tenanted = _selected(selection, plans, (), names, plan.dialect, restricted=False)
        insert = sa.insert(plan.table).from_select(names, clause)
        plan.selected = Query.compiled(insert, plan.dialect, sources, tenanted=tenanted or plan.tenanted)

    mend = "Write a function of `rows` alone that returns sa.select(...) with the columns of the shape."
    return _faults(compile, place_of(function), f"source of {view.id}", "view-source", mend)


def _faults(compile: Callable[[], None], place: Place, title: str, rule: str, mend: str) -> list[Fault]:
    try:
        compile()
    except Foreign as foreign:
        problem, mend = str(foreign), "Select from this module's tables, and call an operation for the rest."
    except Unmapped as unmapped:
        problem, mend = str(unmapped), unmapped.mend
    except Exception as error:
        problem = f"{type(error).__name__}: {error}"
    else:
        return []
    return [Fault(rule=rule, place=place, problem=f"{title}: {problem}", mend=mend)]
