"""What a table runs: every statement of every verb, compiled when the app is built.

Each verb has one statement for each form of the rule that governs it (`trivet.data.rule`); a listing has one for each
combination of its optional arguments besides. A request picks one by index and fills in values.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Generic, TypeVar
from uuid import UUID

import msgspec
import sqlalchemy as sa

from trivet.core.context import Read
from trivet.data.access import tenant_of
from trivet.data.assembly import HOLE, Part, filled, part_of, statement_of
from trivet.data.columns import Kind, Value
from trivet.data.database import Dialect
from trivet.data.encoding import Unfit, encoder
from trivet.data.expression import TRUE, And, Argument, Compare, Node, all_of, equalities, predicate, without
from trivet.data.mapping import Column, Mapping, value_at
from trivet.data.pagetoken import context_of
from trivet.data.relation import Listing, Relation, Selection, Unique
from trivet.data.resolve import ResolvedListing, ResolvedTable
from trivet.data.rule import Rule
from trivet.data.sharding.tables import SHARD_COLUMN
from trivet.data.statement import Insert, Statement, any_of, compiler, list_value
from trivet.data.values import values_of
from trivet.data.where import Given, Source, Where

T = TypeVar("T", bound=msgspec.Struct)

PYTHON_TYPES: dict[Kind, Any] = {
    Kind.UUID: UUID,
    Kind.TEXT: str,
    Kind.BOOLEAN: bool,
    Kind.INTEGER: int,
    Kind.FLOAT: float,
    Kind.DATE: date,
    Kind.TIME: time,
    Kind.INSTANT: datetime,
    Kind.DURATION: timedelta,
    Kind.DECIMAL: Decimal,
}
"""Types of order values in a page token; without the shape's bounds, which may have changed since the row was made."""


Builder = Callable[[Where, list[sa.ColumnElement[bool]]], Any]
"""Makes a statement: gets what its values are collected in, and the guard that it must put into its condition."""


class Query:
    """A statement, and where its values come from.

    Attributes:
        statement: Compiled.
        values: Takes the context and the verb's own arguments, and returns the statement's values.
    """

    __slots__ = ("statement", "values")

    def __init__(self, statement: Statement, sources: Iterable[Source]) -> None:
        self.statement = statement
        self.values = values_of(tuple(sources))

    @classmethod
    def compiled(cls, clause: sa.Executable, dialect: Dialect, sources: dict[str, Source], *, tenanted: bool) -> Query:
        """Compile a clause whose parameters are named as its sources."""
        statement = Statement(clause, tuple(sources), tenanted=tenanted)
        statement.on(dialect)
        return cls(statement, sources.values())


