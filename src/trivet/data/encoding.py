"""How a value becomes what the driver takes: checked first, so that both dialects hold and refuse the same.

A value that its column can not hold is `Unfit`: it is refused on both dialects, whichever of them could hold it.
"""

from __future__ import annotations

import math
import re
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import partial
from typing import Any
from uuid import UUID

import msgspec

from trivet.core.error import Error, InvalidArgument, OutOfRange, Violation
from trivet.core.value import Digits
from trivet.data.columns import EPOCH, EXACTLY, MICROSECOND, Codec, Kind, Value
from trivet.data.database import Dialect

INT64 = 2**63


class Unfit(Exception):
    """A value that its column can not hold.

    Args:
        detail: Why, safe to show.
        kind: The error that a caller of the API gets.
    """

    def __init__(self, detail: str, kind: type[InvalidArgument | OutOfRange] = InvalidArgument) -> None:
        self.detail = detail
        self.kind = kind
        super().__init__(detail)

    def at(self, pointer: str) -> Error:
        """Return the error for the caller of the API who sent the value."""
        if self.kind is OutOfRange:
            return OutOfRange(detail=f"{pointer.removeprefix('#/')} {self.detail}")
        return InvalidArgument(violations=(Violation(detail=self.detail, pointer=pointer),))


def encoder(value: Value, dialect: Dialect) -> Codec:
    """Return what turns a value that is not ``None`` into what the driver takes.

    The result raises `Unfit` for a value that the column can not hold, and `TypeError` for one of another type.
    """
    check, write = _check(value), _writer(value, dialect)
    if write is None:
        return check
    return lambda each: write(check(each))


# -- what either dialect holds


def _check(value: Value) -> Codec:
    """Return what lets only values through that a column of either dialect holds."""
    if value.members is not None:
        members = value.members

        def value_of_member(member: Any) -> Any:
            if not isinstance(member, members):
                raise TypeError(f"expected a {members.__name__}, got {member!r}")
            return member.value

        return value_of_member
    if value.kind is Kind.DECIMAL:
        assert value.digits is not None
        return _decimal(value.digits)
    if value.kind is Kind.JSON:
        return _json
    return _CHECKS[value.kind]


def _typed(type: type) -> Codec:
    def typed(value: Any) -> Any:
        if not isinstance(value, type):
            raise TypeError(f"expected a {type.__name__}, got {value!r}")
        return value

    return typed


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected a str, got {value!r}")
    if "\0" in value:
        raise Unfit("must not contain the character U+0000")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise Unfit("must not contain a lone surrogate") from None
    return value


def _integer(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"expected an int, got {value!r}")
    if not -INT64 <= value < INT64:
        raise Unfit("must fit 64 bits", OutOfRange)
    return value


def _float(value: Any) -> float:
    if not isinstance(value, float | int) or isinstance(value, bool):
        raise TypeError(f"expected a float, got {value!r}")
    if not math.isfinite(value):
        raise Unfit("must be finite")
    return float(value)


def _date(value: Any) -> date:
    if not isinstance(value, date) or isinstance(value, datetime):
        raise TypeError(f"expected a date, got {value!r}")
    return value


def _time(value: Any) -> time:
    if not isinstance(value, time):
        raise TypeError(f"expected a time, got {value!r}")
    if value.tzinfo is not None:
        raise Unfit("must not have an offset")
    return value


def _instant(value: Any) -> datetime:
    if not isinstance(value, datetime):
        raise TypeError(f"expected a datetime, got {value!r}")
    if value.tzinfo is None:
        raise Unfit("must have an offset, such as Z")
    return value


def _span(value: Any) -> timedelta:
    if not isinstance(value, timedelta):
        raise TypeError(f"expected a timedelta, got {value!r}")
    if not -INT64 <= value // MICROSECOND < INT64:
        raise Unfit("must fit 64 bits of microseconds", OutOfRange)
    return value


def _decimal(digits: Digits) -> Codec:
    exact = Decimal(1).scaleb(-digits.scale)
    smallest = -digits.scale

    def fits(value: Any) -> Decimal:
        if isinstance(value, int) and not isinstance(value, bool):
            value = Decimal(value)
        if not isinstance(value, Decimal):
            raise TypeError(f"expected a Decimal, got {value!r}")
        if not value.is_finite():
            raise Unfit("must be a finite number")
        if not value:
            return exact * 0
        if value.adjusted() >= digits.total + smallest:
            raise Unfit(f"must be smaller than {digits.limit:f}", OutOfRange)
        exponent = value.as_tuple().exponent
        assert isinstance(exponent, int)
        if exponent < smallest and EXACTLY.remainder(value, exact):
            raise Unfit(f"must have at most {digits.scale} digits after the point")
        return value

    return fits


def _json(value: Any) -> str:
    text = _encode_json(value).decode()
    if "\\u0000" in text and _NULL.search(text):
        raise Unfit("must not contain the character U+0000")
    return text


_encode_json = msgspec.json.Encoder(order="deterministic").encode
_NULL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")

_CHECKS: dict[Kind, Codec] = {
    Kind.UUID: _typed(UUID),
    Kind.TEXT: _text,
    Kind.BOOLEAN: _typed(bool),
    Kind.INTEGER: _integer,
    Kind.FLOAT: _float,
    Kind.BYTES: _typed(bytes),
    Kind.DATE: _date,
    Kind.TIME: _time,
    Kind.INSTANT: _instant,
    Kind.DURATION: _span,
}


# -- what the driver does not take as Python has it


def _writer(value: Value, dialect: Dialect) -> Codec | None:
    if value.kind is Kind.DURATION:
        return lambda span: span // MICROSECOND
    if dialect == "postgresql":
        return None
    if value.digits is not None:
        scale = value.digits.scale
        return lambda number: int(EXACTLY.scaleb(number, scale))
    return _SQLITE_WRITERS.get(value.kind)


_SQLITE_WRITERS: dict[Kind, Codec] = {
    Kind.UUID: msgspec.to_builtins,
    Kind.BOOLEAN: int,
    Kind.DATE: date.isoformat,
    Kind.TIME: partial(time.isoformat, timespec="microseconds"),
    Kind.INSTANT: lambda instant: (instant - EPOCH) // MICROSECOND,
}
