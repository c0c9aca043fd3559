"""The floor: ASGI by hand, msgspec for decoding and encoding, nothing else."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import Meta

Sku = Annotated[str, Meta(pattern="^[A-Z0-9-]{3,40}$", max_length=40)]
Currency = Annotated[str, Meta(pattern="^[A-Z]{3}$", max_length=3)]
Country = Annotated[str, Meta(pattern="^[A-Z]{2}$", max_length=2)]
Quantity = Annotated[int, Meta(ge=1, le=1_000)]
Amount = Annotated[int, Meta(ge=0, le=100_000_000)]
Text = Annotated[str, Meta(min_length=1, max_length=200)]


class Address(msgspec.Struct, forbid_unknown_fields=True):
    name: Text
    street: Text
    city: Text
    country: Country


class NewLine(msgspec.Struct, forbid_unknown_fields=True):
    product_id: UUID
    sku: Sku
    quantity: Quantity
    unit_price: Amount


class NewOrder(msgspec.Struct, forbid_unknown_fields=True):
    id: UUID
    customer_id: UUID
    currency: Currency
    ship_to: Address
    lines: Annotated[list[NewLine], Meta(min_length=1, max_length=100)]


class Line(msgspec.Struct):
    product_id: UUID
    sku: str
    quantity: int
    unit_price: int
    total: int


class Order(msgspec.Struct):
    id: UUID
    customer_id: UUID
    currency: str
    ship_to: Address
    lines: list[Line]
    total: int


decode = msgspec.json.Decoder(NewOrder).decode
encode = msgspec.json.Encoder().encode


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
        return
    assert scope["method"] == "POST"
    assert scope["path"] == "/v1/orders"
    message = await receive()
    body = message["body"]
    while message["more_body"]:
        message = await receive()
        body += message["body"]
    order = decode(body)
    lines = [
        Line(line.product_id, line.sku, line.quantity, line.unit_price, line.quantity * line.unit_price)
        for line in order.lines
    ]
    total = sum(line.total for line in lines)
    answer = encode(Order(order.id, order.customer_id, order.currency, order.ship_to, lines, total))
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(answer))]
    await send({"type": "http.response.start", "status": 201, "headers": headers})
    await send({"type": "http.response.body", "body": answer})


async def lifespan(receive: Any, send: Any) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
