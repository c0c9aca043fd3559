"""The data as Strawberry serves it, with its caches of parsed and validated documents."""

from __future__ import annotations

import strawberry
from strawberry.asgi import GraphQL
from strawberry.extensions import ParserCache, ValidationCache

from benchmarks.apps.graphql_data import CUSTOMERS, PRODUCTS, ROWS


@strawberry.type
class Brand:
    name: str
    country: str


@strawberry.type
class Product:
    id: strawberry.ID
    sku: str
    name: str
    stock: int
    brand: Brand


@strawberry.type
class Customer:
    id: strawberry.ID
    name: str


@strawberry.type
class Line:
    quantity: int
    product_id: strawberry.Private[str]

    @strawberry.field
    def product(self) -> Product:
        return products[self.product_id]


@strawberry.type
class Order:
    id: strawberry.ID
    lines: list[Line]
    customer_id: strawberry.Private[str]

    @strawberry.field
    def customer(self) -> Customer:
        return customers[self.customer_id]


products = {row["id"]: Product(**{**row, "brand": Brand(**row["brand"])}) for row in PRODUCTS}
customers = {row["id"]: Customer(**row) for row in CUSTOMERS}
orders = [Order(**{**row, "lines": [Line(**line) for line in row["lines"]]}) for row in ROWS]


@strawberry.type
class Query:
    @strawberry.field
    async def products(self) -> list[Product]:
        return list(products.values())

    @strawberry.field
    async def product(self, id: strawberry.ID) -> Product | None:
        return products.get(id)

    @strawberry.field
    async def orders(self) -> list[Order]:
        return orders


app = GraphQL(strawberry.Schema(Query, extensions=[ParserCache(maxsize=100), ValidationCache(maxsize=100)]))
