"""Rows as the bytes of a file: CSV (RFC 4180) for people and their spreadsheets, NDJSON for programs."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from typing import Any

import msgspec

from trivet.core.patch import nested_shape
from trivet.core.typeinfo import fields_of

Write = Callable[[Sequence[Any]], bytes]
"""Turns rows of one shape into bytes; the first call, be it without rows, also writes what comes before all of them."""

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""A text that begins so is a formula to a spreadsheet: it could fetch or send (OWASP, "CSV Injection")."""

MEDIA_TYPES = {"csv": "text/csv; charset=utf-8; header=present", "ndjson": "application/x-ndjson"}
"""What a file is, by the ending of its name."""


def writer(ending: str, shape: type[Any] | None) -> Write:
    """Return what writes the rows of one file, by the ending of its name: one of `MEDIA_TYPES`.

    Raises:
        TypeError: Its columns would depend on the first row, and so be missing where there is none.
    """
    if ending != "csv":
        return ndjson
    if shape is None:
        raise TypeError("a CSV has a header even without rows: say which, as in ctx.export(rows, name=..., shape=Item)")
    return Csv(shape)


def ndjson(rows: Sequence[Any]) -> bytes:
    """Return a line of JSON for each row, as REST answers it."""
    return b"".join(_JSON.encode(row) + b"\n" for row in rows)


_JSON = msgspec.json.Encoder(decimal_format="string")


class Csv:
    """Rows as lines of values, below a line of names.

    A nested shape has a column for each of its fields (``total.amount``); lists, maps and unions are JSON. ``None`` is
    empty. A text that a spreadsheet would take for a formula gets an apostrophe in front; numbers stay what they are.
    """

    def __init__(self, shape: type[Any]) -> None:
        self._shape = shape
        self._paths = list(_paths(shape, ()))
        self._begun = False

    def __call__(self, rows: Sequence[Any]) -> bytes:
        """Return a line for each row, the first time below the names.

        Raises:
            TypeError: A row is of another shape.
        """
        text = io.StringIO()
        lines = csv.writer(text)
        if not self._begun:
            self._begun = True
            lines.writerow(".".join(path) for path in self._paths)
        for row in rows:
            if type(row) is not self._shape:
                raise TypeError(f"a {type(row).__name__} in a file of {self._shape.__name__}: rows are of one shape")
            lines.writerow(_cell(_at(row, path)) for path in self._paths)
        return text.getvalue().encode()


def _paths(shape: type[msgspec.Struct], above: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for field in fields_of(shape):
        inner = nested_shape(field.type)
        if inner is not None and inner.__struct_fields__:
            yield from _paths(inner, (*above, field.name))
        else:
            yield (*above, field.name)


def _at(row: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        row = getattr(row, name)
    return row


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    plain = msgspec.to_builtins(value)
    if isinstance(plain, str) and not isinstance(value, Decimal):
        return f"'{plain}" if plain.startswith(FORMULA) else plain
    if isinstance(plain, str | int | float) and not isinstance(plain, bool):
        return plain
    return _JSON.encode(value).decode()
