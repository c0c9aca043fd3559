"""What orders do when something happened: a placed order is charged, and what came of it decides the status.

Every reaction may run again or late: it looks at the order as it is now, and does nothing where nothing is left to do.
"""

from __future__ import annotations

from shop.orders.events import OrderPlaced
from shop.orders.lifecycle import move
from shop.orders.model import OrderId, OrderStatus
from shop.orders.module import orders as module
from shop.orders.tables import orders
from shop.payments import PaymentCaptured, PaymentDeclined, charge_payment, refund_payment
from trivet import Write


@module.on(OrderPlaced)
async def charge_order(ctx: Write, placed: OrderPlaced) -> None:
    """Ask for the money, unless the order was cancelled meanwhile."""
    order = await orders.lock(ctx, placed.order_id)
    if order.status is OrderStatus.PENDING:
        await ctx.call(charge_payment, order.id, order.customer_id, order.total)


@module.on(PaymentCaptured)
async def confirm_order(ctx: Write, captured: PaymentCaptured) -> None:
    """Confirm the order; one that was cancelled while the money came gets it back."""
    [order] = await orders.lock_many(ctx, [OrderId(captured.reference)])
    if order is None:
        return
    if order.status is OrderStatus.PENDING:
        await move(ctx, order, OrderStatus.CONFIRMED)
    elif order.status is OrderStatus.CANCELLED:
        await ctx.call(refund_payment, order.id)


@module.on(PaymentDeclined)
async def cancel_declined_order(ctx: Write, declined: PaymentDeclined) -> None:
    """Cancel the order, which gives its stock back."""
    [order] = await orders.lock_many(ctx, [OrderId(declined.reference)])
    if order is not None and order.status is OrderStatus.PENDING:
        await move(ctx, order, OrderStatus.CANCELLED, f"payment declined: {declined.decline.value}")
