"""How a shape becomes a row: its columns, and codecs that are generated once for them.

The generated functions name every field and call only the codecs that a column needs, so that a row costs little more
than the objects in it. For ``Product(id: UUID, price: Money)`` on SQLite they read::

    def encode(row):
        return (e0(row.id), e1(row.price.amount), e2(row.price.currency),)

    def decode_one(row):
        (v0, v1, v2,) = row
        return s0(id=d0(v0), price=s1(amount=d1(v1), currency=v2))

    def decode_all(rows):
        (c0, c1, c2,) = zip(*rows)
        c0 = b0(c0)                                           # all identifiers in one call
        c1 = b1(c1)
        return [s0(id=v0, price=s1(amount=v1, currency=v2)) for v0, v1, v2, in zip(c0, c1, c2)]
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar

import msgspec

from trivet.core.patch import nested_shape
from trivet.core.shape import constructor
from trivet.core.typeinfo import fields_of
from trivet.data.columns import Codec, Unmapped, Value, value_of
from trivet.data.database import Dialect, Row
from trivet.data.decoding import batch_decoder, decoder
from trivet.data.encoding import Unfit, encoder

T = TypeVar("T", bound=msgspec.Struct)
Path = tuple[str, ...]


class Column(msgspec.Struct, frozen=True):
    """One column of a shape.

    Attributes:
        name: In the database: the path joined by underscores.
        path: From the row object to the value.
        value: What it holds.
    """

    name: str
    path: Path
    value: Value

    def __hash__(self) -> int:
        return hash(self.name)  # an annotation need not be hashable


class Problem(msgspec.Struct, frozen=True):
    """A field that has no column."""

    field: str
    problem: str
    mend: str


def columns_of(shape: type[msgspec.Struct]) -> tuple[list[Column], list[Problem]]:
    """Return the columns of a shape, in the order of its fields, and what stands in the way of others."""
    columns: list[Column] = []
    problems: list[Problem] = []
    for path, annotation in _leaves(shape, ()):
        try:
            columns.append(Column("_".join(path), path, value_of(annotation)))
        except (Unmapped, TypeError) as unmapped:
            mend = getattr(unmapped, "mend", "Use a type that msgspec knows.")
            problems.append(Problem(".".join(path), str(unmapped), mend))
    seen: dict[str, Column] = {}
    for column in columns:
        other = seen.setdefault(column.name, column)
        if other is not column:
            what = f"{'.'.join(other.path)} has the same column, {column.name}"
            problems.append(Problem(".".join(column.path), what, "Rename one of the fields."))
    return columns, problems


def _leaves(shape: type[msgspec.Struct], above: Path) -> Iterator[tuple[Path, Any]]:
    for field in fields_of(shape):
        inner = nested_shape(field.type)
        if inner is not None and inner.__struct_fields__:
            yield from _leaves(inner, (*above, field.name))
        else:
            yield (*above, field.name), field.type


class UnreadableRow(Exception):
    """The database holds a value that the shape does not know: the shapes changed and the data did not."""


class Mapping(Generic[T]):
    """A shape and its rows on one dialect.

    Args:
        shape: Whose columns all can be mapped.
        columns: From :func:`columns_of`.
        dialect: Whose driver gives and takes the rows.

    Attributes:
        encode_row: Turns an object into a row, in the order of the columns; raises `Unfit` or `TypeError`.
    """

    def __init__(self, shape: type[T], columns: Sequence[Column], dialect: Dialect) -> None:
        self.shape = shape
        self.columns = tuple(columns)
        self.encoders = [encoder(column.value, dialect) for column in columns]
        self._decoders = [decoder(column.value, dialect) for column in columns]
        self.encode_row: Callable[[T], Row] = self._generate_encode()
        self._decode_one: Callable[[Row], T] = self._generate_decode_one()
        self._decode_all: Callable[[Sequence[Row]], list[T]] = self._generate_decode_all(dialect)

    def encode(self, row: T) -> Row:
        """Return the values of a row, in the order of the columns.

        Raises:
            InvalidArgument: A column can not hold its value.
            OutOfRange: A number is too large for its column.
        """
        try:
            return self.encode_row(row)
        except Unfit:
            for column, encode in zip(self.columns, self.encoders, strict=True):
                value = value_at(row, column.path)
                try:
                    if value is not None:
                        encode(value)
                except Unfit as unfit:
                    raise unfit.at("#/" + "/".join(column.path)) from None
            raise

    def decode(self, row: Row) -> T:
        """Return the object of a row.

        Raises:
            UnreadableRow: Naming the column and the value.
        """
        try:
            return self._decode_one(row)
        except Exception as error:
            raise self._explain((row,)) from error

    def decode_all(self, rows: Sequence[Row]) -> list[T]:
        """Return the objects of rows; raises what `decode` raises."""
        if not rows:
            return []
        try:
            return self._decode_all(rows)
        except Exception as error:
            raise self._explain(rows) from error

    def _explain(self, rows: Sequence[Row]) -> UnreadableRow:
        for row in rows:
            for column, decode, value in zip(self.columns, self._decoders, row, strict=True):
                problem = f"column {column.name} of {self.shape.__name__} holds {value!r}"
                if value is None:
                    if not column.value.nullable:
                        return UnreadableRow(f"{problem}: migrate the data, or make the field optional")
                elif decode is not None:
                    try:
                        decode(value)
                    except Exception as error:
                        return UnreadableRow(f"{problem}, which is not {column.value.annotation}: {error}")
        return UnreadableRow(f"{self.shape.__name__} refuses the row")

    # -- generating

    def _generate_encode(self) -> Callable[[T], Row]:
        names: dict[str, Any] = {}
        parts: list[str] = []
        for index, column in enumerate(self.columns):
            names[f"e{index}"] = self.encoders[index]
            value = "row." + ".".join(column.path)
            none = f"None if {value} is None else " if column.value.nullable else ""
            parts.append(f"{none}e{index}({value})")
        source = f"def encode(row):\n    return ({', '.join(parts)},)\n"
        generated: Callable[[T], Row] = _compiled("encode", source, names)
        return generated

    def _generate_decode_one(self) -> Callable[[Row], T]:
        names: dict[str, Any] = {}
        values: dict[Path, str] = {}
        for index, (column, decode) in enumerate(zip(self.columns, self._decoders, strict=True)):
            values[column.path] = _decoded(index, column.value, decode, names)
        result = _constructor(self.shape, (), values, names)
        source = f"def decode_one(row):\n    {self._each('v')} = row\n    return {result}\n"
        generated: Callable[[Row], T] = _compiled("decode_one", source, names)
        return generated

    def _generate_decode_all(self, dialect: Dialect) -> Callable[[Sequence[Row]], list[T]]:
        names: dict[str, Any] = {}
        values: dict[Path, str] = {}
        lines: list[str] = []
        for index, (column, decode) in enumerate(zip(self.columns, self._decoders, strict=True)):
            batch = batch_decoder(column.value, dialect)
            if batch is not None:
                names[f"b{index}"] = batch
                lines.append(f"    c{index} = b{index}(c{index})\n")
                decode = None
            values[column.path] = _decoded(index, column.value, decode, names)
        result = _constructor(self.shape, (), values, names)
        source = (
            f"def decode_all(rows):\n    {self._each('c')} = zip(*rows)\n{''.join(lines)}"
            f"    return [{result} for {self._each('v')} in zip{self._each('c')}]\n"
        )
        generated: Callable[[Sequence[Row]], list[T]] = _compiled("decode_all", source, names)
        return generated

    def _each(self, letter: str) -> str:
        return f"({', '.join(f'{letter}{index}' for index in range(len(self.columns)))},)"


def _decoded(index: int, value: Value, decode: Codec | None, names: dict[str, Any]) -> str:
    """Return the expression for the value of a column, and put what it calls among the names."""
    if decode is None:
        return f"v{index}"
    names[f"d{index}"] = decode
    none = f"None if v{index} is None else " if value.nullable else ""
    return f"{none}d{index}(v{index})"


def _constructor(shape: type[msgspec.Struct], above: Path, values: dict[Path, str], names: dict[str, Any]) -> str:
    name = f"s{len([each for each in names if each.startswith('s')])}"
    names[name] = constructor(shape)
    parts: list[str] = []
    for field in fields_of(shape):
        path = (*above, field.name)
        inner = nested_shape(field.type)
        text = values[path] if path in values or inner is None else _constructor(inner, path, values, names)
        parts.append(f"{field.name}={text}")
    return f"{name}({', '.join(parts)})"


def _compiled(name: str, source: str, names: dict[str, Any]) -> Any:
    exec(compile(source, f"<generated {name}>", "exec"), names)  # noqa: S102 - made of field names, not of input
    return names[name]


def value_at(row: Any, path: Path) -> Any:
    """Return the value at a path of attributes."""
    for name in path:
        row = getattr(row, name)
    return row
