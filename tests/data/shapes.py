"""Shapes that the tests of this folder keep in tables."""

from __future__ import annotations

import enum
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal, NewType
from uuid import UUID

from hypothesis import strategies as st

from trivet.core.shape import Meta, Struct, field
from trivet.core.value import Money, digits

ItemId = NewType("ItemId", UUID)


class Color(enum.Enum):
    RED = "red"
    GREEN = "green"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Circle(Struct, tag=True):
    radius: int


class Square(Struct, tag=True):
    side: int


class Address(Struct):
    street: str
    lines: list[str] = field(default_factory=list)


class Everything(Struct):
    """One field of every kind that a table keeps."""

    id: ItemId
    text: str
    flag: bool
    count: int
    ratio: float
    data: bytes
    color: Color
    level: Level
    side: Literal["left", "right"]
    day: date
    clock: time
    at: datetime
    span: timedelta
    price: Money
    rate: Annotated[Decimal, Meta(extra=digits(9, 6))]
    address: Address
    tags: list[str]
    names: set[str]
    scores: dict[str, int]
    form: Circle | Square
    other: UUID | None = None
    note: str | None = None
    known: bool | None = None
    maybe: int | None = None
    weight: float | None = None
    blob: bytes | None = None
    paint: Color | None = None
    until: date | None = None
    seen: datetime | None = None
    wait: timedelta | None = None
    fee: Annotated[Decimal, Meta(extra=digits(4, 2))] | None = None
    home: Address | None = None
    extra: Money | None = None


texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
int64 = st.integers(-(2**63), 2**63 - 1)
instants = st.datetimes(timezones=st.just(UTC))
spans = st.integers(-(2**63), 2**63 - 1).map(lambda micros: timedelta(microseconds=micros))
floats = st.floats(allow_nan=False, allow_infinity=False)


def decimals(total: int, scale: int) -> st.SearchStrategy[Decimal]:
    """Every decimal of so many digits."""
    limit = 10**total - 1
    return st.integers(-limit, limit).map(lambda scaled: Decimal(scaled).scaleb(-scale))


moneys = st.builds(Money, amount=decimals(18, 4), currency=st.sampled_from(["EUR", "USD"]))
addresses = st.builds(Address, street=texts, lines=st.lists(texts, max_size=3))


def everything() -> st.SearchStrategy[Everything]:
    """Every value that a row may hold."""
    kinds: dict[str, st.SearchStrategy[Any]] = {
        "id": st.uuids(),
        "text": texts,
        "flag": st.booleans(),
        "count": int64,
        "ratio": floats,
        "data": st.binary(max_size=20),
        "color": st.sampled_from(Color),
        "level": st.sampled_from(Level),
        "side": st.sampled_from(["left", "right"]),
        "day": st.dates(),
        "clock": st.times(),
        "at": instants,
        "span": spans,
        "price": moneys,
        "rate": decimals(9, 6),
        "address": addresses,
        "tags": st.lists(texts, max_size=3),
        "names": st.sets(texts, max_size=3),
        "scores": st.dictionaries(texts, st.integers(-(2**53), 2**53), max_size=3),
        "form": st.builds(Circle, radius=st.integers(0, 9)) | st.builds(Square, side=st.integers(0, 9)),
        "other": st.none() | st.uuids(),
        "note": st.none() | texts,
        "known": st.none() | st.booleans(),
        "maybe": st.none() | int64,
        "weight": st.none() | floats,
        "blob": st.none() | st.binary(max_size=5),
        "paint": st.none() | st.sampled_from(Color),
        "until": st.none() | st.dates(),
        "seen": st.none() | instants,
        "wait": st.none() | spans,
        "fee": st.none() | decimals(4, 2),
        "home": st.none() | addresses,
        "extra": st.none() | moneys,
    }
    return st.builds(Everything, **kinds)
