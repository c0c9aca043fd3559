"""The data as Ariadne serves it."""

from __future__ import annotations

from typing import Any

from ariadne import ObjectType, QueryType, make_executable_schema
from ariadne.asgi import GraphQL

from benchmarks.apps.graphql_data import CUSTOMERS, PRODUCTS, ROWS

SDL = """
type Brand { name: String!  country: String! }
type Product { id: ID!  sku: String!  name: String!  stock: Int!  brand: Brand! }
type Customer { id: ID!  name: String! }
type Line { quantity: Int!  product: Product! }
type Order { id: ID!  customer: Customer!  lines: [Line!]! }
type Query { products: [Product!]!  product(id: ID!): Product  orders: [Order!]! }
"""

products = {row["id"]: row for row in PRODUCTS}
customers = {row["id"]: row for row in CUSTOMERS}
query, order, line = QueryType(), ObjectType("Order"), ObjectType("Line")


@query.field("products")
async def all_products(*_: Any) -> list[Any]:
    return PRODUCTS


@query.field("product")
async def one_product(*_: Any, id: str) -> Any:
    return products.get(id)


@query.field("orders")
async def all_orders(*_: Any) -> list[Any]:
    return ROWS


@order.field("customer")
def order_customer(parent: Any, _: Any) -> Any:
    return customers[parent["customer_id"]]


@line.field("product")
def line_product(parent: Any, _: Any) -> Any:
    return products[parent["product_id"]]


app = GraphQL(make_executable_schema(SDL, query, order, line))