class Key(Generic[T]):
    """How a row is identified."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self.columns = tuple(columns)
        self.single = len(self.columns) == 1
        """Whether it has one field, and is that value by itself."""
        read = operator.attrgetter(*(".".join(column.path) for column in columns))
        self.of: Callable[[T], Any] = read
        """Returns the key of a row: a value, or a tuple where the key has several fields."""

    def parts(self, key: Any) -> tuple[Any, ...]:
        """Return a key as a tuple, whatever the number of its fields."""
        return (key,) if self.single else key


class TablePlan(Generic[T]):
    """Everything that the verbs of a table need.

    Args:
        resolved: The table.
        table: As SQL has it.
        dialect: Of the driver that runs it.
        signing_key: Signs page tokens.
    """

    def __init__(self, resolved: ResolvedTable, table: sa.Table, dialect: Dialect, signing_key: bytes) -> None:
        self.resolved = resolved
        self.table = table
        self.dialect: Dialect = dialect
        self.placement = resolved.placement
        self.routed = False  # until it is known that the app has a sharded table
        self.stored = [column for column in table.c if column.name != SHARD_COLUMN]
        self.signing_key = signing_key
        self.mapping: Mapping[T] = Mapping(resolved.declared.shape, resolved.columns, dialect)
        self.key: Key[T] = Key(resolved.key)
        self.versioned = resolved.versioned
        self.readable = Rule(resolved.readable)
        self.writable = Rule(resolved.writable)
        self.may_write = predicate(resolved.writable)
        self.tenanted = resolved.tenant is not None
        self.tenant_of_row: Callable[[T], str] | None = None
        if resolved.tenant is not None:
            self.tenant_of_row = operator.attrgetter(".".join(resolved.tenant.path))
        self.uniques: dict[frozenset[str], Unique] = {
            frozenset(column.name for column in columns): unique for columns, unique in resolved.uniques
        }
        # One piece of text: to compile a list of columns anew for each of many statements takes most of an app's start.
        quote = compiler(dialect).identifier_preparer.format_column
        every = ", ".join(quote(column) for column in self.stored)
        self.columns: sa.ColumnElement[Any] = sa.literal_column(every)
        self.select: sa.Select[Any] = sa.select(self.columns).select_from(table)
        self.name = f"{resolved.declared.module.name}.{resolved.name}"
        self._compile()
        self.listings: dict[Listing[T, Any], ListingPlan] = {
            each.declared: ListingPlan(self, each, f"{self.name}.{each.declared.name}") for each in resolved.listings
        }
        self.selections: dict[Selection[Any, Any], Any] = {}
        self.searches: dict[Listing[Any, Any], Any] = {}

    def shard_of(self, ctx: Read, key: Any) -> int | None:
        """Return the logical shard of the row with this key, ``None`` where the table is not sharded."""
        return None if self.placement is None else self.placement.of_key(ctx, key)

    def _compile(self) -> None:
        one, many = self._is_key, self._among_keys
        in_order = self.select.order_by(*(self.table.c[column.name] for column in self.key.columns))
        self.get = self.forms(self.readable, lambda where, guard: self.select.where(one(where), *guard))
        self.get_many = self.forms(self.readable, lambda where, guard: self.select.where(many(where), *guard))
        self.lock = self.forms(
            self.readable, lambda where, guard: self.select.where(one(where), *guard).with_for_update()
        )
        self.lock_many = self.forms(
            self.readable, lambda where, guard: in_order.where(many(where), *guard).with_for_update()
        )
        self.insert = Insert(self.table)
        self.insert.on(self.dialect)
        self.update = self.forms(self.writable, self._update)
        delete = sa.delete(self.table)
        self.delete = self.forms(self.writable, lambda where, guard: delete.where(one(where), *guard))
        self.delete_version = self.delete
        if self.versioned:
            place = len(self.key.columns)
            self.delete_version = self.forms(
                self.writable,
                lambda where, guard: delete.where(one(where), self._is_version(where, place), *guard),
            )

    def forms(self, rule: Rule, build: Builder) -> list[Query]:
        """Return a query for each form of a rule; forms that say the same share one.

        Args:
            rule: Guards the statement, as the tenant does.
            build: Makes the statement around its guard.
        """
        queries: list[tuple[Node, Query]] = []
        for form in rule.forms:
            query = next((query for other, query in queries if other == form), None)
            if query is None:
                where = Where(self.table, self.dialect)
                clause = build(where, self.guard(where, form))
                query = Query.compiled(clause, self.dialect, where.sources, tenanted=self.tenanted)
            queries.append((form, query))
        return [query for _, query in queries]

    def guard(self, where: Where, node: Node) -> list[sa.ColumnElement[bool]]:
        """Return what every statement has in its condition: the tenant, and what a rule or a listing says."""
        guard: list[sa.ColumnElement[bool]] = []
        if self.resolved.tenant is not None:
            column = self.table.c[self.resolved.tenant.name]
            guard.append(column == where.bind(_tenant, column.type))
        if node != TRUE:
            guard.append(where.clause(node))
        return guard

    # -- conditions of the verbs

    def _is_key(self, where: Where) -> sa.ColumnElement[bool]:
        return sa.and_(
            *(
                self.table.c[column.name] == where.own(index, column.value, column.name)
                for index, column in enumerate(self.key.columns)
            )
        )

    def _among_keys(self, where: Where) -> sa.ColumnElement[bool]:
        encoders = [encoder(column.value, self.dialect) for column in self.key.columns]
        columns: list[sa.ColumnElement[Any]] = [self.table.c[column.name] for column in self.key.columns]
        dialect, parts, rows = self.dialect, self.key.parts, len(columns) > 1

        def keys(ctx: Read, own: Sequence[Any]) -> Any:
            try:
                if rows:
                    each = [tuple(e(part) for e, part in zip(encoders, parts(key), strict=True)) for key in own[0]]
                else:
                    each = [encoders[0](key) for key in own[0]]
            except Unfit as unfit:
                raise unfit.at("#/ids") from None
            return list_value(each, dialect, rows=rows)

        where.sources["keys"] = keys
        among: sa.ColumnElement[bool] = any_of(columns if rows else columns[0], "keys", dialect)
        return among

    def _is_version(self, where: Where, index: int) -> sa.ColumnElement[bool]:
        version = self.table.c["version"]
        return version == where.bind(Given(index), version.type)

    def _update(self, where: Where, guard: list[sa.ColumnElement[bool]]) -> Any:
        """Build the update: its own arguments are the encoded new row, then the expected version."""
        key = {column.name for column in self.key.columns}
        values: dict[str, Any] = {}
        conditions: list[sa.ColumnElement[bool]] = []
        for index, column in enumerate(self.stored):
            value = where.bind(Given(index), column.type)
            if column.name in key:
                conditions.append(column == value)
            else:
                values[column.name] = value
        if self.versioned:
            conditions.append(self._is_version(where, len(self.stored)))
        if not values:  # nothing but a key: to find the row is all there is to do
            values = {name: self.table.c[name] for name in key}
        return sa.update(self.table).values(values).where(*conditions, *guard)


Plans = dict[Relation[Any, Any], TablePlan[Any]]
"""What one app compiled, by table."""


class ListingPlan:
    """Everything that paging through a listing needs.

    Attributes:
        arguments: Turns a call's arguments into a tuple.
        first: Statements for a first page, by variant and form of the rule.
        next: The same for a page after a token.
        all_first: The same as `first` for shards that are given last, where a list is of every shard.
        all_next: The same as `next`.
        token_type: Of the order values in a token.
    """

    def __init__(self, plan: TablePlan[Any], resolved: ResolvedListing, name: str) -> None:
        self._plan = plan
        self._resolved = resolved
        self._name = name
        self._order = ",".join(f"{'-' * down}{column.name}" for column, down in resolved.order)
        self.arguments = resolved.bind
        self._optional = [(1 << bit, a.index) for bit, a in enumerate(a for a in resolved.arguments if a.optional)]
        self._required = [(a.index, a.name) for a in resolved.arguments if not a.optional]
        self.token_type: Any = tuple[tuple(_token_type(column.value) for column, _ in resolved.order)]  # type: ignore[misc]  # built from values
        self._parts: dict[Node, Part] = {}
        conditions = [self._condition(variant) for variant in range(1 << len(self._optional))]
        first, following = self._frame(after=False), self._frame(after=True)
        self.first = [self._forms(first, condition) for condition in conditions]
        self.next = [self._forms(following, condition) for condition in conditions]
        self.all_first: list[list[Query]] = []
        self.all_next: list[list[Query]] = []
        placement = plan.placement
        if placement is not None and placement.scatter and resolved.pinned is None:
            first, following = self._frame(after=False, every_shard=True), self._frame(after=True, every_shard=True)
            self.all_first = [self._forms(first, condition) for condition in conditions]
            self.all_next = [self._forms(following, condition) for condition in conditions]
        names = [column.name for column in plan.mapping.columns]
        self._order_places = [(names.index(column.name), down) for column, down in resolved.order]
        self._by_parent: dict[int, list[Query]] = {}
        if resolved.parent is not None:
            self._parent_encoder = encoder(resolved.parent.value, plan.dialect)
            present = next((bit for bit, index in self._optional if index == 0), 0)
            frame = self._parents_frame(resolved.parent)
            for variant, condition in enumerate(conditions):
                if variant & present == present:
                    rest = (item for item in conjuncts(condition) if not _compares(item, resolved.parent))
                    self._by_parent[variant] = self._forms(frame, all_of(*rest))

    def _condition(self, variant: int) -> Node:
        absent = {index for bit, index in self._optional if not variant & bit}
        found = without(self._resolved.node, absent)
        return TRUE if found is None else found

    def variant(self, arguments: Sequence[Any]) -> int:
        """Return which of the optional arguments are present, as bits.

        Raises:
            TypeError: One that is not optional is ``None``.
        """
        for index, name in self._required:
            if arguments[index] is None:
                raise TypeError(f"listing {self._name}: argument {name} is None; annotate it `| None` to leave it out")
        present = 0
        for bit, index in self._optional:
            if arguments[index] is not None:
                present |= bit
        return present

    def context(self, arguments: Sequence[Any]) -> bytes:
        """Return what tokens of the list with these arguments are bound to."""
        return context_of(self._name, self._order, arguments)

    def shard(self, ctx: Read, arguments: Sequence[Any]) -> int | None:
        """Return the logical shard that has the whole list, ``None`` where all shards have some of it."""
        placement = self._plan.placement
        if placement is None:
            return None
        if self._resolved.pinned is not None:
            return placement.of_value(arguments[self._resolved.pinned])
        return placement.of_tenant(ctx)

    def shard_of_parent(self, ctx: Read, parent: Any) -> int | None:
        """Return the logical shard that has the whole list of one parent, ``None`` where all shards have some of it."""
        placement = self._plan.placement
        if placement is None:
            return None
        if placement.column == self._resolved.parent:
            return placement.of_value(parent)
        return placement.of_tenant(ctx)

    def merged(self, parts: Iterable[Sequence[Any]]) -> list[Any]:
        """Return the rows of several nodes in the order of the list."""
        rows = [row for part in parts for row in part]
        for place, down in reversed(self._order_places):
            rows.sort(key=operator.itemgetter(place), reverse=down)
        return rows

    def items(self, rows: Sequence[Any]) -> list[Any]:
        """Return the objects of rows."""
        return self._plan.mapping.decode_all(rows)

    def position(self, item: Any, row: Any) -> tuple[Any, ...]:
        """Return the order values of an object, for a token; `row` is what it was made from."""
        return tuple(value_at(item, column.path) for column, _ in self._resolved.order)

    def by_parent(self, arguments: Sequence[Any]) -> list[Query]:
        """Return the statements for a page per parent, by form of the rule.

        Raises:
            TypeError: The first argument is no parent, or ``None``.
        """
        if self._resolved.parent is None:
            raise TypeError(f"listing {self._name}: its first argument is not compared with a field by ==")
        try:
            return self._by_parent[self.variant(arguments)]
        except KeyError:
            raise TypeError(f"listing {self._name}: a parent is None") from None

    def encode_parent(self, parent: Any) -> Any:
        """Return a parent as rows of `by_parent` have it in their last column."""
        return self._parent_encoder(parent)

    # -- compiling

    def _forms(self, frame: Part, condition: Node) -> list[Query]:
        """Return a query for each form of the rule; forms that say the same share one."""
        plan = self._plan
        queries: list[tuple[Node, Query]] = []
        for form in plan.readable.forms:
            node = all_of(condition, form)
            query = next((query for other, query in queries if other == node), None)
            if query is None:
                conditions = [self._part(item) for item in conjuncts(node) if item != TRUE]
                query = Query(*statement_of(filled(frame, conditions), plan.dialect, tenanted=plan.tenanted))
            queries.append((node, query))
        return [query for _, query in queries]

    def _part(self, node: Node) -> Part:
        known = self._parts.get(node)
        if known is None:
            where = Where(self._plan.table, self._plan.dialect)
            known = self._parts[node] = part_of(where.clause(node), self._plan.dialect, where.sources)
        return known

    def _frame(self, *, after: bool, every_shard: bool = False) -> Part:
        """Return the statement for a page, with a hole for its conditions.

        Its own arguments are the listing's, the order values of a token, the limit, and with `every_shard` the list of
        shards that are looked at.
        """
        plan, arguments = self._plan, len(self._resolved.arguments)
        where = Where(plan.table, plan.dialect)
        select = plan.select.where(HOLE, *plan.guard(where, TRUE)).order_by(*self._order_by(plan.table))
        if after:
            select = select.where(self._after(where, arguments))
        if every_shard:
            select = select.where(self._among_shards(where))
        limit = arguments + (len(self._resolved.order) if after else 0)
        limited = select.limit(where.bind(Given(limit), sa.BigInteger()))
        return part_of(limited, plan.dialect, where.sources)

    def _among_shards(self, where: Where) -> sa.ColumnElement[bool]:
        """Return the condition that a row is of one of the shards that are given last."""
        dialect = self._plan.dialect
        where.sources["shards"] = lambda ctx, own: list_value(own[-1], dialect)
        among: sa.ColumnElement[bool] = any_of(self._plan.table.c[SHARD_COLUMN], "shards", dialect)
        return among

    def _order_by(self, table: sa.FromClause) -> list[sa.ColumnElement[Any]]:
        return [table.c[column.name].desc() if down else table.c[column.name] for column, down in self._resolved.order]

    def _after(self, where: Where, offset: int) -> sa.ColumnElement[bool]:
        """Return the rows after the cursor: one row comparison where all columns go one way, else the long form."""
        order = self._resolved.order
        table = self._plan.table
        columns = [table.c[column.name] for column, _ in order]
        values = [where.own(offset + i, column.value, "page_token") for i, (column, _) in enumerate(order)]
        if len(columns) == 1:
            return columns[0] < values[0] if order[0][1] else columns[0] > values[0]
        if len({down for _, down in order}) == 1:
            left, right = sa.tuple_(*columns), sa.tuple_(*values)
            return left < right if order[0][1] else left > right
        alternatives: list[sa.ColumnElement[bool]] = []
        for index, (_, down) in enumerate(order):
            same = [column == value for column, value in zip(columns[:index], values[:index], strict=True)]
            further = columns[index] < values[index] if down else columns[index] > values[index]
            alternatives.append(sa.and_(*same, further))
        start = columns[0] <= values[0] if order[0][1] else columns[0] >= values[0]  # where an index begins
        return sa.and_(start, sa.or_(*alternatives))

    def _parents_frame(self, parent: Column) -> Part:
        """Return the statement for the first page of each of several parents, with a hole for its conditions.

        Its own arguments are the parents, the listing's other arguments, and the limit.
        """
        plan, dialect, encode = self._plan, self._plan.dialect, self._parent_encoder

        def parents(ctx: Read, own: Sequence[Any]) -> Any:
            try:
                return list_value([encode(each) for each in own[0]], dialect)
            except Unfit as unfit:
                raise unfit.at(f"#/{self._resolved.arguments[0].name}") from None

        where = Where(plan.table, dialect)
        where.sources["parents"] = parents
        column = plan.table.c[parent.name]
        place = sa.func.row_number().over(partition_by=column, order_by=self._order_by(plan.table)).label("_place")
        among = any_of(column, "parents", dialect)
        ranked = sa.select(plan.columns, place).where(HOLE, among, *plan.guard(where, TRUE)).subquery("ranked")
        of: sa.ColumnElement[Any] = sa.column(parent.name)
        rank = sa.column("_place", sa.BigInteger())
        limit = where.bind(Given(len(self._resolved.arguments)), sa.BigInteger())
        outer = sa.select(plan.columns, of).select_from(ranked).where(rank <= limit).order_by(of, rank)
        return part_of(outer, dialect, where.sources)


def conjuncts(node: Node) -> Sequence[Node]:
    """Return the conditions that all have to hold."""
    return node.items if isinstance(node, And) else (node,)


def _compares(node: Node, parent: Column) -> bool:
    return isinstance(node, Compare) and any(
        column == parent and isinstance(other, Argument) and other.index == 0 for column, other in equalities(node)
    )


def _token_type(value: Value) -> Any:
    return value.members if value.members is not None else PYTHON_TYPES[value.kind]


def _tenant(ctx: Read, own: Sequence[Any]) -> str:
    return tenant_of(ctx)
