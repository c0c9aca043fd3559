"""Conditions as SQL: the clause, and where its values come from when a request runs it.

Only the leaves are interesting: each yields a clause that is true exactly when its Python meaning is, and may be NULL
where that is false (`trivet.data.expression` says why that suffices). Plain ``=`` is used wherever one side can not be
NULL, so that indexes serve.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa

from trivet.core.context import Read
from trivet.data.columns import Codec, Kind, Value
from trivet.data.database import Dialect
from trivet.data.encoding import Unfit, encoder
from trivet.data.expression import (
    Always,
    And,
    Argument,
    Claim,
    Compare,
    Constant,
    Contains,
    Field,
    Node,
    Not,
    OneOf,
    Or,
    StartsWith,
    Truth,
    about_caller,
    children,
    predicate,
)
from trivet.data.sqltypes import sql_type
from trivet.data.statement import any_of, list_value

Source = Callable[[Read, Sequence[Any]], Any]
"""Takes one value of a statement, as the driver takes it, from the context and the statement's own arguments."""

MAX_PATTERN = 10_000
"""Characters of a part to be looked for; engines refuse patterns that are much longer."""


class Given:
    """One of the statement's own arguments as it is.

    Args:
        index: Which one.
    """

    __slots__ = ("index",)

    def __init__(self, index: int) -> None:
        self.index = index

    def __call__(self, ctx: Read, own: Sequence[Any]) -> Any:
        """Return it."""
        return own[self.index]


class Encoded:
    """One of the statement's own arguments, encoded for a column.

    Args:
        index: Which one.
        encode: Raises `Unfit`.
        pointer: To the argument, for whoever sent it.
    """

    __slots__ = ("encode", "index", "pointer")

    def __init__(self, index: int, encode: Codec, pointer: str) -> None:
        self.index = index
        self.encode = encode
        self.pointer = pointer

    def __call__(self, ctx: Read, own: Sequence[Any]) -> Any:
        """Return it; raises the error for whoever sent what does not fit."""
        try:
            return self.encode(own[self.index])
        except Unfit as unfit:
            raise unfit.at(self.pointer) from None


class UnfitConstant(Exception):
    """A constant in a rule that its field can not hold."""


