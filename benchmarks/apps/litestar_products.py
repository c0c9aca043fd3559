"""Litestar with SQLAlchemy: a session as a dependency, msgspec structs out.

https://docs.litestar.dev/2/tutorials/sqlalchemy/ with structs instead of a plugin, because they cost less.
"""

from collections.abc import AsyncIterator
from datetime import datetime
from decimal import Decimal
from typing import Annotated
from uuid import UUID

import msgspec
from litestar import Litestar, get
from litestar.di import Provide
from litestar.exceptions import NotFoundException
from litestar.params import Parameter
from sqlalchemy.ext.asyncio import AsyncSession

from benchmarks.apps.sqlalchemy_products import ProductRow, product_page, sessions


class Money(msgspec.Struct):
    amount: Decimal
    currency: str


class Product(msgspec.Struct):
    id: UUID
    sku: str
    name: str
    description: str
    brand: str
    price: Money
    stock: int
    tags: list[str]
    version: int
    create_time: datetime
    update_time: datetime


class ProductPage(msgspec.Struct):
    items: list[Product]
    next_page_token: str | None = None


def shaped(row: ProductRow) -> Product:
    return Product(
        id=row.id,
        sku=row.sku,
        name=row.name,
        description=row.description,
        brand=row.brand,
        price=Money(row.amount, row.currency),
        stock=row.stock,
        tags=row.tags,
        version=row.version,
        create_time=row.create_time,
        update_time=row.update_time,
    )


async def provide_session() -> AsyncIterator[AsyncSession]:
    async with sessions() as session:
        yield session


@get("/v1/products/{id:uuid}")
async def get_product(id: UUID, session: AsyncSession) -> Product:
    row = await session.get(ProductRow, id)
    if row is None:
        raise NotFoundException
    return shaped(row)


@get("/v1/products")
async def list_products(
    session: AsyncSession,
    page_size: Annotated[int, Parameter(ge=0)] = 0,
    page_token: Annotated[str | None, Parameter(min_length=1, max_length=2048)] = None,
) -> ProductPage:
    rows, next_page_token = await product_page(session, page_size, page_token)
    return ProductPage(items=[shaped(row) for row in rows], next_page_token=next_page_token)


app = Litestar([get_product, list_products], dependencies={"session": Provide(provide_session)})
