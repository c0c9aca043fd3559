"""FastAPI: Pydantic models in and out (https://fastapi.tiangolo.com/tutorial/body/)."""

from typing import Annotated
from uuid import UUID

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field

Sku = Annotated[str, Field(pattern="^[A-Z0-9-]{3,40}$", max_length=40)]
Currency = Annotated[str, Field(pattern="^[A-Z]{3}$", max_length=3)]
Country = Annotated[str, Field(pattern="^[A-Z]{2}$", max_length=2)]
Quantity = Annotated[int, Field(ge=1, le=1_000)]
Amount = Annotated[int, Field(ge=0, le=100_000_000)]
Text = Annotated[str, Field(min_length=1, max_length=200)]

app = FastAPI()


class Input(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Address(Input):
    name: Text
    street: Text
    city: Text
    country: Country


class NewLine(Input):
    product_id: UUID
    sku: Sku
    quantity: Quantity
    unit_price: Amount


class NewOrder(Input):
    id: UUID
    customer_id: UUID
    currency: Currency
    ship_to: Address
    lines: Annotated[list[NewLine], Field(min_length=1, max_length=100)]


class Line(BaseModel):
    product_id: UUID
    sku: str
    quantity: int
    unit_price: int
    total: int


class Order(BaseModel):
    id: UUID
    customer_id: UUID
    currency: str
    ship_to: Address
    lines: list[Line]
    total: int


@app.post("/v1/orders", status_code=201)
async def create_order(order: NewOrder) -> Order:
    lines = [
        Line(
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
