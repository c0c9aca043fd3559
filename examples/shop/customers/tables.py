"""How customers are kept; a row belongs to its owner, staff reach every row."""

from __future__ import annotations

from shop.access import STAFF
from shop.customers.model import Customer, EmailTaken
from shop.customers.module import customers as module
from trivet import Table, Unique

customers = Table(
    module,
    Customer,
    key=lambda c: c.id,
    unique=[Unique("email", error=lambda c: EmailTaken(email=c.email))],
    readable=lambda who, c: (c.owner == who.subject) | who.has(STAFF),
    writable=lambda who, c: (c.owner == who.subject) | who.has(STAFF),
)


@customers.listing(order="name")
def by_country(c: Customer, country: str | None = None) -> bool:
    """By name; an argument that is absent does not narrow the list."""
    return c.address.country == country