class Where:
    """Compiles conditions over one table for one dialect, and collects the sources of their values.

    One instance serves one statement. A listing's arguments come first among the statement's own.

    Args:
        table: The columns.
        dialect: Of the driver that runs the statement.

    Attributes:
        sources: One for each bound value, by its name in the statement.
    """

    def __init__(self, table: sa.FromClause, dialect: Dialect) -> None:
        self._table = table
        self._dialect: Dialect = dialect
        self.sources: dict[str, Source] = {}

    def bind(self, source: Source, type_: sa.types.TypeEngine[Any]) -> sa.BindParameter[Any]:
        """Return a parameter whose value the source gives."""
        name = f"p_{len(self.sources)}"
        self.sources[name] = source
        return sa.bindparam(name, type_=type_)

    def own(self, index: int, value: Value, name: str) -> sa.BindParameter[Any]:
        """Return a parameter for one of the statement's own arguments, encoded for a column."""
        return self.bind(Encoded(index, encoder(value, self._dialect), f"#/{name}"), self._type(value))

    def clause(self, node: Node) -> sa.ColumnElement[bool]:
        """Return the condition as SQL.

        Raises:
            UnfitConstant: A constant does not fit its field.
        """
        match node:
            case Always(value):
                return _always(value)
            case And(items):
                return sa.and_(*(self.clause(item) for item in items))
            case Or(items):
                return sa.or_(*(self.clause(item) for item in items))
        if about_caller(node):  # known before the row is, but not decided when the statement was compiled
            known = predicate(node)
            return self.bind(lambda ctx, own: int(known(ctx.principal, None, ())), sa.Integer()) == sa.literal_column(
                "1"
            )
        if isinstance(node, Not):
            return self._negated(node.leaf)
        return self._leaf(node)

    def _leaf(self, node: Node) -> sa.ColumnElement[bool]:
        match node:
            case Truth(Field(column)):
                return self._column(column.name) == self._constant(column.value, True)
            case Compare():
                return self._comparison(node)
            case OneOf(Field(column), Constant(options)):
                same = [self._column(column.name) == self._constant(column.value, option) for option in options]
                return sa.or_(*same) if same else _always(False)
            case OneOf(Field(column), options):
                read = self._raw(options)
                encode = encoder(column.value, self._dialect)
                dialect = self._dialect

                def members(ctx: Read, own: Sequence[Any]) -> Any:
                    values = [encode(each) for each in read(ctx, own) if each is not None]
                    return list_value(values, dialect)

                name = f"p_{len(self.sources)}"
                self.sources[name] = _pointed(members, _name_of(options))
                return any_of(self._column(column.name), name, dialect)  # type: ignore[no-any-return]  # is a clause
            case Contains(Field(column), part):
                pattern = self._text(part, _pattern)
                text = self._column(column.name)
                if self._dialect == "sqlite":  # whose LIKE ignores the case of ASCII letters, and only of those
                    return text.like(pattern, escape="\\")
                return text.ilike(pattern, escape="\\")  # under COLLATE "C", where only ASCII letters have cases
            case StartsWith(Field(column), prefix):
                text = self._column(column.name)
                start = self._text(prefix, _checked)
                return sa.and_(text >= start, sa.func.substr(text, 1, sa.func.length(start)) == start)
        raise AssertionError(node)

    def _negated(self, leaf: Node) -> sa.ColumnElement[bool]:
        """Return what is true exactly when the leaf is not, NULL included."""
        unknown = [self._operand(side).is_(None) for side in self._nullable(leaf)]
        return sa.or_(sa.not_(self._leaf(leaf)), *unknown)

    def _nullable(self, leaf: Node) -> list[Node]:
        return [
            side
            for side in children(leaf)
            if (isinstance(side, Field) and side.column.value.nullable)
            or (isinstance(side, Claim) and side.nullable)
            or side == Constant(None)
        ]

    # -- comparisons

    def _comparison(self, node: Compare) -> sa.ColumnElement[bool]:
        value = next(side.column.value for side in (node.left, node.right) if isinstance(side, Field))
        left: sa.ColumnElement[Any] = self._operand(node.left, value)
        right: sa.ColumnElement[Any] = self._operand(node.right, value)
        nullable = len(self._nullable(node))
        if node.op == "==":
            if nullable == 2:
                return left.is_not_distinct_from(right)
            return left == right
        if node.op == "!=":
            return left.is_distinct_from(right) if nullable else left != right
        if Constant(None) in (node.left, node.right):
            return _always(False)
        return {"<": left < right, "<=": left <= right, ">": left > right, ">=": left >= right}[node.op]

    def _operand(self, node: Node, value: Value | None = None) -> Any:
        match node:
            case Field(column):
                return self._column(column.name)
            case Constant(None):
                return sa.null()
            case Constant(constant):
                assert value is not None
                return self._constant(value, constant)
        if value is None:  # only asked whether it is NULL
            read = self._raw(node)
            return self.bind(read, sa.Text())
        encode = encoder(value, self._dialect)
        if isinstance(node, Argument):
            return self.bind(Encoded(node.index, encode, f"#/{node.name}"), self._type(value))
        read = self._raw(node)

        def claim(ctx: Read, own: Sequence[Any]) -> Any:
            found = read(ctx, own)
            return None if found is None else encode(found)

        return self.bind(claim, self._type(value))

    def _constant(self, value: Value, constant: Any) -> sa.BindParameter[Any]:
        try:
            encoded = encoder(value, self._dialect)(constant)
        except (Unfit, TypeError) as unfit:
            raise UnfitConstant(f"{constant!r}: {unfit}") from unfit
        return sa.bindparam(None, encoded, type_=self._type(value), unique=True)

    def _text(self, node: Node, transform: Codec) -> sa.BindParameter[Any]:
        if isinstance(node, Constant):
            return sa.bindparam(None, transform(node.value), type_=sa.Text(), unique=True)
        read = self._raw(node)

        def text(ctx: Read, own: Sequence[Any]) -> Any:
            found = read(ctx, own)
            return None if found is None else transform(found)

        return self.bind(_pointed(text, _name_of(node)), sa.Text())

    def _raw(self, node: Node) -> Source:
        """Return the value of an argument or of a claim as Python has it."""
        match node:
            case Argument(index):
                return Given(index)
            case Claim(_, read):
                return lambda ctx, own: read(ctx.principal)
        raise AssertionError(node)

    def _column(self, name: str) -> sa.ColumnElement[Any]:
        return self._table.c[name]

    def _type(self, value: Value) -> sa.types.TypeEngine[Any]:
        return sql_type(value, self._dialect)


def _always(value: bool) -> sa.ColumnElement[bool]:
    """Return a constant that SQLAlchemy does not simplify: it would drop neighbours whose values are counted."""
    one: sa.ColumnElement[int] = sa.literal_column("1")
    return one == sa.literal_column("1" if value else "0")


def _pointed(source: Source, name: str) -> Source:
    def pointed(ctx: Read, own: Sequence[Any]) -> Any:
        try:
            return source(ctx, own)
        except Unfit as unfit:
            raise unfit.at(f"#/{name}") from None

    return pointed


def _name_of(node: Node) -> str:
    return node.name if isinstance(node, Argument | Claim) else ""


def _checked(text: Any) -> str:
    checked: str = encoder(_TEXT, "sqlite")(text)
    if len(checked) > MAX_PATTERN:
        raise Unfit(f"must have at most {MAX_PATTERN} characters")
    return checked


def _pattern(part: Any) -> str:
    """Return a LIKE pattern that matches texts with the part in them."""
    escaped = _checked(part).replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"


_TEXT = Value(Kind.TEXT, str)
