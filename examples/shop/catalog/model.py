"""Products as plain data, and the rules about stock and price."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Annotated, NewType
from uuid import UUID

from msgspec.structs import replace

from shop.price import Price
from trivet import AlreadyExists, FailedPrecondition, Meta, Money, NotFound, Struct

MAX_BATCH = 100
"""How many products one call asks for at most."""

ProductId = NewType("ProductId", UUID)
Sku = Annotated[str, Meta(pattern="^[A-Z0-9][A-Z0-9-]*$", min_length=3, max_length=40, examples=["CHR-OAK-01"])]
Name = Annotated[str, Meta(min_length=1, max_length=120, examples=["Oak chair"])]
Brand = Annotated[str, Meta(min_length=1, max_length=60, examples=["Nordwald"])]
Description = Annotated[str, Meta(max_length=2000)]
Tag = Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9-]*$", min_length=1, max_length=30, examples=["oak"])]
Tags = Annotated[tuple[Tag, ...], Meta(max_length=20)]
Quantity = Annotated[int, Meta(ge=1, le=1000)]


class NewProduct(Struct):
    """What a client says about a product."""

    sku: Sku
    name: Name
    description: Description = ""
    brand: Brand
    price: Price
    stock: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    tags: Tags = ()


class Product(Struct):
    """Something the shop sells."""

    id: ProductId
    sku: Sku
    name: Name
    description: Description
    brand: Brand
    price: Money
    stock: Annotated[int, Meta(ge=0, description="What can still be ordered")]
    tags: Tags
    version: int
    create_time: datetime
    update_time: datetime


class ProductsImported(Struct):
    """What came of an import.

    Attributes:
        added: Products that are new.
        known: Products that were passed over, since the shop had one with their SKU.
    """

    added: int
    known: int


class StockLine(Struct):
    """So many of one product."""

    product_id: ProductId
    quantity: Annotated[int, Meta(ge=1)]


class SkuTaken(AlreadyExists):
    """A product with this SKU exists already."""

    sku: Sku


class ProductUnknown(NotFound):
    """The catalog has no such product."""

    product_id: ProductId


class OutOfStock(FailedPrecondition, status=409):
    """There is not enough of a product left."""

    product_id: ProductId
    wanted: int
    left: int


def reserved(stock: Mapping[ProductId, Product], lines: Iterable[StockLine], now: datetime) -> list[Product]:
    """Return the products with the lines taken from their stock: all lines or none.

    Args:
        stock: The products as they are, by id.
        lines: At most one for each product.
        now: The instant of the change.

    Raises:
        ProductUnknown: A line names a product that is not in `stock`.
        OutOfStock: There is less left than a line wants.
    """
    changed = []
    for line in lines:
        product = stock.get(line.product_id)
        if product is None:
            raise ProductUnknown(product_id=line.product_id)
        if product.stock < line.quantity:
            raise OutOfStock(product_id=product.id, wanted=line.quantity, left=product.stock)
        changed.append(replace(product, stock=product.stock - line.quantity, update_time=now))
    return changed


def released(stock: Mapping[ProductId, Product], lines: Iterable[StockLine], now: datetime) -> list[Product]:
    """Return the products with the lines put back; what the shop no longer sells is left out."""
    return [
        replace(product, stock=product.stock + line.quantity, update_time=now)
        for line in lines
        if (product := stock.get(line.product_id)) is not None
    ]
