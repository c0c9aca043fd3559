"""Trivet: a table with one listing, two queries."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated
from uuid import UUID

from benchmarks.products import Row
from trivet import PUBLIC, App, Meta, Module, Money, Page, PageRequest, Read, Struct, Table
from trivet.app import Seeding
from trivet.settings import load

catalog = Module("catalog", owner="benchmarks")


class Product(Struct):
    """Something that is for sale."""

    id: UUID
    sku: Annotated[str, Meta(max_length=40)]
    name: Annotated[str, Meta(max_length=200)]
    description: Annotated[str, Meta(max_length=2000)]
    brand: Annotated[str, Meta(max_length=40)]
    price: Money
    stock: Annotated[int, Meta(ge=0, le=1_000_000)]
    tags: Annotated[tuple[Annotated[str, Meta(max_length=40)], ...], Meta(max_length=20)]
    version: int
    create_time: datetime
    update_time: datetime


products = Table(
    catalog, Product, key=lambda p: p.id, unique=["sku"], readable=PUBLIC, writable=lambda who, p: who.has("staff")
)


@products.listing(order="-create_time")
def newest(p: Product, brand: str | None = None) -> bool:
    return p.brand == brand


@catalog.query(public=True)
async def get_product(ctx: Read, id: UUID) -> Product:
    """Return one product."""
    return await products.get(ctx, id)


@catalog.query(public=True)
async def list_products(ctx: Read, page: PageRequest) -> Page[Product]:
    """List products, newest first."""
    return await products.page(ctx, newest, page)


app = App("products", modules=[catalog])


def seed(url: str, rows: list[Row]) -> Mapping[str, str]:
    """Fill an empty database and return how an application finds it."""

    async def fill(seeding: Seeding) -> None:
        async with seeding.write(catalog) as ctx:
            await products.insert_many(ctx, [product(row) for row in rows])

    async def start_once(variables: Mapping[str, str]) -> None:
        settings, _ = load({**variables, "TRIVET_ENVIRONMENT": "development"})
        async with App("products", modules=[catalog], seed=fill, settings=settings):
            pass

    variables = {"TRIVET_DATABASE__URL": url}
    asyncio.run(start_once(variables))
    return variables


def product(row: Row) -> Product:
    return Product(
        id=row.id,
        sku=row.sku,
        name=row.name,
        description=row.description,
        brand=row.brand,
        price=Money(amount=row.amount, currency=row.currency),
        stock=row.stock,
        tags=tuple(row.tags),
        version=row.version,
        create_time=row.create_time,
        update_time=row.update_time,
    )
