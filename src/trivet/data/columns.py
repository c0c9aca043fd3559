"""How a value becomes a column: one table per dialect, from the kinds of SEMANTICS 13 to SQL types and codecs.

======================  ==========================  ==========================================
Python                  SQLite                      PostgreSQL
======================  ==========================  ==========================================
UUID, ids               TEXT, canonical form        UUID
str                     TEXT                        TEXT COLLATE "C"
bool                    INTEGER 0 or 1              BOOLEAN
int                     INTEGER                     BIGINT
float                   REAL                        DOUBLE PRECISION
bytes                   BLOB                        BYTEA
enum, Literal           the value's: TEXT, INTEGER  the value's: TEXT, BIGINT
date                    TEXT, ISO 8601              DATE
time                    TEXT, ISO 8601              TIME
datetime                INTEGER, microseconds       TIMESTAMPTZ
timedelta               INTEGER, microseconds       BIGINT, microseconds
Decimal with digits     INTEGER, scaled             NUMERIC(total, scale)
required shape          a column for each field     a column for each field
everything else         TEXT, JSON                  JSONB
======================  ==========================  ==========================================

Everything else: optional shapes, tagged unions, lists, sets, maps. All comparisons and orders mean the same in both
dialects and in Python: text compares by code point, instants as instants, decimals as numbers.

The SQL types are in `trivet.data.sqltypes`, so that this module loads without SQLAlchemy.

A value that its column can not hold is `Unfit`: it is refused on both dialects, whichever of them could hold it.
"""

from __future__ import annotations

import enum
import math
import re
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import partial
from operator import attrgetter
from typing import Any
from uuid import UUID

import msgspec
from msgspec import inspect as kinds

from trivet.core.error import Error, InvalidArgument, OutOfRange, Violation
from trivet.core.tolerant import tolerant
from trivet.core.typeinfo import info_of
from trivet.core.value import Digits
from trivet.data.database import Dialect

Codec = Callable[[Any], Any]

INT64 = 2**63
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


class Kind(enum.Enum):
    """What a column holds."""

    UUID = "UUID"
    TEXT = "str"
    BOOLEAN = "bool"
    INTEGER = "int"
    FLOAT = "float"
    BYTES = "bytes"
    DATE = "date"
    TIME = "time"
    INSTANT = "datetime"
    DURATION = "timedelta"
    DECIMAL = "Decimal"
    JSON = "JSON"


ORDERED = frozenset(Kind) - {Kind.JSON, Kind.BYTES}
"""Kinds that a listing may be ordered by: their values fit a page token."""


class Value(msgspec.Struct, frozen=True):
    """What a column holds, as far as its codec needs to know.

    Attributes:
        kind: The kind.
        annotation: The type as the shape has it; JSON is decoded into it, and a page token's value converted to it.
        nullable: Whether ``None`` is a value.
        digits: Of a decimal.
        members: Of an enumeration: its class.
    """

    kind: Kind
    annotation: Any
    nullable: bool = False
    digits: Digits | None = None
    members: type[enum.Enum] | None = None


class Unmapped(Exception):
    """No column can hold values of a type; `mend` says what to write instead."""

    def __init__(self, problem: str, mend: str) -> None:
        self.mend = mend
        super().__init__(problem)


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


SCALARS: dict[type[kinds.Type], Kind] = {
    kinds.UUIDType: Kind.UUID,
    kinds.StrType: Kind.TEXT,
    kinds.BoolType: Kind.BOOLEAN,
    kinds.IntType: Kind.INTEGER,
    kinds.FloatType: Kind.FLOAT,
    kinds.BytesType: Kind.BYTES,
    kinds.DateType: Kind.DATE,
    kinds.TimeType: Kind.TIME,
    kinds.DateTimeType: Kind.INSTANT,
    kinds.TimeDeltaType: Kind.DURATION,
}

UNMAPPED = (kinds.CustomType, kinds.ExtType, kinds.RawType, kinds.ByteArrayType, kinds.MemoryViewType)


def value_of(annotation: Any) -> Value:
    """Return what a column for values of the type holds.

    Raises:
        Unmapped: No column can hold them.
    """
    info = info_of(annotation)
    digits: Digits | None = None
    nullable = False
    while True:
        if isinstance(info, kinds.Metadata):
            digits = (info.extra or {}).get("digits", digits)
            info = info.type
        elif isinstance(info, kinds.UnionType) and info.includes_none and len(info.types) == 2:
            nullable = True
            info = next(each for each in info.types if not isinstance(each, kinds.NoneType))
        else:
            break
    if isinstance(info, UNMAPPED):
        name = getattr(annotation, "__name__", str(annotation))
        raise Unmapped(
            f"no column holds a {name}", "Use the types of trivet.data.columns, or keep it as text or bytes."
        )
    if isinstance(info, kinds.DecimalType):
        if digits is None:
            raise Unmapped(
                "a decimal without its digits can not be stored exactly",
                "Write Annotated[Decimal, Meta(extra=digits(18, 4))]; digits is in trivet.core.value.",
            )
        return Value(Kind.DECIMAL, annotation, nullable, digits=digits)
    if isinstance(info, kinds.EnumType):
        return Value(_alike([member.value for member in info.cls], annotation), annotation, nullable, members=info.cls)
    if isinstance(info, kinds.LiteralType):
        return Value(_alike(list(info.values), annotation), annotation, nullable)
    kind = SCALARS.get(type(info), Kind.JSON)
    if kind is Kind.JSON and isinstance(info, kinds.UnionType) and info.includes_none:
        nullable = True
    return Value(kind, annotation, nullable)


def _alike(values: list[Any], annotation: Any) -> Kind:
    if all(type(value) is str for value in values):
        return Kind.TEXT
    if all(type(value) is int for value in values):
        return Kind.INTEGER
    raise Unmapped(f"the values of {annotation} are neither all text nor all integers", "Give them values of one type.")


