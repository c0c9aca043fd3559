"""How products are kept, and who may change one."""

from __future__ import annotations

from decimal import Decimal

from shop.access import STAFF
from shop.catalog.model import Product, SkuTaken
from shop.catalog.module import catalog
from trivet import PUBLIC, Search, Table, Unique, contains

products = Table(
    catalog,
    Product,
    key=lambda p: p.id,
    unique=[Unique("sku", error=lambda p: SkuTaken(sku=p.sku))],
    search=Search("name", ("brand", "sku"), "description", language="english"),
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
    return (
        (p.brand == brand)
        & (min_price is None or p.price.amount >= min_price)
        & (max_price is None or p.price.amount <= max_price)
        & contains(p.name, text)
    )
