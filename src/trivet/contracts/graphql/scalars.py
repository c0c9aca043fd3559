"""The scalars, and what a client may write for each; SEMANTICS of values are the same on every protocol.

==========  ============================  =======================================
Long        ``int``                       an integer within ±(2^53 - 1)
Decimal     ``Decimal``                   a text with a decimal number, exact
DateTime    ``datetime``                  RFC 3339 with an offset
Date        ``date``                      RFC 3339 full-date
Time        ``time``                      RFC 3339 partial-time
Duration    ``timedelta``                 ISO 8601, such as ``PT1H30M``
Base64      ``bytes``                     RFC 4648 section 4
JSON        maps, ``Any``, fixed tuples   any JSON value
==========  ============================  =======================================

``ID`` stands for UUIDs; `Int`, `Float`, `String` and `Boolean` are GraphQL's own.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec

from trivet.core.shape import Struct
from trivet.core.value import MAX_SAFE_INTEGER


class Custom(Struct):
    """A scalar of ours.

    Attributes:
        description: What it is.
        specified_by: Where it is specified.
        accept: Returns the JSON that is decoded for what a client wrote; raises `ValueError` for anything else.
    """

    description: str
    accept: Callable[[Any], Any]
    specified_by: str | None = None


def _long(value: Any) -> int:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError("expected an integer")
    if not -MAX_SAFE_INTEGER <= value <= MAX_SAFE_INTEGER:
        raise ValueError(f"expected an integer within ±{MAX_SAFE_INTEGER}")
    return value


def _decimal(value: Any) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = repr(value)
    return _text(value, Decimal, 'a decimal number, such as "9.50"')


def _text(value: Any, type: Any, expected: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"expected {expected}")
    try:
        msgspec.convert(value, type)
    except msgspec.ValidationError:
        raise ValueError(f"expected {expected}") from None
    return value


def _instant(value: Any) -> str:
    text = _text(value, datetime.datetime, 'an instant with an offset, such as "2026-01-31T12:00:00Z"')
    if msgspec.convert(text, datetime.datetime).tzinfo is None:
        raise ValueError('expected an instant with an offset, such as "2026-01-31T12:00:00Z"')
    return text


def _of(type: Any, expected: str) -> Callable[[Any], str]:
    return lambda value: _text(value, type, expected)


CUSTOM: dict[str, Custom] = {
    "Long": Custom(description=f"An integer within ±{MAX_SAFE_INTEGER}, which JSON carries exactly.", accept=_long),
    "Decimal": Custom(description="An exact decimal number, written as text.", accept=_decimal),
    "DateTime": Custom(
        description="An instant with its offset (RFC 3339).",
        accept=_instant,
        specified_by="https://scalars.graphql.org/andimarek/date-time",
    ),
    "Date": Custom(
        description="A day (RFC 3339 full-date).",
        accept=_of(datetime.date, 'a day, such as "2026-01-31"'),
        specified_by="https://scalars.graphql.org/andimarek/local-date",
    ),
    "Time": Custom(
        description="A time of day (RFC 3339).", accept=_of(datetime.time, 'a time of day, such as "12:00:00"')
    ),
    "Duration": Custom(
        description="An amount of time (ISO 8601), such as `PT1H30M`.",
        accept=_of(datetime.timedelta, 'a duration, such as "PT1H30M"'),
    ),
    "Base64": Custom(description="Bytes as base64 (RFC 4648 section 4).", accept=_of(bytes, "base64 text")),
    "JSON": Custom(description="Any JSON value.", accept=lambda value: value),
}

BUILT_IN = ("Int", "Float", "String", "Boolean", "ID")
