"""What a customer of the shop does, over HTTP."""

from __future__ import annotations

import asyncio
import itertools
from decimal import Decimal
from typing import Any

import httpx2

from tests.shop.serving import PATIENCE_SECONDS, pages

ADDRESS = {"street": "Lindenstraße 1", "postal_code": "10969", "city": "Berlin", "country": "DE"}
NUMBERS = itertools.count(1)


def euros(amount: str) -> dict[str, str]:
    """Return an amount as the shop writes it."""
    return {"amount": amount, "currency": "EUR"}


def exactly(money: dict[str, str]) -> tuple[Decimal, str]:
    """Return an amount as a number, because `9.9` and `9.9000` are the same money."""
    return Decimal(money["amount"]), money["currency"]


async def ok(answer: httpx2.Response, status: int = 200) -> dict[str, Any]:
    """Return the body of an answer that has that status."""
    assert answer.status_code == status, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def get(client: httpx2.AsyncClient, path: str, **query: Any) -> dict[str, Any]:
    """Return what is at the path."""
    return await ok(await client.get(path, params=query))


async def new_customer(client: httpx2.AsyncClient, limit: str | None = None) -> dict[str, Any]:
    """Return a customer who may spend so much on one order."""
    said = {"name": "Ada Lovelace", "email": f"ada.{next(NUMBERS)}@example.org", "address": ADDRESS}
    customer = await ok(await client.post("/v1/customers", json=said), 201)
    if limit is None:
        return customer
    return await ok(await client.post(f"/v1/customers/{customer['id']}:limit", json={"limit": euros(limit)}))


async def new_product(client: httpx2.AsyncClient, stock: int = 10, price: str = "9.90", **more: Any) -> dict[str, Any]:
    """Return a product of which there is so much."""
    said = {
        "sku": f"TEST-{next(NUMBERS):04}",
        "name": "Oak chair",
        "brand": "Nordwald",
        "price": euros(price),
        "stock": stock,
    } | more
    return await ok(await client.post("/v1/products", json=said), 201)


async def place(client: httpx2.AsyncClient, customer_id: str, wanted: dict[str, int]) -> httpx2.Response:
    """Order so many of each product."""
    lines = [{"product_id": product, "quantity": quantity} for product, quantity in wanted.items()]
    return await client.post("/v1/orders", json={"customer_id": customer_id, "lines": lines}, headers=PATIENT)


PATIENT = {"Request-Timeout": "30"}


async def settled(client: httpx2.AsyncClient, order_id: str) -> dict[str, Any]:
    """Return the order once its money came or did not."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            order = await get(client, f"/v1/orders/{order_id}")
            if order["status"] != "PENDING":
                return order
            await asyncio.sleep(0.02)


async def all_settled(client: httpx2.AsyncClient, customer_id: str) -> list[dict[str, Any]]:
    """Return all orders of a customer once none of them is pending."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            orders = [order async for order in pages(client, "/v1/orders", customer_id=customer_id)]
            if all(order["status"] != "PENDING" for order in orders):
                return orders
            await asyncio.sleep(0.05)


async def payment_of(client: httpx2.AsyncClient, reference: str) -> dict[str, Any]:
    """Return the one payment for that reference."""
    [payment] = [payment async for payment in pages(client, "/v1/payments", reference=reference)]
    return payment
