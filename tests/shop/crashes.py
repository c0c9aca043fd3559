"""Killed at random points: whoever retries with the same key gets exactly one effect, and every event is handled once.

Workers are killed in the middle of commands, and so is PostgreSQL itself. Customers place orders with idempotency keys
and repeat each until they are told what became of it. The seed is printed, so that a failure can be played again.
"""

from __future__ import annotations

import asyncio
import random
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

import httpx2

from tests.postgres import SURVIVES, Server
from tests.shop.customers import PATIENT, all_settled, get, new_customer, new_product, payment_of
from tests.shop.serving import EXAMPLES, PATIENCE_SECONDS, kill_a_worker, pages, shop
from trivet.testing import Served, serve

STOCK = 1_000_000
"""More than anybody sells in the time."""
PAUSES = (0.4, 1.0)
"""Seconds between two kills."""


@contextmanager
def shop_on(server: Server) -> Iterator[Served]:
    environ = {
        "TRIVET_ENVIRONMENT": "development",
        "TRIVET_SERVER__WORKERS": "2",
        "TRIVET_DATABASE__URL": server.url(),
    }
    with serve("shop.app:app", app_dir=EXAMPLES, environ=environ) as served:
        yield served


class Customers:
    """Place orders until told to stop, each again and again until it is known what became of it."""

    def __init__(self, client: httpx2.AsyncClient, chance: random.Random) -> None:
        self.client = client
        self.chance = chance
        self.done = asyncio.Event()
        self.placed: dict[str, str] = {}
        self.replayed = self.repeated = 0

    async def prepare(self) -> None:
        self.customer = (await new_customer(self.client, limit="1000000.00"))["id"]
        self.goods = [(await new_product(self.client, stock=STOCK, price="1.00"))["id"] for _ in range(3)]

    async def order(self, key: str) -> None:
        product = self.chance.choice(self.goods)
        said = {"customer_id": self.customer, "lines": [{"product_id": product, "quantity": 1}]}
        while True:
            try:
                answer = await self.client.post("/v1/orders", json=said, headers=PATIENT | {"Idempotency-Key": key})
            except httpx2.TransportError:
                self.repeated += 1
                await asyncio.sleep(0.05)
                continue
            if answer.status_code == 201:
                self.replayed += "idempotent-replayed" in answer.headers
                assert self.placed.setdefault(key, answer.json()["id"]) == answer.json()["id"]
                return
            assert answer.status_code in (409, 503, 504), answer.text  # to be repeated, says the contract
            self.repeated += 1
            await asyncio.sleep(0.05)

    async def shop(self) -> None:
        while not self.done.is_set():
            await self.order(str(UUID(int=self.chance.getrandbits(128))))

    async def verify(self) -> None:
        orders = await all_settled(self.client, self.customer)
        assert sorted(order["id"] for order in orders) == sorted(self.placed.values()), "one effect for each key"
        assert {order["status"] for order in orders} <= {"CONFIRMED"}
        sold = Counter(line["product_id"] for order in orders for line in order["lines"])
        for product in self.goods:
            assert (await get(self.client, f"/v1/products/{product}"))["stock"] == STOCK - sold[product]
        for order in orders:
            assert (await payment_of(self.client, order["id"]))["status"] == "CAPTURED", "handled once in effect"
        references = [payment["reference"] async for payment in pages(self.client, "/v1/payments")]
        assert len(references) == len(set(references))


async def crash(engine: str, kills: int, seed: int) -> None:
    """Kill at random points and verify what is left.

    Args:
        engine: Of the database; a server of PostgreSQL is killed as well, every third time.
        kills: How many.
        seed: Decides who is killed and when.
    """
    print(f"{kills} kills on {engine}, TRIVET_SEED={seed}", flush=True)
    if engine == "sqlite":
        with shop(2, engine) as served:
            await _killed(served, kills, random.Random(f"{seed} workers"), None)
        return
    own = await asyncio.to_thread(Server, 17, SURVIVES)
    try:
        with shop_on(own) as served:
            await _killed(served, kills, random.Random(f"{seed} both"), own)
    finally:
        await asyncio.to_thread(own.remove)


async def _killed(served: Served, kills: int, chance: random.Random, server: Server | None) -> None:
    async with httpx2.AsyncClient(base_url=served.url, timeout=PATIENCE_SECONDS) as client:
        customers = Customers(client, chance)
        await customers.prepare()
        shoppers = [asyncio.create_task(customers.shop()) for _ in range(6)]
        for number in range(kills):
            await asyncio.sleep(chance.uniform(*PAUSES))
            if server is not None and number % 3 == 2:
                await asyncio.to_thread(server.stop, signal.SIGKILL)
                await asyncio.sleep(chance.uniform(0, 0.3))
                await asyncio.to_thread(server.start)
            else:
                kill_a_worker(served, chance.randrange(2))
        await asyncio.sleep(1)
        customers.done.set()
        await asyncio.gather(*shoppers)
        assert customers.placed
        assert customers.repeated, "no kill was noticed by anybody"
        await customers.verify()
