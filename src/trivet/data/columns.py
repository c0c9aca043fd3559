"""What a column holds: the kinds of values, and how each is kept in the two dialects.

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

The SQL types are in `trivet.data.sqltypes`, so that this module loads without SQLAlchemy. What turns values into what
a driver takes is in `trivet.data.encoding`, the way back in `trivet.data.decoding`.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Context
from typing import Any

import msgspec
from msgspec import inspect as kinds

from trivet.core.typeinfo import info_of
from trivet.core.value import Digits

Codec = Callable[[Any], Any]
"""Turns one value into another form of it."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)

EXACTLY = Context(prec=40)
"""Where decimals are scaled: what a handler does to its own context must not round what is stored or read."""


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
