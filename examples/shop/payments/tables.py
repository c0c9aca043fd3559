"""How payments are kept: only staff read them, only the module itself writes them."""

from __future__ import annotations

from uuid import UUID

from shop.access import STAFF
from shop.payments.model import Payment, PaymentStatus
from shop.payments.module import payments as module
from trivet import Table

payments = Table(
    module,
    Payment,
    key=lambda p: p.id,
    unique=["reference"],
    readable=lambda who, p: who.has(STAFF),
    writable=lambda who, p: False,
)


@payments.listing(order="-create_time")
def by_filter(p: Payment, reference: UUID | None = None, status: PaymentStatus | None = None) -> bool:
    """Newest first; an argument that is absent does not narrow the list."""
    return (p.reference == reference) & (p.status == status)
