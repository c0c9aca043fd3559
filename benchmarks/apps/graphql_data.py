"""What every GraphQL contender answers from: products with brands, customers, orders with lines, all in memory."""

from __future__ import annotations

from typing import Any
from uuid import UUID

COUNT = 100
ORDERS = 20


def identity(number: int) -> str:
    return str(UUID(int=number))


PRODUCTS: list[dict[str, Any]] = [
    {
        "id": identity(n),
        "sku": f"SKU-{n:04}",
        "name": f"Product number {n}",
        "stock": n * 7 % 100,
        "brand": {"name": f"Brand {n % 9}", "country": "DE"},
    }
    for n in range(1, COUNT + 1)
]
CUSTOMERS: list[dict[str, Any]] = [{"id": identity(1000 + n), "name": f"Customer {n}"} for n in range(10)]
ROWS: list[dict[str, Any]] = [
    {
        "id": identity(2000 + n),
        "customer_id": CUSTOMERS[n % 10]["id"],
        "lines": [{"quantity": i + 1, "product_id": PRODUCTS[(n * 3 + i) % COUNT]["id"]} for i in range(3)],
    }
    for n in range(ORDERS)
]
