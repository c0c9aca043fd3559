"""FastAPI with SQLAlchemy: a session as a dependency, `response_model` over ORM rows.

https://fastapi.tiangolo.com/tutorial/sql-databases/ in its async form.
"""

from collections.abc import AsyncIterator
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, FastAPI, HTTPException, Query
from pydantic import BaseModel, ConfigDict
from sqlalchemy.ext.asyncio import AsyncSession

from benchmarks.apps.sqlalchemy_products import ProductRow, product_page, sessions

app = FastAPI()


class Output(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class Money(Output):
    amount: Decimal
    currency: str


class Product(Output):
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


class ProductPage(Output):
    items: list[Product]
    next_page_token: str | None = None


async def get_session() -> AsyncIterator[AsyncSession]:
    async with sessions() as session:
        yield session


Session = Annotated[AsyncSession, Depends(get_session)]


@app.get("/v1/products/{id}", response_model=Product)
async def get_product(id: UUID, session: Session) -> Any:
    product = await session.get(ProductRow, id)
    if product is None:
        raise HTTPException(404)
    return product


@app.get("/v1/products", response_model=ProductPage)
async def list_products(
    session: Session,
    page_size: Annotated[int, Query(ge=0)] = 0,
    page_token: Annotated[str | None, Query(min_length=1, max_length=2048)] = None,
) -> Any:
    items, next_page_token = await product_page(session, page_size, page_token)
    return {"items": items, "next_page_token": next_page_token}
