"""How orders are kept; a row belongs to its owner, staff reach every row."""

from __future__ import annotations

from datetime import datetime

from shop.access import STAFF
from shop.customers import CustomerId
from shop.orders.model import Order, OrderStatus
from shop.orders.module import orders as module
from trivet import Table

orders = Table(
    module,
    Order,
    key=lambda o: o.id,
    readable=lambda who, o: (o.owner == who.subject) | who.has(STAFF),
    writable=lambda who, o: (o.owner == who.subject) | who.has(STAFF),
)


@orders.listing(order="-create_time")
def by_filter(
    o: Order,
    customer_id: CustomerId | None = None,
    status: OrderStatus | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> bool:
    """Newest first; an argument that is absent does not narrow the list."""
    return (
        (o.customer_id == customer_id)
        & (o.status == status)
        & (since is None or o.create_time >= since)
        & (until is None or o.create_time < until)
    )
