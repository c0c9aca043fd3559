"""Money in and out. Other modules import this package, never a module inside it."""

from __future__ import annotations

from shop.payments.events import PaymentCaptured, PaymentDeclined
from shop.payments.model import Decline, Payment, PaymentId, PaymentStatus
from shop.payments.module import payments
from shop.payments.operations import charge_payment, get_payment, list_payments, refund_payment

__all__ = [
    "Decline",
    "Payment",
    "PaymentCaptured",
    "PaymentDeclined",
    "PaymentId",
    "PaymentStatus",
    "charge_payment",
    "get_payment",
    "list_payments",
    "payments",
    "refund_payment",
]
