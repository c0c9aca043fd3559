"""Value types that every protocol and store maps the same way: money, bounded numbers and text, exact decimals."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

from msgspec import Meta

from trivet.core.shape import Struct

MAX_SAFE_INTEGER = 2**53 - 1
"""The largest integer that JSON carries without loss (RFC 8259 section 6)."""


class Digits(Struct):
    """How many decimal digits a ``Decimal`` has: ``Annotated[Decimal, Meta(extra=digits(18, 4))]``."""

    total: int
    scale: int

    def __post_init__(self) -> None:
        if not 0 <= self.scale <= self.total <= 18:
            raise ValueError(f"digits({self.total}, {self.scale}): need 0 <= scale <= total <= 18")

    @property
    def limit(self) -> Decimal:
        """The first magnitude that no longer fits."""
        return Decimal(10) ** (self.total - self.scale)


def digits(total: int, scale: int) -> dict[str, Digits]:
    """Say how exact a decimal is: at most `total` digits, `scale` of them after the point.

    A value with more digits is refused, never rounded. At most 18 digits in all, so that a store without decimals
    keeps it as a scaled 64-bit integer.
    """
    return {"digits": Digits(total=total, scale=scale)}


Currency = Annotated[str, Meta(pattern="^[A-Z]{3}$", min_length=3, max_length=3, description="ISO 4217 code")]
Amount = Annotated[Decimal, Meta(extra=digits(18, 4))]


class Money(Struct):
    """An exact amount in one currency."""

    amount: Amount
    currency: Currency

    def __add__(self, other: Money) -> Money:
        return Money(amount=self.amount + other._in(self.currency), currency=self.currency)

    def __sub__(self, other: Money) -> Money:
        return Money(amount=self.amount - other._in(self.currency), currency=self.currency)

    def __mul__(self, factor: int) -> Money:
        return Money(amount=self.amount * factor, currency=self.currency)

    def _in(self, currency: str) -> Decimal:
        if self.currency != currency:
            raise ValueError(f"cannot combine {self.currency} with {currency}: convert one of them first")
        return self.amount
