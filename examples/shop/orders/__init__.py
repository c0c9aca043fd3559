"""What was ordered, and what became of it. Other modules import this package, never a module inside it."""

from __future__ import annotations

from shop.orders import edges, reactions
from shop.orders.events import OrderPlaced, OrderStatusChanged
from shop.orders.model import (
    BestSeller,
    NewLine,
    NewOrder,
    Order,
    OrderId,
    OrderLine,
    OrderStatus,
    StatusChangeRefused,
)
from shop.orders.module import orders
from shop.orders.operations import (
    cancel_order,
    create_order,
    export_orders,
    get_order,
    list_best_sellers,
    list_orders,
    ship_order,
    watch_orders,
)

__all__ = [
    "BestSeller",
    "NewLine",
    "NewOrder",
    "Order",
    "OrderId",
    "OrderLine",
    "OrderPlaced",
    "OrderStatus",
    "OrderStatusChanged",
    "StatusChangeRefused",
    "cancel_order",
    "create_order",
    "edges",
    "export_orders",
    "get_order",
    "list_best_sellers",
    "list_orders",
    "orders",
    "reactions",
    "ship_order",
    "watch_orders",
]
