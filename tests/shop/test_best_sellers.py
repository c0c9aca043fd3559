"""What sells best in the shop: seeded from its orders, counted on as they come and go, the same on every protocol."""

from __future__ import annotations

import asyncio

import httpx2
import pytest

from tests.shop.customers import new_customer, new_product, ok, place, settled
from tests.shop.serving import PATIENCE_SECONDS, pages

pytestmark = pytest.mark.integration


async def until_sold(client: httpx2.AsyncClient, product: str, wanted: int) -> None:
    """Wait until the list has so many pieces of a product; none, where it is not in the list."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            found = {each["product_id"]: each["sold"] async for each in pages(client, "/v1/best-sellers")}
            if found.get(product, 0) == wanted:
                return
            await asyncio.sleep(0.1)


async def test_orders_count_when_they_are_placed_and_not_any_more_once_cancelled(client: httpx2.AsyncClient) -> None:
    customer, chair = await new_customer(client), await new_product(client, stock=10)
    order = await ok(await place(client, customer["id"], {chair["id"]: 2}), 201)
    await until_sold(client, chair["id"], 2)
    await settled(client, order["id"])
    await ok(await client.post(f"/v1/orders/{order['id']}:cancel", json={"reason": "wrong size"}))
    await until_sold(client, chair["id"], 0)


async def test_the_orders_that_the_shop_starts_with_are_counted_on_every_protocol(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/v1/best-sellers", params={"page_size": 1, "expand": "product"})
    [top] = answer.json()["items"]
    assert top["sold"] > top["orders"] > 1
    assert top["product"]["id"] == top["product_id"]
    assert int(answer.headers["data-age"]) >= 0
    async with asyncio.timeout(PATIENCE_SECONDS):
        asked = {}
        while "data" not in asked:  # the first document may come too late on a busy machine
            query = "{ bestSellers(first: 1) { nodes { sold product { id } } } }"
            asked = (await client.post("/graphql", json={"query": query})).json()
    assert asked["data"]["bestSellers"]["nodes"] == [{"sold": top["sold"], "product": {"id": top["product_id"]}}]
    assert asked["extensions"]["dataAge"] >= 0
