"""The data as Trivet serves it: GraphQL and REST from the same operations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated
from uuid import UUID

import msgspec

from benchmarks.apps.graphql_data import CUSTOMERS, PRODUCTS, ROWS
from trivet import App, Meta, Module, NotFound, Page, PageRequest, Read, Struct
from trivet.settings import GraphqlSettings, LogSettings, Settings

Count = Annotated[int, Meta(ge=0, le=1_000_000)]


class Brand(Struct):
    name: str
    country: str


class Product(Struct):
    id: UUID
    sku: str
    name: str
    stock: Count
    brand: Brand


class Customer(Struct):
    id: UUID
    name: str


class Line(Struct):
    quantity: Count
    product_id: UUID


class Order(Struct):
    id: UUID
    customer_id: UUID
    lines: tuple[Line, ...]


shop = Module("shop")
products = {product.id: product for product in msgspec.convert(PRODUCTS, list[Product])}
customers = {customer.id: customer for customer in msgspec.convert(CUSTOMERS, list[Customer])}
orders = msgspec.convert(ROWS, list[Order])


@shop.query(public=True)
async def list_products(ctx: Read, page: PageRequest) -> Page[Product]:
    return Page(items=list(products.values())[: page.limit])


@shop.query(public=True)
async def get_product(ctx: Read, id: UUID) -> Product:
    if id not in products:
        raise NotFound
    return products[id]


@shop.query(public=True)
async def list_orders(ctx: Read, page: PageRequest) -> Page[Order]:
    return Page(items=orders[: page.limit])


@shop.edge(Order, "customer", public=True)
async def order_customer(ctx: Read, parents: Sequence[Order]) -> Sequence[Customer]:
    return [customers[order.customer_id] for order in parents]


@shop.edge(Line, "product", public=True)
async def line_product(ctx: Read, parents: Sequence[Line]) -> Sequence[Product]:
    return [products[line.product_id] for line in parents]


app = App(
    "shop",
    modules=[shop],
    settings=Settings(graphql=GraphqlSettings(introspection=True, depth=20), log=LogSettings(level="info")),
)
