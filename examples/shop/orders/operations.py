"""What can be done with orders."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, time, timedelta

from shop.catalog import OutOfStock, ProductUnknown, get_products, reserve_stock
from shop.customers import CustomerId, CustomerUnknown, get_customers
from shop.orders.events import OrderPlaced, OrderStatusChanged
from shop.orders.lifecycle import move, stock_of
from shop.orders.model import (
    BestSeller,
    CurrenciesDiffer,
    NewOrder,
    Order,
    OrderId,
    OrderStatus,
    Reason,
    StatusChangeRefused,
    check_days,
    priced,
    total_of,
)
from shop.orders.module import orders as module
from shop.orders.tables import by_filter, orders
from shop.orders.views import best_sellers, by_sold
from trivet import File, Page, PageRequest, Read, Run, Write


@module.query(scope="orders.read")
async def get_order(ctx: Read, id: OrderId) -> Order:
    """Return one order: one's own, or any for staff."""
    return await orders.get(ctx, id)


@module.query(scope="orders.read")
async def list_orders(
    ctx: Read,
    page: PageRequest,
    customer_id: CustomerId | None = None,
    status: OrderStatus | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> Page[Order]:
    """List the orders that the caller may see, newest first; `until` itself is left out."""
    return await orders.page(ctx, by_filter, page, customer_id=customer_id, status=status, since=since, until=until)


@module.query(public=True)
async def list_best_sellers(ctx: Read, page: PageRequest) -> Page[BestSeller]:
    """List what is ordered most."""
    return await best_sellers.page(ctx, by_sold, page)


@module.command(
    scope="orders.write",
    raises=[CustomerUnknown, ProductUnknown, OutOfStock, CurrenciesDiffer],
    timeout=5,
    timeout_max=30,
)
async def create_order(ctx: Write, order: NewOrder) -> Order:
    """Place an order: its stock is reserved at once, the money is asked for afterwards."""
    [customer] = await ctx.call(get_customers, [order.customer_id])
    if customer is None:
        raise CustomerUnknown(customer_id=order.customer_id)
    ids = list(dict.fromkeys(line.product_id for line in order.lines))
    products = {p.id: p for p in await ctx.call(get_products, ids) if p is not None}
    lines = priced(order.lines, products)
    placed = Order(
        id=OrderId(ctx.new_id()),
        customer_id=customer.id,
        owner=customer.owner,
        status=OrderStatus.PENDING,
        reason="",
        lines=lines,
        total=total_of(lines),
        version=1,
        create_time=ctx.now,
        update_time=ctx.now,
    )
    await ctx.call(reserve_stock, stock_of(placed))
    await orders.insert(ctx, placed)
    ctx.emit(OrderPlaced(order_id=placed.id, customer_id=customer.id, total=placed.total))
    ctx.emit(OrderStatusChanged(order_id=placed.id, customer_id=customer.id, status=placed.status))
    return placed


@module.command(scope="orders.write", raises=[StatusChangeRefused])
async def cancel_order(ctx: Write, id: OrderId, reason: Reason) -> Order:
    """Cancel an order that was not shipped; its stock and its money go back."""
    return await move(ctx, await orders.lock(ctx, id), OrderStatus.CANCELLED, reason)


@module.command(scope="orders.ship", raises=[StatusChangeRefused])
async def ship_order(ctx: Write, id: OrderId) -> Order:
    """Say that a confirmed order left the house."""
    return await move(ctx, await orders.lock(ctx, id), OrderStatus.SHIPPED)


@module.stream(scope="orders.read")
async def watch_orders(ctx: Read, customer_id: CustomerId | None = None) -> AsyncIterator[OrderStatusChanged]:
    """Follow the orders that the caller may see, from now on: each new status, after its commit."""
    async for change in ctx.follow(OrderStatusChanged):
        if customer_id is not None and change.customer_id != customer_id:
            continue
        if await orders.find(ctx, change.order_id) is not None:
            yield change


@module.job(scope="orders.read")
async def export_orders(ctx: Run, first_day: date, last_day: date) -> File:
    """Write the orders that the caller may see into a file for spreadsheets, newest first; both days (UTC) included."""
    check_days(first_day, last_day)
    since, until = (datetime.combine(day, time(), UTC) for day in (first_day, last_day + timedelta(days=1)))
    found = orders.stream(ctx, by_filter, since=since, until=until)
    return await ctx.export(found, name=f"orders-{first_day}-{last_day}.csv")
