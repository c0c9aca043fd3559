"""Payments as plain data, and the rule that captures or declines one."""

from __future__ import annotations

import enum
from datetime import datetime
from typing import Annotated, NewType
from uuid import UUID

from shop.customers import CustomerId
from trivet import Meta, Money, Struct

PaymentId = NewType("PaymentId", UUID)


class PaymentStatus(enum.Enum):
    """What became of a charge."""

    CAPTURED = "CAPTURED"
    DECLINED = "DECLINED"
    REFUNDED = "REFUNDED"


class Decline(enum.Enum):
    """Why a charge was declined."""

    OVER_LIMIT = "OVER_LIMIT"
    OTHER_CURRENCY = "OTHER_CURRENCY"


class Payment(Struct):
    """One charge, and what became of it."""

    id: PaymentId
    reference: Annotated[UUID, Meta(description="What is paid for; charged at most once")]
    customer_id: CustomerId
    amount: Money
    status: PaymentStatus
    decline: Decline | None
    version: int
    create_time: datetime
    update_time: datetime


def decision(amount: Money, limit: Money) -> Decline | None:
    """Return why the amount is declined, `None` when it is captured."""
    if amount.currency != limit.currency:
        return Decline.OTHER_CURRENCY
    return Decline.OVER_LIMIT if amount.amount > limit.amount else None
