"""How products are kept, and who may change one."""

from __future__ import annotations

from decimal import Decimal

from shop.access import STAFF
from shop.catalog.model import Product
from shop.catalog.module import catalog
from trivet import PUBLIC, Table, contains

products = Table(
    catalog,
    Product,
    key=lambda p: p.id,
    unique=["sku"],
    readable=PUBLIC,
    writable=lambda who, p: who.has(STAFF),
)


@products.listing(order="-create_time")
def by_filter(
    p: Product,
    brand: str | None = None,
    min_price: Decimal | None = None,
    max_price: Decimal | None = None,
    text: str | None = None,
) -> bool:
    """Newest first; an argument that is absent does not narrow the list."""
    in_range = (p.price.amount >= min_price) & (p.price.amount <= max_price)
    return (p.brand == brand) & in_range & contains(p.name, text)
