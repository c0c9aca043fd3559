"""Litestar: msgspec structs in and out, its own fastest way (https://docs.litestar.dev/2/usage/requests.html)."""

from litestar import Litestar, post

from benchmarks.apps.bare_orders import Line, NewOrder, Order


@post("/v1/orders")
async def create_order(data: NewOrder) -> Order:
    lines = [
        Line(
            product_id=line.product_id,
            sku=line.sku,
            quantity=line.quantity,
            unit_price=line.unit_price,
            total=line.quantity * line.unit_price,
        )
        for line in data.lines
    ]
    return Order(
        id=data.id,
        customer_id=data.customer_id,
        currency=data.currency,
        ship_to=data.ship_to,
        lines=lines,
        total=sum(line.total for line in lines),
    )


app = Litestar([create_order])