# -- codecs


def encoder(value: Value, dialect: Dialect) -> Codec:
    """Return what turns a value that is not ``None`` into what the driver takes.

    The result raises `Unfit` for a value that the column can not hold, and `TypeError` for one of another type.
    """
    check = _check(value)
    return (
        _then(check, _SQLITE_ENCODERS.get(value.kind, _no_codec)(value))
        if dialect == "sqlite"
        else _then(check, _plain(value))
    )


def decoder(value: Value, dialect: Dialect) -> Codec | None:
    """Return what turns a driver's value that is not ``None`` into Python's; ``None`` where they are the same."""
    if value.members is not None:
        return {member.value: member for member in value.members}.__getitem__
    if value.kind is Kind.JSON:
        return tolerant(value.annotation)
    if value.kind is Kind.DURATION:
        return partial(timedelta, 0, 0)
    if dialect == "postgresql":
        return _POSTGRESQL_DECODERS.get(value.kind, _no_codec)(value)
    return _SQLITE_DECODERS.get(value.kind, _no_codec)(value)


def batch_decoder(value: Value, dialect: Dialect) -> Callable[[Sequence[Any]], Sequence[Any]] | None:
    """Return what decodes a whole column without ``None`` at once, for the kinds where that is much faster."""
    if value.nullable:
        return None
    return (_POSTGRESQL_BATCHES if dialect == "postgresql" else _SQLITE_BATCHES).get(value.kind)


def _uuids(texts: Sequence[str]) -> list[UUID]:
    return msgspec.convert(texts, list[UUID])


def _instants(micros: Sequence[int]) -> list[datetime]:
    if min(micros) > -EXACT and max(micros) < EXACT:
        return msgspec.convert([each / 1_000_000 for each in micros], list[datetime], strict=False)
    return [EPOCH + timedelta(0, 0, each) for each in micros]


TZINFO = attrgetter("tzinfo")


def _in_utc(instant: datetime) -> datetime:
    """Return an instant with its offset: the driver keeps the greatest one as infinity and gives it back without."""
    return instant if instant.tzinfo is not None else instant.replace(tzinfo=UTC)


def _all_in_utc(instants: Sequence[datetime]) -> Sequence[datetime]:
    return [_in_utc(each) for each in instants] if None in map(TZINFO, instants) else instants


EXACT = 2**32 * 1_000_000
"""Up to here (1833 to 2106) seconds as a float are less than half a microsecond off."""


def _then(first: Codec, second: Codec | None) -> Codec:
    if second is None:
        return first
    return lambda value: second(first(value))


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
        if exponent < smallest and value % exact:
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


def _scaled(value: Value) -> Codec:
    assert value.digits is not None
    scale = value.digits.scale
    return lambda number: int(number.scaleb(scale))


PLACES = 2
"""Digits after the point that a decimal is read back with even where they are zero."""


def _unscaled(value: Value) -> Codec:
    assert value.digits is not None
    scale = value.digits.scale

    def unscale(number: int) -> Decimal:
        """Keep two digits after the point and no zeros behind them: money is written so, 12.50 and 0.0125."""
        places = scale
        while places > PLACES and number % 10 == 0:
            number //= 10
            places -= 1
        return Decimal(number).scaleb(-places)

    return unscale


def _trimmed(value: Value) -> Codec:
    """Return what writes a decimal as `_unscaled` does; a NUMERIC has all the digits of its column."""
    assert value.digits is not None
    extra = value.digits.scale - PLACES
    if extra <= 0:
        return lambda number: number
    unscale = _unscaled(value)
    scale = value.digits.scale
    short = Decimal(1).scaleb(-PLACES)

    def trim(number: Decimal) -> Decimal:
        written = number.quantize(short)
        return written if written == number else unscale(int(number.scaleb(scale)))

    return trim


def _no_codec(value: Value) -> Codec | None:
    return None


def _plain(value: Value) -> Codec | None:
    return (lambda span: span // MICROSECOND) if value.kind is Kind.DURATION else None


_POSTGRESQL_DECODERS: dict[Kind, Callable[[Value], Codec | None]] = {
    Kind.INSTANT: lambda value: _in_utc,
    Kind.DECIMAL: _trimmed,
}

_POSTGRESQL_BATCHES: dict[Kind, Callable[[Sequence[Any]], Sequence[Any]]] = {Kind.INSTANT: _all_in_utc}

_SQLITE_BATCHES: dict[Kind, Callable[[Sequence[Any]], Sequence[Any]]] = {Kind.UUID: _uuids, Kind.INSTANT: _instants}

_SQLITE_ENCODERS: dict[Kind, Callable[[Value], Codec | None]] = {
    Kind.UUID: lambda value: msgspec.to_builtins,
    Kind.BOOLEAN: lambda value: int,
    Kind.DATE: lambda value: date.isoformat,
    Kind.TIME: lambda value: partial(time.isoformat, timespec="microseconds"),
    Kind.INSTANT: lambda value: lambda instant: (instant - EPOCH) // MICROSECOND,
    Kind.DURATION: _plain,
    Kind.DECIMAL: _scaled,
}

_SQLITE_DECODERS: dict[Kind, Callable[[Value], Codec | None]] = {
    Kind.UUID: lambda value: partial(msgspec.convert, type=UUID),
    Kind.BOOLEAN: lambda value: bool,
    Kind.DATE: lambda value: date.fromisoformat,
    Kind.TIME: lambda value: time.fromisoformat,
    Kind.INSTANT: lambda value: lambda micros: EPOCH + timedelta(0, 0, micros),
    Kind.DECIMAL: _unscaled,
}
