"""Orders as plain data: what a line costs, and which status may follow which.

::

    PENDING ──► CONFIRMED ──► SHIPPED
       │            │
       └────────────┴──► CANCELLED
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Annotated, NewType
from uuid import UUID

from msgspec.structs import replace

from shop.catalog import Product, ProductId, ProductUnknown, Quantity
from shop.customers import CustomerId, Subject
from trivet import FailedPrecondition, InvalidArgument, Meta, Money, Struct, Violation

MAX_LINES = 50
MAX_EXPORT_DAYS = 366

OrderId = NewType("OrderId", UUID)
Reason = Annotated[str, Meta(min_length=1, max_length=500)]


class OrderStatus(enum.Enum):
    """Where an order stands."""

    PENDING = "PENDING"
    CONFIRMED = "CONFIRMED"
    SHIPPED = "SHIPPED"
    CANCELLED = "CANCELLED"


TRANSITIONS: Mapping[OrderStatus, frozenset[OrderStatus]] = {
    OrderStatus.PENDING: frozenset({OrderStatus.CONFIRMED, OrderStatus.CANCELLED}),
    OrderStatus.CONFIRMED: frozenset({OrderStatus.SHIPPED, OrderStatus.CANCELLED}),
    OrderStatus.SHIPPED: frozenset(),
    OrderStatus.CANCELLED: frozenset(),
}
"""Which status may follow which; nothing else decides it."""


class NewLine(Struct):
    """So many of one product."""

    product_id: ProductId
    quantity: Quantity


class NewOrder(Struct):
    """What a client says about an order; lines of the same product are added up."""

    customer_id: CustomerId
    lines: Annotated[tuple[NewLine, ...], Meta(min_length=1, max_length=MAX_LINES)]


class OrderLine(Struct):
    """So many of one product, at the price it had when the order was placed."""

    product_id: ProductId
    quantity: int
    price: Money
    total: Money


class Order(Struct):
    """What a customer bought."""

    id: OrderId
    customer_id: CustomerId
    owner: Annotated[Subject, Meta(description="Whose credential may see it: the customer's")]
    status: OrderStatus
    reason: Annotated[str, Meta(max_length=500, description="Why it was cancelled; empty while it is not")]
    lines: Annotated[tuple[OrderLine, ...], Meta(min_length=1, max_length=MAX_LINES)]
    total: Money
    version: int
    create_time: datetime
    update_time: datetime


class BestSeller(Struct):
    """How much of a product was ordered; cancelled orders do not count."""

    product_id: ProductId
    sold: Annotated[int, Meta(description="How many pieces")]
    orders: Annotated[int, Meta(description="In how many orders")]


class StatusChangeRefused(FailedPrecondition, status=409):
    """An order in this status can not get that one."""

    order_id: OrderId
    current: OrderStatus
    wanted: OrderStatus


class CurrenciesDiffer(FailedPrecondition, status=409):
    """The products of one order are priced in more than one currency."""

    currencies: Annotated[tuple[Annotated[str, Meta(max_length=3)], ...], Meta(max_length=MAX_LINES)]


def priced(wanted: Iterable[NewLine], products: Mapping[ProductId, Product]) -> tuple[OrderLine, ...]:
    """Return one line for each product, at its price, in the order of first mention.

    Args:
        wanted: What the client asks for.
        products: The products as the catalog has them, by id.

    Raises:
        ProductUnknown: A line names a product that is not among `products`.
    """
    quantities: dict[ProductId, int] = {}
    for line in wanted:
        quantities[line.product_id] = quantities.get(line.product_id, 0) + line.quantity
    lines = []
    for product_id, quantity in quantities.items():
        product = products.get(product_id)
        if product is None:
            raise ProductUnknown(product_id=product_id)
        lines.append(
            OrderLine(product_id=product_id, quantity=quantity, price=product.price, total=product.price * quantity)
        )
    return tuple(lines)


def total_of(lines: Sequence[OrderLine]) -> Money:
    """Return what the lines cost together.

    Raises:
        CurrenciesDiffer: They are not all in one currency.
    """
    currencies = sorted({line.total.currency for line in lines})
    if len(currencies) > 1:
        raise CurrenciesDiffer(currencies=tuple(currencies))
    first, *rest = (line.total for line in lines)
    return sum(rest, first)


def moved(order: Order, status: OrderStatus, now: datetime, reason: str = "") -> Order:
    """Return the order in its next status.

    Raises:
        StatusChangeRefused: `TRANSITIONS` does not lead there.
    """
    if status not in TRANSITIONS[order.status]:
        raise StatusChangeRefused(order_id=order.id, current=order.status, wanted=status)
    return replace(order, status=status, reason=reason, update_time=now)


def check_days(first_day: date, last_day: date) -> None:
    """Refuse a range of days that is reversed or longer than a year.

    Raises:
        InvalidArgument: It is.
    """
    if last_day < first_day:
        raise InvalidArgument(violations=(Violation(detail="must not be before first_day", pointer="#/last_day"),))
    if (last_day - first_day).days >= MAX_EXPORT_DAYS:
        violation = Violation(detail=f"must be less than {MAX_EXPORT_DAYS} days after first_day", pointer="#/last_day")
        raise InvalidArgument(violations=(violation,))
