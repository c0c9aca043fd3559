"""How an order changes its status: the row, what is undone elsewhere, and the word about it, in one transaction."""

from __future__ import annotations

from shop.catalog import StockLine, release_stock
from shop.orders.events import OrderStatusChanged
from shop.orders.model import Order, OrderStatus, moved
from shop.orders.tables import orders
from shop.payments import refund_payment
from trivet import Write


async def move(ctx: Write, order: Order, status: OrderStatus, reason: str = "") -> Order:
    """Store the order in its next status; a cancelled one gives back its stock and its money.

    Raises:
        StatusChangeRefused: That status can not follow.
    """
    changed = await orders.update(ctx, moved(order, status, ctx.now, reason))
    if status is OrderStatus.CANCELLED:
        await ctx.call(release_stock, stock_of(order))
        await ctx.call(refund_payment, order.id)
    ctx.emit(OrderStatusChanged(order_id=order.id, customer_id=order.customer_id, status=status))
    return changed


def stock_of(order: Order) -> list[StockLine]:
    """Return what the order takes from the stock."""
    return [StockLine(product_id=line.product_id, quantity=line.quantity) for line in order.lines]
