"""What payments tell the rest of the shop."""

from __future__ import annotations

from uuid import UUID

from shop.payments.model import Decline, PaymentId
from trivet import Event


class PaymentCaptured(Event):
    """The money is there."""

    payment_id: PaymentId
    reference: UUID


class PaymentDeclined(Event):
    """The money will not come."""

    payment_id: PaymentId
    reference: UUID
    decline: Decline
