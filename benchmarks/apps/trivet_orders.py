"""Trivet: one command, no database."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from trivet import App, Meta, Module, Struct, Write

Sku = Annotated[str, Meta(pattern="^[A-Z0-9-]{3,40}$", max_length=40)]
Currency = Annotated[str, Meta(pattern="^[A-Z]{3}$", max_length=3)]
Country = Annotated[str, Meta(pattern="^[A-Z]{2}$", max_length=2)]
Quantity = Annotated[int, Meta(ge=1, le=1_000)]
Amount = Annotated[int, Meta(ge=0, le=100_000_000)]
Text = Annotated[str, Meta(min_length=1, max_length=200)]

orders = Module("orders", owner="benchmarks")


class Address(Struct):
    """Where an order goes."""

    name: Text
    street: Text
    city: Text
    country: Country


class NewLine(Struct):
    """So many of one product."""

    product_id: UUID
    sku: Sku
    quantity: Quantity
    unit_price: Amount


class NewOrder(Struct):
    """What a client orders."""

    id: UUID
    customer_id: UUID
    currency: Currency
    ship_to: Address
    lines: Annotated[list[NewLine], Meta(min_length=1, max_length=100)]


class OrderLine(Struct):
    """So many of one product, priced."""

    product_id: UUID
    sku: Sku
    quantity: Quantity
    unit_price: Amount
    total: int


class Order(Struct):
    """An order with its totals."""

    id: UUID
    customer_id: UUID
    currency: Currency
    ship_to: Address
    lines: Annotated[list[OrderLine], Meta(max_length=100)]
    total: int


@orders.command(public=True, plural="orders")
async def create_order(ctx: Write, order: NewOrder) -> Order:
    """Price an order."""
    lines = [
        OrderLine(
            product_id=line.product_id,
            sku=line.sku,
            quantity=line.quantity,
            unit_price=line.unit_price,
            total=line.quantity * line.unit_price,
        )
        for line in order.lines
    ]
    return Order(
        id=order.id,
        customer_id=order.customer_id,
        currency=order.currency,
        ship_to=order.ship_to,
        lines=lines,
        total=sum(line.total for line in lines),
    )


app = App("orders", modules=[orders])
