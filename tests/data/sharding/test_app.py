"""An app with sharded tables: what a command may reach, keys, events and jobs; on SQLite and on three nodes."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import pytest

from tests.data.sharding.nodes import three, what_moves
from trivet import PUBLIC, AlreadyExists, App, Event, Meta, Module, Page, PageRequest, Read, Run, Struct, Table, Write
from trivet.core.clock import shard_of
from trivet.core.error import Internal
from trivet.core.resource import Resource
from trivet.core.sharding import logical_of
from trivet.data.sharding.database import ShardedDatabase
from trivet.data.sharding.directory import HOME
from trivet.data.sharding.move import Move
from trivet.data.sharding.placement import Misplaced
from trivet.data.sharding.session import SecondShard
from trivet.settings import DatabaseSettings, Url
from trivet.telemetry.metrics import merge, render
from trivet.testing import Client, principal
from trivet.testing.app import settings_for_tests

Name = Annotated[str, Meta(min_length=1, max_length=40)]
ADA = principal("ada", scopes="shop.write")


class Customer(Struct):
    """A customer."""

    id: UUID
    name: Name


class Order(Struct):
    """An order."""

    id: UUID
    customer_id: UUID
    name: Name


class Seen(Struct):
    """What handlers saw, by name: kept elsewhere than what it is about."""

    name: Name
    count: int
    version: int


class Claim(Struct):
    """Who has an address."""

    address: Name
    customer_id: UUID


class Placed(Event):
    """An order was placed."""

    order_id: UUID
    name: Name


outside = Resource("outside", nullcontext)


class Shop:
    """One app, and what its handlers did."""

    def __init__(self, database: DatabaseSettings) -> None:
        self.runs = self.heard = 0
        self.after_commit: list[Any] = []
        self.module = module = Module("shop")
        sharded: dict[str, Any] = {"scatter": 8, "readable": PUBLIC, "writable": PUBLIC}
        customers = Table(module, Customer, key=lambda c: c.id, shard_by=lambda c: c.id, **sharded)
        orders = Table(module, Order, key=lambda o: o.id, shard_by=lambda o: o.customer_id, **sharded)
        seen = Table(module, Seen, key=lambda s: s.name, shard_by=lambda s: s.name, **sharded)
        notes = Table(module, Seen, name="notes", key=lambda s: s.name, readable=PUBLIC, writable=PUBLIC)
        claims = Table(module, Claim, key=lambda c: c.address, shard_by=lambda c: c.address, **sharded)
        self.customers, self.orders, self.seen, self.notes = customers, orders, seen, notes

        @orders.listing(order="id")
        def of_customer(o: Order, customer_id: UUID) -> bool:
            return o.customer_id == customer_id

        @module.query(public=True)
        async def list_orders(ctx: Read, customer_id: UUID, page: PageRequest) -> Page[Order]:
            """List the orders of a customer."""
            return await orders.page(ctx, of_customer, page, customer_id)

        @module.query(public=True)
        async def get_order(ctx: Read, id: UUID) -> Order:
            """Return an order."""
            return await orders.get(ctx, id)

        @module.query(public=True, plural="seen")
        async def count_seen(ctx: Read, name: Name) -> Seen:
            """Return how often an order of that name was seen."""
            return await seen.find(ctx, name) or Seen(name=name, count=0, version=1)

        @module.command(scope="shop.write", plural="customers")
        async def create_customer(ctx: Write, name: Name) -> Customer:
            """Add a customer with a first order."""
            self.runs += 1
            made = Customer(id=ctx.new_id(), name=name)
            await customers.insert(ctx, made)
            await orders.insert(ctx, Order(id=ctx.new_id(), customer_id=made.id, name="first"))
            return made

        @module.command(scope="shop.write")
        async def place_order(ctx: Write, customer_id: UUID, name: Name) -> Order:
            """Place an order."""
            self.runs += 1
            made = Order(id=ctx.new_id(beside=customer_id), customer_id=customer_id, name=name)
            await orders.insert(ctx, made)
            ctx.emit(Placed(order_id=made.id, name=name))
            return made

        @module.command(scope="shop.write")
        async def lose_order(ctx: Write, customer_id: UUID) -> None:
            """Place an order that its id does not lead to."""
            other = next(n for n in range(9) if logical_of(n) != logical_of(customer_id))
            lost = ctx.new_id(beside=other)
            await orders.insert(ctx, Order(id=lost, customer_id=customer_id, name="lost"))

        @module.command(scope="shop.write")
        async def reach(ctx: Write, customer_id: UUID, what: Name) -> None:
            """Reach for something else."""
            await customers.get(ctx, customer_id)
            if what == "home":
                await notes.find(ctx, "x")
            else:
                await seen.insert(ctx, Seen(name=what, count=0, version=1))

        @module.command(scope="shop.write")
        async def ask_outside(ctx: Write) -> UUID:
            """Make an id, wait for somebody else, and begin with what that is for."""
            made = ctx.new_id()
            ctx._work.leave(outside)  # as a client of another service does before it waits
            await customers.insert(ctx, Customer(id=made, name="asked"))
            return made

        @module.job(scope="shop.write")
        async def greet(ctx: Run, customer_id: UUID) -> Customer:
            """Take a look at a customer."""
            return await customers.get(ctx, customer_id)

        @module.command(scope="shop.write")
        async def ask_to_greet(ctx: Write, customer_id: UUID) -> UUID:
            """Send for a job from a shard."""
            await customers.get(ctx, customer_id)
            return await ctx.send(greet, customer_id)

        @module.job(scope="shop.write")
        async def wait(ctx: Run) -> None:
            """Wait until somebody has had enough."""
            await asyncio.Event().wait()

        @module.command(scope="shop.write")
        async def ask_to_wait(ctx: Write, customer_id: UUID) -> UUID:
            """Send for a job from a shard."""
            await customers.get(ctx, customer_id)
            return await ctx.send(wait)

        @module.on(Placed)
        async def look(ctx: Write, event: Placed) -> None:
            self.heard += 1
            found = await seen.find(ctx, event.name)
            if found is None:
                await seen.insert(ctx, Seen(name=event.name, count=1, version=1))
            else:
                await seen.update(ctx, Seen(name=event.name, count=found.count + 1, version=found.version))

        @module.command(scope="shop.write")
        async def register(ctx: Write, address: Name) -> Customer:
            """Add a customer whose address nobody else has: the claim of it and the customer are on one shard."""
            made = Customer(id=ctx.new_id(beside=address), name=address)
            await claims.insert(ctx, Claim(address=address, customer_id=made.id))
            await customers.insert(ctx, made)
            return made

        @module.query(public=True)
        async def customer_of(ctx: Read, address: Name) -> Customer:
            """Find a customer by the address."""
            return await customers.get(ctx, (await claims.get(ctx, address)).customer_id)

        self.place_order, self.lose_order, self.reach, self.ask_outside = place_order, lose_order, reach, ask_outside
        self.register, self.customer_of, self.count_seen = register, customer_of, count_seen
        self.ask_to_greet, self.ask_to_wait = ask_to_greet, ask_to_wait
        self.settings = settings_for_tests(database=database)
        self.app = App("shop", modules=[module], settings=self.settings)


@pytest.fixture(params=["sqlite", "postgresql"])
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shop]:
    if request.param == "sqlite":
        yield Shop(DatabaseSettings(url=Url(f"sqlite:///{tmp_path}/shop.db"), create=True))
    else:
        with three() as found:
            yield Shop(DatabaseSettings(url=found.url, shards=found.shards, create=True))


@pytest.fixture
async def client(shop: Shop) -> AsyncIterator[Client]:
    async with Client(shop.app, settings=shop.settings, principal=ADA) as client:
        yield client


async def customer(client: Client, name: str = "Ann", key: str | None = None) -> UUID:
    headers = {} if key is None else {"idempotency-key": key}
    answer = await client.post("/v1/customers", json={"name": name}, headers=headers)
    assert answer.status == 201, answer.text
    return UUID(answer.json()["id"])


def nodes_of(client: Client) -> ShardedDatabase:
    database = client.service.runtime.database
    assert isinstance(database, ShardedDatabase)
    return database


async def test_what_is_made_together_is_together_and_found_by_its_id(client: Client) -> None:
    shards = set()
    for number in range(12):
        id = await customer(client, f"c{number}")
        [first] = (await client.get(f"/v1/customers/{id}/orders")).json()["items"]
        assert shard_of(UUID(first["id"])) == shard_of(id)
        assert (await client.get(f"/v1/orders/{first['id']}")).json() == first
        shards.add(shard_of(id))
    assert len(shards) > 6


async def test_each_pool_has_numbers_under_the_name_of_its_node(client: Client) -> None:
    text = render(merge([("0", client.service.runtime.metrics.snapshot())]))
    database = nodes_of(client)
    pools = set(database.nodes) if database.dialect == "postgresql" else set()
    assert set(re.findall(r'trivet_database_pool_size\{node="([^"]+)"', text)) == pools


async def test_an_id_that_is_made_opens_nothing(client: Client, shop: Shop) -> None:
    made = await client.call(shop.ask_outside)
    assert (await client.get(f"/v1/customers/{made}/orders")).json()["items"] == []
    assert (await client.call(shop.ask_outside)) != made


async def test_a_second_shard_in_one_transaction_is_refused_and_says_what_to_do(client: Client, shop: Shop) -> None:
    id = await customer(client)
    elsewhere = next(f"n{n}" for n in range(9) if logical_of(f"n{n}") != logical_of(id))
    for call, wanted, why in (
        (client.call(shop.reach, id, elsewhere), SecondShard, r"can not reach logical shard .*ctx\.send a command"),
        (client.call(shop.reach, id, "home"), SecondShard, r"can not reach what is not sharded \(the home database\)"),
        (client.call(shop.lose_order, id), Misplaced, r"ctx\.new_id\(beside=customer_id\)"),
    ):
        with pytest.raises(Internal) as refused:
            await call
        assert isinstance(refused.value.__cause__, wanted)
        assert re.search(why, str(refused.value.__cause__))


async def test_a_key_is_found_again_where_its_command_was(client: Client, shop: Shop) -> None:
    made = await customer(client, "Key", key="one")
    runs = shop.runs
    assert await customer(client, "Key", key="one") == made
    path, headers, order = f"/v1/customers/{made}/orders:place", {"idempotency-key": "two"}, {"name": "again"}
    first = await client.post(path, json=order, headers=headers)
    database = nodes_of(client)
    if database.moves:  # the record moves with its shard
        shard = logical_of(made)
        target = next(node for node in database.nodes if node != database.directory.nodes[shard])
        await Move(database.nodes, what_moves(shop.module), shard, target).run()
    second = await client.post(path, json=order, headers=headers)
    assert (first.status, second.status, first.json()) == (200, 200, second.json())
    assert second.headers["idempotent-replayed"] == "true"
    assert await customer(client, "Key", key="one") == made
    changed = await client.post(path, json={**order, "name": "else"}, headers=headers)
    assert changed.json()["reason"] == "IDEMPOTENCY_KEY_REUSED"
    listed = (await client.get(f"/v1/customers/{made}/orders")).json()["items"]
    assert sorted(each["name"] for each in listed) == ["again", "first"]
    assert shop.runs > runs


async def test_an_event_of_one_shard_changes_another_once(client: Client, shop: Shop) -> None:
    ids = [await customer(client, f"c{n}") for n in range(6)]
    for id in ids:
        await client.call(shop.place_order, id, "tea")
    await client.settle()
    assert (await client.call(shop.count_seen, "tea")).count == len(ids)


async def test_what_is_unique_over_all_shards_is_claimed_in_a_table_that_it_shards(client: Client, shop: Shop) -> None:
    made = [await client.call(shop.register, f"a{n}@example.org") for n in range(4)]
    for each in made:
        assert logical_of(each.id) == logical_of(each.name)
        assert await client.call(shop.customer_of, each.name) == each
    with pytest.raises(AlreadyExists):
        await client.call(shop.register, made[0].name)
    asked = [client.call(shop.register, "b@example.org") for _ in range(4)]
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    assert sorted(type(each) is Customer for each in outcomes) == [False, False, False, True]
    assert all(isinstance(each, Customer | AlreadyExists) for each in outcomes)


async def test_a_job_that_a_shard_asked_for_is_found_by_its_id(client: Client, shop: Shop) -> None:
    id = await customer(client)
    job = await client.call(shop.ask_to_greet, id)
    await client.settle()
    status = await client.get(f"/v1/jobs/{job}")
    assert status.json()["state"] == "succeeded"
    assert status.json()["result"]["id"] == str(id)


async def test_a_job_is_cancelled_on_whichever_node_it_is(client: Client, shop: Shop) -> None:
    for id in [await customer(client) for _ in range(4)]:
        job = await client.call(shop.ask_to_wait, id)
        headers = {"idempotency-key": str(job)}
        first, again = [await client.post(f"/v1/jobs/{job}:cancel", headers=headers) for _ in range(2)]
        assert (first.status, first.json()["state"]) == (200, "cancelled")
        assert (again.json(), again.headers["idempotent-replayed"]) == (first.json(), "true")
    await client.settle()


def test_a_home_is_always_a_node() -> None:
    assert list(DatabaseSettings(shards=Url("b=postgresql://x/y c=postgresql://x/z")).nodes) == [HOME, "b", "c"]
    for wrong, why in (("postgresql://x/y", "number 1 is not written"), ("home=postgresql://x/y", "are called 'home'")):
        with pytest.raises(ValueError, match=why):
            DatabaseSettings(shards=Url(wrong)).nodes  # noqa: B018 - is checked when it is read
