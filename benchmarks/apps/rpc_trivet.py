"""RPC by Trivet: a small call, an order of many lines, and a stream, through every policy."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from trivet import App, Meta, Module, Read, Struct

Text = Annotated[str, Meta(min_length=1, max_length=200)]
Amount = Annotated[int, Meta(ge=0, le=100_000_000)]
Quantity = Annotated[int, Meta(ge=1, le=1000)]


class Level(Struct):
    """How much of something there is."""

    sku: str
    count: int
    reserved: int


class Line(Struct):
    """One line of an order."""

    sku: Text
    name: Text
    quantity: Quantity
    unit_price: Amount


class NewOrder(Struct):
    """An order as it is asked for."""

    customer: Text
    currency: Text
    lines: Annotated[tuple[Line, ...], Meta(min_length=1, max_length=100)]


class Order(Struct):
    """An order with its total."""

    customer: str
    currency: str
    lines: tuple[Line, ...]
    total: int


class Tick(Struct):
    """One message of a stream."""

    number: int
    text: str


sales = Module("sales")


@sales.query(public=True)
async def level(ctx: Read, sku: Text) -> Level:
    """Return how much there is."""
    return Level(sku=sku, count=120, reserved=3)


@sales.query(public=True)
async def price(ctx: Read, order: NewOrder) -> Order:
    """Return an order with its total."""
    total = 0
    for line in order.lines:
        total += line.quantity * line.unit_price
    return Order(customer=order.customer, currency=order.currency, lines=order.lines, total=total)


@sales.stream(public=True)
async def ticks(ctx: Read, count: Annotated[int, Meta(ge=0, le=100_000)]) -> AsyncIterator[Tick]:
    """Yield so many ticks."""
    for number in range(count):
        yield Tick(number=number, text="tick")


app = App("bench", modules=[sales])
