"""What a table declares, resolved: names become columns, functions become trees, and what is wrong becomes faults."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from trivet.core.fault import Fault, Place, place_of
from trivet.core.patch import accepts_none
from trivet.data.columns import ORDERED, Kind, Unmapped, Value, value_of
from trivet.data.expression import Argument, Compare, Constant, Field, Node, OneOf, children, equalities, leaves
from trivet.data.mapping import Column, columns_of
from trivet.data.relation import Listing, Relation, Unique
from trivet.data.search.declared import LANGUAGES, MAX_FIELDS, MAX_LEVELS
from trivet.data.sharding.placement import Placement
from trivet.data.trace import TraceError, trace_listing, trace_paths, trace_rule

MAX_OPTIONAL = 5
"""Arguments of a listing that may be absent: every combination is a statement of its own."""

Order = tuple[tuple[Column, bool], ...]
"""Columns, and whether each descends."""


class ResolvedListing(msgspec.Struct, frozen=True):
    """A listing, resolved.

    Attributes:
        declared: What it was resolved from.
        node: Its condition, with every argument present.
        arguments: In the order of the function.
        order: With the key at its end.
        bind: Turns a call's arguments into a tuple.
        parent: The column that the first argument is compared with for equality.
        pinned: The argument that is always the shard key of every row, so that one shard has them all.
    """

    declared: Listing[Any, ...]
    node: Node
    arguments: tuple[Argument, ...]
    order: Order
    bind: Callable[..., tuple[Any, ...]]
    parent: Column | None
    pinned: int | None = None


class ResolvedTable(msgspec.Struct, frozen=True):
    """A table, resolved; its dialect is still open."""

    declared: Relation[Any, Any]
    name: str
    columns: tuple[Column, ...]
    key: tuple[Column, ...]
    uniques: tuple[tuple[tuple[Column, ...], Unique], ...]
    indexes: tuple[tuple[Column, ...], ...]
    tenant: Column | None
    versioned: bool
    readable: Node
    writable: Node
    listings: tuple[ResolvedListing, ...]
    placement: Placement | None = None
    search: tuple[tuple[Column, ...], ...] = ()


class Faults:
    """Collects what is wrong with one table."""

    def __init__(self, table: Relation[Any, Any]) -> None:
        self._title = f"table {table.module.name}.{table.shape.__name__}"
        self._place = table.place
        self.found: list[Fault] = []

    def add(self, rule: str, problem: str, mend: str, place: Place | None = None) -> None:
        """Add a fault of the table, or of a function that belongs to it."""
        where = place if place is not None else self._place
        self.found.append(Fault(rule=rule, place=where, problem=f"{self._title}: {problem}", mend=mend))


def resolve(table: Relation[Any, Any]) -> tuple[ResolvedTable | None, list[Fault]]:
    """Return a table as its functions and names mean it, or everything that is wrong with it."""
    faults = Faults(table)
    columns, problems = columns_of(table.shape)
    for each in problems:
        faults.add("table-column", f"field {each.field}: {each.problem}", each.mend)
    shape = table.shape.__name__
    key = _fields(table.key, "key", shape, columns, faults)
    for column in key:
        if column.value.nullable or column.value.kind not in ORDERED:
            what = f"key {_dotted(column)} is {'optional' if column.value.nullable else column.value.kind.value}"
            faults.add("table-key", what, "Use an id, text, an integer or an instant that is always there.")
    if not key:
        return None, faults.found
    tenant = _tenant(table, shape, columns, faults)
    readable = _rule(table.readable, "readable", shape, columns, faults)
    writable = _rule(table.writable, "writable", shape, columns, faults)
    uniques = [(_paths(each.fields, columns, "unique", faults), each) for each in table.unique]
    indexes = [_paths(each, columns, "indexes", faults) for each in table.indexes]
    listings = [_listing(each, shape, columns, key, faults) for each in table.listings]
    placement = _placement(table, key, tenant, uniques, columns, faults)
    search = _search(table, columns, faults)
    if faults.found or readable is None or writable is None:
        return None, faults.found
    resolved = ResolvedTable(
        declared=table,
        name=table.name,
        columns=tuple(columns),
        key=tuple(key),
        uniques=tuple((_with_tenant(tenant, found), each) for found, each in uniques),
        indexes=tuple(indexes),
        tenant=tenant,
        versioned=any(c.path == ("version",) and c.value == value_of(int) for c in map(_unbounded, columns)),
        readable=readable,
        writable=writable,
        listings=tuple(_pinned(each, placement) for each in listings if each is not None),
        placement=placement,
        search=search,
    )
    for listed in resolved.listings:
        _all_shards(listed, resolved, faults)
    return (None if faults.found else resolved), faults.found


def _unbounded(column: Column) -> Column:
    value = column.value
    plain = Value(value.kind, int, value.nullable) if value.kind is Kind.INTEGER and value.members is None else value
    return Column(column.name, column.path, plain)


def _dotted(column: Column) -> str:
    return ".".join(column.path)


def _with_tenant(tenant: Column | None, columns: tuple[Column, ...]) -> tuple[Column, ...]:
    return columns if tenant is None or tenant in columns else (tenant, *columns)


def _fields(
    function: Callable[[Any], Any], name: str, shape: str, columns: Sequence[Column], faults: Faults
) -> tuple[Column, ...]:
    try:
        return tuple(trace_paths(function, shape, columns))
    except TraceError as error:
        faults.add(f"table-{name}", f"{name}: {error}", error.mend)
        return ()


def _tenant(table: Relation[Any, Any], shape: str, columns: Sequence[Column], faults: Faults) -> Column | None:
    if table.tenant is None:
        return None
    found = _fields(table.tenant, "tenant", shape, columns, faults)
    for column in found:
        if column.value.kind is not Kind.TEXT or column.value.nullable or len(found) > 1:
            faults.add(
                "table-tenant", f"tenant {_dotted(column)} is not one required text", "Keep it in a `str` field."
            )
    return found[0] if found else None


def _rule(
    rule: Callable[..., bool] | None, name: str, shape: str, columns: Sequence[Column], faults: Faults
) -> Node | None:
    if rule is None:
        who = "read" if name == "readable" else "write"
        mend = f"Write {name}=lambda who, row: …, or {name}=PUBLIC for everybody."
        faults.add(f"table-{name}", f"nothing says who may {who} a row", mend)
        return None
    try:
        node = trace_rule(rule, shape, columns)
        _fits(node)
    except TraceError as error:
        faults.add(f"table-{name}", f"{name}: {error}", error.mend, place_of(rule))
        return None
    return node


def _paths(fields: Iterable[str], columns: Sequence[Column], name: str, faults: Faults) -> tuple[Column, ...]:
    found: list[Column] = []
    for field in fields:
        column = next((each for each in columns if _dotted(each) == field), None)
        if column is None:
            known = ", ".join(_dotted(each) for each in columns)
            faults.add("table-field", f"{name}: there is no stored field {field!r}", f"It has {known}.")
        elif column.value.kind is Kind.JSON:
            faults.add("table-field", f"{name}: {field} is kept as JSON", "Name a field that has a column of its own.")
        else:
            found.append(column)
    return tuple(found)


# -- search


def _search(table: Relation[Any, Any], columns: Sequence[Column], faults: Faults) -> tuple[tuple[Column, ...], ...]:
    declared = table.searched
    if declared is None:
        return ()
    levels = tuple(_paths(level, columns, "search", faults) for level in declared.levels)
    found = [column for level in levels for column in level]
    for column in found:
        if column.value.kind is not Kind.TEXT or column.value.members is not None:
            mend = "Search in fields that hold text."
            faults.add("table-search", f"search: {_dotted(column)} is {_type_name(column.value)}", mend)
    if not all(declared.levels) or len(levels) > MAX_LEVELS or not found or len(found) > MAX_FIELDS:
        mend = f"Name 1 to {MAX_FIELDS} fields on at most {MAX_LEVELS} levels: put those that count alike in a tuple."
        faults.add("table-search", f"search: {len(found)} fields on {len(levels)} levels", mend)
    if len(set(found)) < len(found):
        faults.add("table-search", "search: a field is named twice", "Name it once, where it counts most.")
    if declared.language not in LANGUAGES:
        problem = f"search: there is no language {declared.language!r}"
        faults.add("table-search", problem, f"These are known: {', '.join(sorted(LANGUAGES))}.")
    return levels


# -- shards


def _placement(
    table: Relation[Any, Any],
    key: tuple[Column, ...],
    tenant: Column | None,
    uniques: Sequence[tuple[tuple[Column, ...], Unique]],
    columns: Sequence[Column],
    faults: Faults,
) -> Placement | None:
    if table.shard_by is None:
        if table.scatter is not None:
            faults.add("table-shard", "scatter without shard_by", "Leave it out: all rows are in one place.")
        return None
    found = _fields(table.shard_by, "shard", table.shape.__name__, columns, faults)
    if not found:
        return None
    column = found[0]
    value = column.value
    if len(found) > 1 or value.nullable or value.members is not None or value.kind not in SHARD_KINDS:
        mend = "Shard by one field that is always there: an id, text or an integer."
        faults.add("table-shard", f"shard_by names {', '.join(map(_dotted, found))}", mend)
        return None
    name = _dotted(column)
    if column not in key and column != tenant and [each.value.kind for each in key] != [Kind.UUID]:
        faults.add(
            "table-shard",
            f"a row can not be found by its key: {name}, which it is sharded by, is not part of that",
            f"Add {name} to the key, or make the key an id from ctx.new_id(beside={name}).",
        )
    for fields, _ in uniques:
        if column not in fields and column != tenant:
            faults.add(
                "table-shard",
                f"unique {', '.join(map(_dotted, fields))}: rows on other shards can not be seen",
                f"Add {name} to it, or keep a table that is sharded by what is unique and claim the value there first.",
            )
    for selection in table.selections:
        mend = "Write a listing, or keep a table for it that events fill."
        faults.add("table-shard", f"selection {selection.name} would see one node only", mend, selection.place)
    return Placement(f"{table.module.name}.{table.shape.__name__}", column, key, tenant, table.scatter)


SHARD_KINDS = (Kind.UUID, Kind.TEXT, Kind.INTEGER)


def _pinned(listing: ResolvedListing, placement: Placement | None) -> ResolvedListing:
    if placement is None:
        return listing
    for column, other in equalities(listing.node):
        if column == placement.column and isinstance(other, Argument) and not other.optional:
            return msgspec.structs.replace(listing, pinned=other.index)
    return listing


def _all_shards(listing: ResolvedListing, table: ResolvedTable, faults: Faults) -> None:
    """Find fault with a list that one shard does not have, where nobody said that all may be asked."""
    placement = table.placement
    if placement is None or placement.scatter or listing.pinned is not None or placement.column == table.tenant:
        return
    name = _dotted(placement.column)
    faults.add(
        "table-shard",
        f"listing {listing.declared.name} reads every shard",
        f"Compare {name} with an argument that is always there, or write Table(..., scatter=NODES) to let one read ask "
        "so many nodes at most.",
        listing.declared.place,
    )


# -- listings


def _listing(
    listing: Listing[Any, ...], shape: str, columns: Sequence[Column], key: tuple[Column, ...], faults: Faults
) -> ResolvedListing | None:
    title = f"listing {listing.name}"
    before = len(faults.found)
    order = _order(listing, columns, key, faults)
    try:
        arguments, bind = signature_of(listing.function)
    except TypeError as error:
        faults.add("listing", f"{title}: {error}", "Give every argument a name and a type.", listing.place)
        return None
    optional = sum(argument.optional for argument in arguments)
    if optional > MAX_OPTIONAL:
        mend = f"Make two listings: at most {MAX_OPTIONAL} arguments of one may be absent."
        faults.add("listing", f"{title}: {optional} optional arguments", mend, listing.place)
    try:
        node = trace_listing(listing.function, shape, columns, arguments)
        _fits(node)
    except TraceError as error:
        faults.add("listing", f"{title}: {error}", error.mend, listing.place)
        return None
    used = {leaf.index for leaf in leaves(node) if isinstance(leaf, Argument)}
    for argument in arguments:
        if argument.index not in used:
            mend = "Compare a field with it, or remove it."
            faults.add("listing", f"{title}: argument {argument.name} is not used", mend, listing.place)
    if len(faults.found) > before:
        return None
    parents = [column for column, other in equalities(node) if isinstance(other, Argument) and other.index == 0]
    return ResolvedListing(listing, node, arguments, order, bind, parents[0] if parents else None)


def _order(listing: Listing[Any, ...], columns: Sequence[Column], key: tuple[Column, ...], faults: Faults) -> Order:
    order: list[tuple[Column, bool]] = []
    for field in listing.order:
        name, descending = field.removeprefix("-"), field.startswith("-")
        column = next((each for each in columns if _dotted(each) == name), None)
        title = f"listing {listing.name}: order {field!r}"
        if column is None:
            known = ", ".join(_dotted(each) for each in columns)
            faults.add("listing-order", f"{title}: there is no such field", f"It has {known}.", listing.place)
        elif column.value.nullable or column.value.kind not in ORDERED:
            what = "may be None" if column.value.nullable else f"is {column.value.kind.value}"
            mend = "Order by fields that are always there and have an order."
            faults.add("listing-order", f"{title}: the field {what}", mend, listing.place)
        else:
            order.append((column, descending))
    named = {column.name for column, _ in order}
    last = order[-1][1] if order else False
    return (*order, *((column, last) for column in key if column.name not in named))


def signature_of(function: Callable[..., Any]) -> tuple[tuple[Argument, ...], Callable[..., tuple[Any, ...]]]:
    """Return the arguments after the first parameter, and a function that turns a call's into a tuple.

    Raises:
        TypeError: An argument has no type, or there are ``*args`` or ``**kwargs``.
    """
    parameters = list(inspect.signature(function).parameters.values())[1:]
    annotations = {p.name: p.annotation for p in parameters if p.annotation is not inspect.Parameter.empty}
    try:  # only the arguments' own: what the row is called, and what is returned, is for type checkers
        owner = types.SimpleNamespace(__annotations__=annotations)
        hints = typing.get_type_hints(owner, function.__globals__, include_extras=True)
    except Exception as unresolved:
        raise TypeError(f"an annotation can not be resolved: {unresolved}") from unresolved
    arguments: list[Argument] = []
    for parameter in parameters:
        if parameter.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD):
            raise TypeError(f"`*{parameter.name}` has no fixed arguments")
        if parameter.name not in hints:
            raise TypeError(f"argument {parameter.name} has no type")
        hint = hints[parameter.name]
        arguments.append(Argument(len(arguments), parameter.name, hint, accepts_none(hint)))
    return tuple(arguments), _binder(parameters)


def _binder(parameters: Sequence[inspect.Parameter]) -> Callable[..., tuple[Any, ...]]:
    """Return a function with these parameters that returns them as a tuple: faster than `Signature.bind`."""
    signature: list[str] = []
    names: dict[str, Any] = {}
    starred = False
    for index, parameter in enumerate(parameters):
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and not starred:
            signature.append("*")
            starred = True
        default = ""
        if parameter.default is not inspect.Parameter.empty:
            names[f"_{index}"] = parameter.default
            default = f"=_{index}"
        signature.append(f"{parameter.name}{default}")
    result = "".join(f"{parameter.name}, " for parameter in parameters)
    bind: Callable[..., tuple[Any, ...]] = eval(f"lambda {', '.join(signature)}: ({result})", names)  # noqa: S307 - identifiers
    return bind


# -- do the sides of a comparison fit?


def _fits(node: Node) -> None:
    """Raise `TraceError` for a comparison that could only ever fail: an id with text, a number with an enumeration."""
    for child in children(node):
        _fits(child)
    if not isinstance(node, Compare | OneOf):
        return
    sides = children(node)
    column = next((side.column for side in sides if isinstance(side, Field)), None)
    if column is None:
        return
    for side in sides:
        if isinstance(side, Argument):
            told = _told(side.annotation, many=isinstance(node, OneOf))
            if told is not None and not _alike(told, column.value):
                raise TraceError(
                    f"{_dotted(column)} is {_type_name(column.value)}, argument {side.name} is {_type_name(told)}",
                    "Give the argument the field's type.",
                )
        elif not isinstance(side, Field | Constant) and (
            column.value.kind is not Kind.TEXT or column.value.members is not None
        ):
            raise TraceError(
                f"{_dotted(column)} is {_type_name(column.value)}, what is known about the caller is text",
                "Keep it in a `str` field.",
            )


def _alike(argument: Value, column: Value) -> bool:
    if argument.members is not None or column.members is not None:
        return argument.members is column.members
    numbers = {Kind.INTEGER, Kind.FLOAT} if column.kind is Kind.FLOAT else {Kind.INTEGER, Kind.DECIMAL}
    return argument.kind is column.kind or (column.kind in (Kind.FLOAT, Kind.DECIMAL) and argument.kind in numbers)


def _told(annotation: Any, *, many: bool) -> Value | None:
    """Return what the annotation of an argument says about its values, where that can be told."""
    try:
        if not many:
            return value_of(annotation)
        members = typing.get_args(annotation)
        if accepts_none(annotation):
            [collection] = [each for each in members if each is not type(None)]
            members = typing.get_args(collection)
        return value_of(members[0])
    except (Unmapped, TypeError, ValueError, IndexError):
        return None


def _type_name(value: Value) -> str:
    return value.members.__name__ if value.members is not None else value.kind.value
