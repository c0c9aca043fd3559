"""Relations of orders, for GraphQL and `?expand=`: each resolved for all parents at once."""

from __future__ import annotations

from collections.abc import Sequence

from shop.catalog import Product, get_products
from shop.customers import Customer, get_customers
from shop.orders.model import BestSeller, Order, OrderLine
from shop.orders.module import orders as module
from shop.orders.tables import by_filter, orders
from trivet import Page, PageRequest, Read


@module.edge(Order, "customer", scope="customers.read")
async def order_customer(ctx: Read, parents: Sequence[Order]) -> Sequence[Customer | None]:
    """Who placed the order."""
    return await ctx.call(get_customers, [order.customer_id for order in parents])


@module.edge(OrderLine, "product", public=True)
async def line_product(ctx: Read, lines: Sequence[OrderLine]) -> Sequence[Product | None]:
    """What the line is about, as the catalog has it now; null where it is no longer sold."""
    return await ctx.call(get_products, [line.product_id for line in lines])


@module.edge(BestSeller, "product", public=True)
async def best_seller_product(ctx: Read, parents: Sequence[BestSeller]) -> Sequence[Product | None]:
    """What sells so well, as the catalog has it now; null where it is no longer sold."""
    return await ctx.call(get_products, [each.product_id for each in parents])


@module.edge(Customer, "orders", scope="orders.read")
async def customer_orders(ctx: Read, parents: Sequence[Customer], page: PageRequest) -> Sequence[Page[Order]]:
    """The customer's orders, newest first, in pages."""
    return await orders.page_by(ctx, by_filter, [customer.id for customer in parents], page)
