"""What sells best: counted as orders come and go, because to count them all for each visitor would take too long."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial

from shop.catalog import ProductId
from shop.orders.events import OrderStatusChanged
from shop.orders.model import BestSeller, OrderLine, OrderStatus
from shop.orders.module import orders as module
from shop.orders.tables import by_filter, orders
from trivet import PUBLIC, Fill, Read, View

best_sellers = View(module, BestSeller, key=lambda b: b.product_id, readable=PUBLIC)


@best_sellers.listing(order="-sold")
def by_sold(b: BestSeller) -> bool:
    """The most pieces first."""
    return b.sold > 0


@best_sellers.on(OrderStatusChanged)
async def count_sales(ctx: Fill, changed: OrderStatusChanged) -> None:
    """Count what is ordered, and take back what is cancelled; products in order, as everybody does."""
    sign = {OrderStatus.PENDING: 1, OrderStatus.CANCELLED: -1}.get(changed.status)
    if sign is not None:
        order = await orders.get(ctx, changed.order_id)
        for line in sorted(order.lines, key=lambda line: line.product_id):
            await best_sellers.change(ctx, line.product_id, partial(counted, line, sign))


@best_sellers.source
async def all_sales(ctx: Read) -> AsyncIterator[BestSeller]:
    """Count all orders, for `trivet views rebuild`."""
    found: dict[ProductId, BestSeller] = {}
    async for order in orders.stream(ctx, by_filter):
        for line in order.lines if order.status is not OrderStatus.CANCELLED else ():
            found[line.product_id] = counted(line, 1, found.get(line.product_id))
    for each in found.values():
        yield each


def counted(line: OrderLine, sign: int, known: BestSeller | None) -> BestSeller:
    """Return what is known of a product after an order of it, or after the end of one."""
    sold, orders = (0, 0) if known is None else (known.sold, known.orders)
    return BestSeller(product_id=line.product_id, sold=sold + sign * line.quantity, orders=orders + sign)
