"""How what the driver gives becomes a value: one at a time, and for most kinds a whole column at once.

A page is decoded by columns, because what C does to a list of fifty costs a fraction of fifty calls from Python; a row
that was asked for by its key is decoded value by value, because a list of one costs more than its value.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from functools import partial
from itertools import repeat
from operator import floordiv, mod
from typing import Any
from uuid import UUID

import msgspec

from trivet.core.tolerant import tolerant
from trivet.data.columns import EPOCH, EXACTLY, MICROSECOND, Codec, Kind, Value
from trivet.data.database import Dialect

Batch = Callable[[Sequence[Any]], Sequence[Any]]
"""Turns a column without ``None`` into another form of it."""


def decoder(value: Value, dialect: Dialect) -> Codec | None:
    """Return what turns a driver's value that is not ``None`` into Python's; ``None`` where they are the same."""
    if value.members is not None:
        return {member.value: member for member in value.members}.__getitem__
    match value.kind, dialect:
        case Kind.JSON, _:
            return tolerant(value.annotation)
        case Kind.DURATION, _:
            return MICROSECOND.__mul__
        case Kind.DECIMAL, _:
            reader = _decimals(value, dialect)
            return reader.read if reader is not None else None
    return _SQLITE.get(value.kind) if dialect == "sqlite" else None


def batch_decoder(value: Value, dialect: Dialect) -> Batch | None:
    """Return what decodes a whole column without ``None``, for the kinds where that is much faster."""
    if value.nullable or value.members is not None:
        return None
    match value.kind, dialect:
        case Kind.JSON, _:
            return _documents(value)
        case Kind.DECIMAL, _:
            reader = _decimals(value, dialect)
            return reader.read_all if reader is not None else None
        case Kind.INSTANT, "sqlite":
            return _instants
        case Kind.UUID, "sqlite":
            return _uuids
    return None


_SQLITE: dict[Kind, Codec] = {
    Kind.UUID: partial(msgspec.convert, type=UUID),
    Kind.BOOLEAN: bool,
    Kind.DATE: date.fromisoformat,
    Kind.TIME: time.fromisoformat,
    Kind.INSTANT: lambda micros: EPOCH + MICROSECOND * micros,
}

# -- identifiers and documents


def _uuids(texts: Sequence[str]) -> Sequence[UUID]:
    found: list[UUID] = msgspec.convert(texts, _UUIDS)
    return found


_UUIDS = list[UUID]


def _documents(value: Value) -> Batch:
    strict = msgspec.json.Decoder(value.annotation).decode
    each: Codec = tolerant(value.annotation)

    def read_all(texts: Sequence[str]) -> Sequence[Any]:
        try:
            return list(map(strict, texts))
        except msgspec.ValidationError:  # some are of another version of this program
            return list(map(each, texts))

    return read_all


# -- instants

EXACT = 2**32 * 1_000_000
"""Up to here (1833 to 2106) seconds as a float are less than half a microsecond off."""


def _instants(micros: Sequence[int]) -> Sequence[datetime]:
    if min(micros) > -EXACT and max(micros) < EXACT:
        found: list[datetime] = msgspec.convert([each / 1_000_000 for each in micros], _INSTANTS, strict=False)
        return found
    return [EPOCH + MICROSECOND * each for each in micros]


_INSTANTS = list[datetime]


# -- decimals

PLACES = 2
"""Digits after the point that a decimal is read back with even where they are zero."""

HUNDREDTH = Decimal(1).scaleb(-PLACES)


class _Scaled:
    """Reads integers that are decimals times a power of ten.

    Two digits after the point are kept, and no zeros behind them: money is written so, 12.50 and 0.0125.

    Args:
        scale: Digits after the point that are stored.
    """

    def __init__(self, scale: int) -> None:
        self._scale = scale
        self._step = 10 ** max(0, scale - PLACES)
        self._unit = Decimal(1).scaleb(-min(PLACES, scale))

    def read(self, number: int) -> Decimal:
        """Read one."""
        short, rest = divmod(number, self._step)
        if not rest:
            return EXACTLY.multiply(short, self._unit)
        places = self._scale
        while number % 10 == 0:
            number //= 10
            places -= 1
        return EXACTLY.scaleb(number, -places)

    def read_all(self, numbers: Sequence[int]) -> Sequence[Decimal]:
        """Read a column."""
        step = self._step
        if any(map(mod, numbers, repeat(step))):
            return list(map(self.read, numbers))
        return list(map(EXACTLY.multiply, map(floordiv, numbers, repeat(step)), repeat(self._unit)))


class _Numeric:
    """Reads decimals that have all the digits of their column, and keeps of them what `_Scaled` does.

    Args:
        scale: Digits after the point of the column; more than `PLACES`.
    """

    def __init__(self, scale: int) -> None:
        self._scale = scale
        self._scaled = _Scaled(scale)

    def read(self, number: Decimal) -> Decimal:
        """Read one."""
        short = EXACTLY.quantize(number, HUNDREDTH)
        return short if short == number else self._scaled.read(int(EXACTLY.scaleb(number, self._scale)))

    def read_all(self, numbers: Sequence[Decimal]) -> Sequence[Decimal]:
        """Read a column."""
        short = tuple(map(EXACTLY.quantize, numbers, repeat(HUNDREDTH)))
        return short if short == tuple(numbers) else list(map(self.read, numbers))


def _decimals(value: Value, dialect: Dialect) -> _Scaled | _Numeric | None:
    assert value.digits is not None
    scale = value.digits.scale
    if dialect == "sqlite":
        return _Scaled(scale)
    return _Numeric(scale) if scale > PLACES else None
