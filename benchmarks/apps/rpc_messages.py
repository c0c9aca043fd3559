"""The messages of the RPC benchmarks as protobuf's own classes, from the contract that Trivet writes; what is asked."""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pool, message_factory

from benchmarks.apps.rpc_trivet import app
from trivet.contracts.proto.descriptor import descriptors

SERVICE = "bench.sales.v1.SalesService"
LINES = 20
MESSAGES = 1000

_pool = descriptor_pool.DescriptorPool()
for _file in descriptors(app.contract()[0].packages):
    _pool.Add(_file)


def kind(name: str) -> Any:
    """Return the class of a message."""
    return message_factory.GetMessageClass(_pool.FindMessageTypeByName(f"bench.sales.v1.{name}"))


LevelRequest, LevelResponse = kind("LevelRequest"), kind("LevelResponse")
PriceRequest, PriceResponse = kind("PriceRequest"), kind("PriceResponse")
TicksRequest, TicksResponse = kind("TicksRequest"), kind("TicksResponse")


def level(request: Any) -> Any:
    """Answer the small call."""
    answer = LevelResponse()
    found = answer.level
    found.sku, found.count, found.reserved = request.sku, 120, 3
    return answer


def price(request: Any) -> Any:
    """Answer an order with its total."""
    answer = PriceResponse()
    asked, found = request.order, answer.order
    found.customer, found.currency = asked.customer, asked.currency
    found.lines.extend(asked.lines)
    found.total = sum(line.quantity * line.unit_price for line in asked.lines)
    return answer


def tick(number: int) -> Any:
    """Return one message of the stream."""
    answer = TicksResponse()
    answer.tick.number, answer.tick.text = number, "tick"
    return answer


def order() -> Any:
    """Return the order that is asked for."""
    request = PriceRequest()
    request.order.customer, request.order.currency = "Ada Lovelace", "EUR"
    for number in range(LINES):
        request.order.lines.add(
            sku=f"SKU-{number:04}", name=f"Something {number}", quantity=1 + number, unit_price=1999 + number
        )
    return request
