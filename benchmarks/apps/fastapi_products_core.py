"""FastAPI with SQLAlchemy Core: a connection as a dependency, `response_model` over what is made of rows.

The same statements as with the ORM, without its sessions and objects:
https://docs.sqlalchemy.org/en/21/orm/extensions/asyncio.html#synopsis-core
"""

from collections.abc import AsyncIterator
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, FastAPI, HTTPException, Query
from sqlalchemy import Row, select
from sqlalchemy.ext.asyncio import AsyncConnection

from benchmarks.apps.fastapi_products import Product, ProductPage
from benchmarks.apps.sqlalchemy_products import ProductRow, engine, following, page_of

app = FastAPI()
products = ProductRow.__table__


async def get_connection() -> AsyncIterator[AsyncConnection]:
    async with engine.connect() as connection:
        yield connection


Connection = Annotated[AsyncConnection, Depends(get_connection)]


def shaped(row: Row[Any]) -> dict[str, Any]:
    return {**row._mapping, "price": {"amount": row.amount, "currency": row.currency}}


@app.get("/v1/products/{id}", response_model=Product)
async def get_product(id: UUID, connection: Connection) -> Any:
    row = (await connection.execute(select(products).where(products.c.id == id))).one_or_none()
    if row is None:
        raise HTTPException(404)
    return shaped(row)


@app.get("/v1/products", response_model=ProductPage)
async def list_products(
    connection: Connection,
    page_size: Annotated[int, Query(ge=0)] = 0,
    page_token: Annotated[str | None, Query(min_length=1, max_length=2048)] = None,
) -> Any:
    limit, statement = page_of(select(products), page_size, page_token)
    rows = (await connection.execute(statement)).all()
    return {"items": [shaped(row) for row in rows[:limit]], "next_page_token": following(rows, limit)}
