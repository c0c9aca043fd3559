"""The shop over HTTP: what happens to an order, and everything around it."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from tests.shop.customers import (
    euros,
    exactly,
    get,
    new_customer,
    new_product,
    ok,
    payment_of,
    place,
    settled,
)
from tests.shop.serving import PATIENCE_SECONDS, pages

# -- orders


async def test_an_order_reserves_its_stock_at_once_and_is_confirmed_when_the_money_came(
    client: httpx2.AsyncClient,
) -> None:
    customer, chair = await new_customer(client), await new_product(client, stock=10, price="149.00")
    answer = await place(client, customer["id"], {chair["id"]: 3})
    order = await ok(answer, 201)
    assert answer.headers["location"] == f"/v1/orders/{order['id']}"
    assert (order["status"], exactly(order["total"])) == ("PENDING", (Decimal(447), "EUR"))
    assert (await get(client, f"/v1/products/{chair['id']}"))["stock"] == 7
    assert (await settled(client, order["id"]))["status"] == "CONFIRMED"
    payment = await payment_of(client, order["id"])
    assert (payment["status"], exactly(payment["amount"])) == ("CAPTURED", (Decimal(447), "EUR"))


async def test_an_order_above_the_limit_is_cancelled_and_gives_its_stock_back(client: httpx2.AsyncClient) -> None:
    customer, chair = await new_customer(client, limit="100.00"), await new_product(client, stock=10, price="60.00")
    order = await ok(await place(client, customer["id"], {chair["id"]: 2}), 201)
    cancelled = await settled(client, order["id"])
    assert (cancelled["status"], cancelled["reason"]) == ("CANCELLED", "payment declined: OVER_LIMIT")
    assert (await get(client, f"/v1/products/{chair['id']}"))["stock"] == 10
    assert (await payment_of(client, order["id"]))["decline"] == "OVER_LIMIT"


async def test_a_cancelled_order_gives_its_stock_and_its_money_back(client: httpx2.AsyncClient) -> None:
    customer, chair = await new_customer(client), await new_product(client, stock=10)
    order = await ok(await place(client, customer["id"], {chair["id"]: 2}), 201)
    await settled(client, order["id"])
    cancelled = await ok(await client.post(f"/v1/orders/{order['id']}:cancel", json={"reason": "wrong size"}))
    assert (cancelled["status"], cancelled["reason"]) == ("CANCELLED", "wrong size")
    assert (await get(client, f"/v1/products/{chair['id']}"))["stock"] == 10
    assert (await payment_of(client, order["id"]))["status"] == "REFUNDED"


async def test_whoever_cancels_before_the_money_came_pays_nothing(client: httpx2.AsyncClient) -> None:
    customer, chair = await new_customer(client), await new_product(client, stock=100)
    for _ in range(5):
        order = await ok(await place(client, customer["id"], {chair["id"]: 1}), 201)
        cancelled = await client.post(f"/v1/orders/{order['id']}:cancel", json={"reason": "changed my mind"})
        assert (await ok(cancelled))["status"] == "CANCELLED"
        payments = [payment async for payment in pages(client, "/v1/payments", reference=order["id"])]
        assert all(payment["status"] == "REFUNDED" for payment in payments)
    assert (await get(client, f"/v1/products/{chair['id']}"))["stock"] == 100


async def test_a_shipped_order_can_not_be_cancelled(client: httpx2.AsyncClient) -> None:
    customer, chair = await new_customer(client), await new_product(client)
    order = await ok(await place(client, customer["id"], {chair["id"]: 1}), 201)
    await settled(client, order["id"])
    assert (await ok(await client.post(f"/v1/orders/{order['id']}:ship")))["status"] == "SHIPPED"
    refused = await ok(await client.post(f"/v1/orders/{order['id']}:cancel", json={"reason": "too late"}), 409)
    assert refused["reason"] == "STATUS_CHANGE_REFUSED"


async def test_an_order_for_more_than_there_is_takes_nothing(client: httpx2.AsyncClient) -> None:
    customer = await new_customer(client)
    plenty, few = await new_product(client, stock=10), await new_product(client, stock=1)
    refused = await ok(await place(client, customer["id"], {plenty["id"]: 1, few["id"]: 2}), 409)
    assert (refused["reason"], refused["product_id"]) == ("OUT_OF_STOCK", few["id"])
    assert (refused["wanted"], refused["left"]) == (2, 1)
    assert (await get(client, f"/v1/products/{plenty['id']}"))["stock"] == 10
    assert [order async for order in pages(client, "/v1/orders", customer_id=customer["id"])] == []


async def test_an_order_for_what_is_not_sold_is_refused_by_name(client: httpx2.AsyncClient) -> None:
    customer, nowhere = await new_customer(client), str(uuid4())
    refused = await ok(await place(client, customer["id"], {nowhere: 1}), 404)
    assert (refused["reason"], refused["product_id"]) == ("PRODUCT_UNKNOWN", nowhere)


async def test_every_mistake_in_an_order_is_named_at_once(client: httpx2.AsyncClient) -> None:
    said = {"customer_id": "nobody", "lines": [{"product_id": str(uuid4()), "quantity": 0}], "coupon": "X"}
    refused = await ok(await client.post("/v1/orders", json=said), 400)
    assert {error["pointer"] for error in refused["errors"]} == {"#/customer_id", "#/lines/0/quantity", "#/coupon"}


# -- the catalog


async def test_the_shop_starts_with_products_that_can_be_searched(client: httpx2.AsyncClient) -> None:
    chairs = [p async for p in pages(client, "/v1/products", text="chair", min_price="100", max_price="200")]
    assert chairs
    assert all("chair" in p["name"] and 100 <= Decimal(p["price"]["amount"]) <= 200 for p in chairs)
    brand = chairs[0]["brand"]
    assert {p["brand"] async for p in pages(client, "/v1/products", brand=brand)} == {brand}


async def test_pages_hold_every_seeded_row_once(client: httpx2.AsyncClient) -> None:
    customers = [c["id"] async for c in pages(client, "/v1/customers", country="DE")]
    assert len(customers) == len(set(customers)) > 50
    shipped = [o["id"] async for o in pages(client, "/v1/orders", status="SHIPPED", until="2026-02-01T00:00:00Z")]
    assert len(shipped) == len(set(shipped)) > 100


async def test_products_are_got_in_batches_in_the_order_asked_for(client: httpx2.AsyncClient) -> None:
    first, second = await new_product(client), await new_product(client)
    wanted = [second["id"], str(uuid4()), first["id"]]
    body = (await client.get("/v1/products:batchGet", params={"ids": wanted})).json()
    found = body["items"] if isinstance(body, dict) else body
    assert [p and p["id"] for p in found] == [second["id"], None, first["id"]]


async def test_a_merge_patch_changes_what_it_names_and_nothing_else(client: httpx2.AsyncClient) -> None:
    product = await new_product(client, description="Stacks four high.", tags=["oak", "dining"])
    changed = await ok(await patch(client, product["id"], {"price": {"amount": "12.50"}, "description": None}))
    assert exactly(changed["price"]) == (Decimal("12.50"), "EUR")
    assert (changed["description"], changed["tags"]) == ("", ["oak", "dining"])
    assert (changed["version"], changed["sku"]) == (product["version"] + 1, product["sku"])
    assert (await get(client, f"/v1/products/{product['id']}"))["update_time"] == changed["update_time"]


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        pytest.param({"version": 7}, "#/version", id="a field that is not the client's"),
        pytest.param({"sku": None}, "#/sku", id="removing what has no default"),
        pytest.param({"price": {"amount": "-1"}}, "#/price/amount", id="a price below zero"),
        pytest.param({"tags": ["Not A Tag"]}, "#/tags/0", id="a value that does not fit"),
    ],
)
async def test_a_merge_patch_is_refused_with_the_place(
    client: httpx2.AsyncClient, changes: dict[str, Any], pointer: str
) -> None:
    product = await new_product(client)
    refused = await ok(await patch(client, product["id"], changes), 400)
    assert [error["pointer"] for error in refused["errors"]] == [pointer]


async def patch(client: httpx2.AsyncClient, product_id: str, changes: dict[str, Any]) -> httpx2.Response:
    headers = {"Content-Type": "application/merge-patch+json"}
    return await client.patch(f"/v1/products/{product_id}", content=json.dumps(changes), headers=headers)


async def test_a_sku_is_taken_once(client: httpx2.AsyncClient) -> None:
    product = await new_product(client)
    said = {"sku": product["sku"], "name": "Chair", "brand": "Rask", "price": euros("5.00")}
    refused = await ok(await client.post("/v1/products", json=said), 409)
    assert (refused["reason"], refused["sku"]) == ("SKU_TAKEN", product["sku"])


async def test_a_deleted_product_is_gone_and_its_orders_stay(client: httpx2.AsyncClient) -> None:
    customer, chair = await new_customer(client), await new_product(client)
    order = await ok(await place(client, customer["id"], {chair["id"]: 1}), 201)
    await settled(client, order["id"])
    assert (await client.delete(f"/v1/products/{chair['id']}")).status_code == 204
    assert (await client.get(f"/v1/products/{chair['id']}")).status_code == 404
    kept = await get(client, f"/v1/orders/{order['id']}", expand="lines.product")
    assert (kept["lines"][0]["product_id"], kept["lines"][0]["product"]) == (chair["id"], None)


# -- relations


async def test_relations_are_expanded_on_request(client: httpx2.AsyncClient) -> None:
    customer, chair = await new_customer(client), await new_product(client)
    order = await ok(await place(client, customer["id"], {chair["id"]: 1}), 201)
    await settled(client, order["id"])
    shown = await get(client, f"/v1/orders/{order['id']}", expand="customer,lines.product")
    assert shown["customer"]["email"] == customer["email"]
    assert shown["lines"][0]["product"]["sku"] == chair["sku"]
    with_orders = await get(client, f"/v1/customers/{customer['id']}", expand="orders")
    assert [o["id"] for o in with_orders["orders"]["items"]] == [order["id"]]


async def test_a_page_of_customers_has_the_orders_of_each(client: httpx2.AsyncClient) -> None:
    page = await get(client, "/v1/customers", expand="orders", page_size=20)
    for customer in page["items"]:
        alone = await get(client, "/v1/orders", customer_id=customer["id"])
        assert [o["id"] for o in customer["orders"]["items"]] == [o["id"] for o in alone["items"]]


# -- streams and jobs


async def test_who_watches_sees_each_status_after_its_commit(client: httpx2.AsyncClient) -> None:
    customer, chair = await new_customer(client, limit="20.00"), await new_product(client, price="15.00", stock=9)
    other = await new_customer(client)
    async with watching(client, customer_id=customer["id"]) as changes:
        await ok(await place(client, other["id"], {chair["id"]: 1}), 201)
        small = await ok(await place(client, customer["id"], {chair["id"]: 1}), 201)
        await settled(client, small["id"])
        large = await ok(await place(client, customer["id"], {chair["id"]: 2}), 201)
        seen = [await anext(changes) for _ in range(4)]
    assert [(change["order_id"], change["status"]) for _, change in seen] == [
        (small["id"], "PENDING"),
        (small["id"], "CONFIRMED"),
        (large["id"], "PENDING"),
        (large["id"], "CANCELLED"),
    ]


async def test_a_watcher_that_comes_back_misses_nothing(client: httpx2.AsyncClient) -> None:
    customer, chair = await new_customer(client), await new_product(client)
    async with watching(client, customer_id=customer["id"]) as changes:
        first = await ok(await place(client, customer["id"], {chair["id"]: 1}), 201)
        position, _ = await anext(changes)
    second = await ok(await place(client, customer["id"], {chair["id"]: 1}), 201)
    await settled(client, first["id"])
    await settled(client, second["id"])
    async with watching(client, customer_id=customer["id"], after=position) as changes:
        seen = [await anext(changes) for _ in range(3)]
    assert {(change["order_id"], change["status"]) for _, change in seen} == {
        (first["id"], "CONFIRMED"),
        (second["id"], "PENDING"),
        (second["id"], "CONFIRMED"),
    }


@asynccontextmanager
async def watching(
    client: httpx2.AsyncClient, *, after: str | None = None, **query: str
) -> AsyncIterator[AsyncIterator[tuple[str, dict[str, Any]]]]:
    """Follow the orders: yields the position and the change of each event."""
    headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": after} if after else {})
    async with client.stream("GET", "/v1/orders:watch", params=query, headers=headers) as answer:
        assert answer.status_code == 200

        async def events() -> AsyncIterator[tuple[str, dict[str, Any]]]:
            fields: dict[str, str] = {}
            async for line in answer.aiter_lines():
                name, _, value = line.partition(":")
                if line and name:
                    fields[name] = value.removeprefix(" ")
                elif not line and "data" in fields:
                    yield fields["id"], json.loads(fields["data"])
                    fields = {}

        async with asyncio.timeout(PATIENCE_SECONDS):
            yield events()


async def test_an_export_is_a_file_of_the_orders_of_its_days(client: httpx2.AsyncClient) -> None:
    asked = await client.post("/v1/orders:export", json={"first_day": "2026-03-01", "last_day": "2026-03-07"})
    assert asked.status_code == 202, asked.text
    job = await ended(client, asked.headers["location"])
    file = job["result"]
    query = {"since": "2026-03-01T00:00:00Z", "until": "2026-03-08T00:00:00Z"}
    orders = [o async for o in pages(client, "/v1/orders", **query)]
    assert (job["state"], job["progress"]["done"], file["rows"]) == ("succeeded", len(orders), len(orders))
    answer = await client.get(file["path"])
    assert answer.headers["content-disposition"] == 'attachment; filename="orders-2026-03-01-2026-03-07.csv"'
    rows = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    assert [(row["id"], row["total.amount"], row["status"]) for row in rows] == [
        (order["id"], order["total"]["amount"], order["status"]) for order in orders
    ]
    assert len(rows) > 20


async def test_an_export_of_reversed_days_fails_with_the_reason(client: httpx2.AsyncClient) -> None:
    asked = await client.post("/v1/orders:export", json={"first_day": "2026-03-07", "last_day": "2026-03-01"})
    job = await ended(client, asked.headers["location"])
    assert (job["state"], job["error"]["reason"]) == ("failed", "INVALID_ARGUMENT")


async def ended(client: httpx2.AsyncClient, path: str) -> dict[str, Any]:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            job = await get(client, path)
            if job["state"] in ("succeeded", "failed"):
                return job
            await asyncio.sleep(0.05)
