"""What orders tell the rest of the shop, and those who watch."""

from __future__ import annotations

from shop.customers import CustomerId
from shop.orders.model import OrderId, OrderStatus
from trivet import Event, Money


class OrderPlaced(Event):
    """An order was placed and its stock is reserved; it waits for the money."""

    order_id: OrderId
    customer_id: CustomerId
    total: Money


class OrderStatusChanged(Event):
    """An order has a new status, its first one included."""

    order_id: OrderId
    customer_id: CustomerId
    status: OrderStatus
