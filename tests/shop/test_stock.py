"""However many orders come at once, and whatever dies meanwhile: the shop sells what it has, and tells the truth."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import Any

import httpx2
import pytest

from tests.shop.customers import all_settled, exactly, get, new_customer, new_product, payment_of, place
from tests.shop.serving import PATIENCE_SECONDS, kill_a_worker, pages, shop
from trivet.testing import Served

PARALLEL = 200
LEFT = 50


ENGINES = pytest.mark.parametrize("engine", ["sqlite", "postgresql"])


@ENGINES
async def test_two_hundred_parallel_orders_for_the_last_fifty_items_sell_exactly_fifty(engine: str) -> None:
    with shop(2, engine) as served:
        async with client_of(served) as client:
            customer = await new_customer(client)
            product = await new_product(client, stock=LEFT)
            answers = await asyncio.gather(
                *(place(client, customer["id"], {product["id"]: 1}) for _ in range(PARALLEL))
            )
            assert Counter(answer.status_code for answer in answers) == {201: LEFT, 409: PARALLEL - LEFT}
            refusals = [answer.json() for answer in answers if answer.status_code == 409]
            assert {refusal["reason"] for refusal in refusals} == {"OUT_OF_STOCK"}
            assert (await get(client, f"/v1/products/{product['id']}"))["stock"] == 0
            orders = await all_settled(client, customer["id"])
            assert Counter(order["status"] for order in orders) == {"CONFIRMED": LEFT}


@pytest.mark.slow
@ENGINES
async def test_killing_workers_in_the_middle_of_writes_loses_nothing_and_invents_nothing(engine: str) -> None:
    chance = random.Random(7)
    stock = 400
    with shop(2, engine) as served:
        async with client_of(served) as client:
            rich = await new_customer(client, limit="100000.00")
            poor = await new_customer(client, limit="15.00")
            goods = [(await new_product(client, stock=stock, price="10.00"))["id"] for _ in range(5)]
            answered: list[dict[str, Any]] = []
            done = asyncio.Event()

            async def shopper(seed: int) -> None:
                taste = random.Random(seed)
                while not done.is_set():
                    customer = taste.choice((rich, rich, poor))["id"]
                    wanted = {product: taste.randint(1, 2) for product in taste.sample(goods, taste.randint(1, 3))}
                    try:
                        answer = await place(client, customer, wanted)
                    except httpx2.TransportError:
                        continue  # the worker died; whether the order exists is what we are about to see
                    if answer.status_code == 201:
                        answered.append(answer.json())

            async def killer() -> None:
                for _ in range(4):
                    await asyncio.sleep(1 + chance.random() / 2)  # a new worker needs about a second
                    kill_a_worker(served, chance.randrange(2))
                await asyncio.sleep(0.5)
                done.set()

            await asyncio.gather(killer(), *(shopper(n) for n in range(8)))
            orders = [order for who in (rich, poor) for order in await all_settled(client, who["id"])]
            by_id = {order["id"]: order for order in orders}

            assert answered, "no order was placed"
            assert {order["id"] for order in answered} <= set(by_id), "an answered order was lost"
            assert {order["status"] for order in orders} <= {"CONFIRMED", "CANCELLED"}

            sold: Counter[str] = Counter()
            for order in orders:
                payment = await payment_of(client, order["id"])
                expected = "CAPTURED" if order["status"] == "CONFIRMED" else "DECLINED"
                assert (payment["status"], exactly(payment["amount"])) == (expected, exactly(order["total"]))
                if order["status"] == "CONFIRMED":
                    sold.update({line["product_id"]: line["quantity"] for line in order["lines"]})
            for product in goods:
                assert (await get(client, f"/v1/products/{product}"))["stock"] == stock - sold[product]

            references = {payment["reference"] async for payment in pages(client, "/v1/payments")}
            assert references == {order["id"] async for order in pages(client, "/v1/orders")}, "a phantom payment"


def client_of(served: Served) -> httpx2.AsyncClient:
    limits = httpx2.Limits(max_connections=PARALLEL)
    return httpx2.AsyncClient(base_url=served.url, timeout=PATIENCE_SECONDS, limits=limits)
