"""Streams of an app with sharded tables: events of all nodes, resumed at any worker; on SQLite and on three nodes."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import pytest

from tests.data.sharding.nodes import three, what_moves
from tests.postgres import FAST, Server, empty_database
from tests.transports.client import Conversation, scope_of
from tests.waiting import until
from trivet import PUBLIC, App, Event, FaultyApp, Meta, Module, Read, Struct, Table, Write
from trivet.core.clock import SystemClock
from trivet.core.sharding import logical_of
from trivet.data.sharding.database import ShardedDatabase
from trivet.data.sharding.move import Move
from trivet.messaging.handover import Handovers
from trivet.settings import DatabaseSettings, Url
from trivet.testing import Client
from trivet.testing.app import settings_for_tests

Name = Annotated[str, Meta(min_length=1, max_length=40)]
CUSTOMERS = [f"c{number}" for number in range(9)]
PATIENCE_SECONDS = 60
KEY = settings_for_tests().secret_key


class Order(Struct):
    """An order."""

    customer: Name
    number: int


class Placed(Event):
    """An order was placed."""

    customer: Name
    number: int


class Ordering:
    """One worker of an app whose orders are watched."""

    def __init__(self, database: DatabaseSettings) -> None:
        self.module = module = Module("ordering")
        orders = Table(
            module,
            Order,
            key=lambda o: (o.customer, o.number),
            shard_by=lambda o: o.customer,
            readable=PUBLIC,
            writable=PUBLIC,
        )

        @module.command(public=True)
        async def place_order(ctx: Write, customer: Name, number: int) -> None:
            """Place an order."""
            await orders.insert(ctx, Order(customer=customer, number=number))
            ctx.emit(Placed(customer=customer, number=number))

        @module.stream(public=True, plural="orders")
        async def watch_orders(ctx: Read) -> AsyncIterator[Order]:
            """Follow the orders."""
            async for placed in ctx.follow(Placed):
                order = await orders.find(ctx, (placed.customer, placed.number))
                if order is not None:
                    yield order

        self.place_order = place_order
        self.app = App("ordering", modules=[module], settings=settings_for_tests(database=database, secret_key=KEY))


class Watcher:
    """A reader of the stream, which keeps what `EventSource` keeps.

    Attributes:
        position: The last one that it was told.
        orders: What it got, by customer.
    """

    def __init__(self) -> None:
        self.position: str | None = None
        self.orders: dict[str, list[int]] = {}

    async def read(self, client: Client, count: int) -> None:
        """Come back, and read on until there are so many orders in all."""
        fields = {} if self.position is None else {"Last-Event-ID": self.position}
        conversation = Conversation(client.service.front, scope_of("GET", "/v1/orders:watch", fields))
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                assert (await conversation.next())["status"] == 200
                while sum(map(len, self.orders.values())) < count:
                    self._take((await conversation.next())["body"].decode())
        finally:
            conversation.leave()
            await asyncio.wait_for(conversation.task, 5)

    def _take(self, text: str) -> None:
        for block in filter(None, text.split("\n\n")):
            fields = dict(line.split(": ", 1) for line in block.splitlines())
            self.position = fields.get("id", self.position)
            assert fields.get("event") != "error", fields["data"]
            if "data" in fields:
                order = json.loads(fields["data"])
                self.orders.setdefault(order["customer"], []).append(order["number"])


async def told(watcher: Watcher, *orders: tuple[str, int]) -> None:
    """Return once a reader has a position, and these orders."""
    await until(lambda: watcher.position is not None and all(n in watcher.orders.get(c, ()) for c, n in orders))


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[DatabaseSettings]:
    if request.param == "sqlite":
        yield DatabaseSettings(url=Url(f"sqlite:///{tmp_path}/orders.db"), create=True)
    else:
        with three() as found:
            yield DatabaseSettings(url=found.url, shards=found.shards, create=True)


def nodes_of(client: Client) -> ShardedDatabase:
    store = client.service.runtime.database
    assert isinstance(store, ShardedDatabase)
    return store


async def test_a_reader_gets_the_events_of_all_nodes_once_at_whichever_worker_and_wherever_shards_are(
    database: DatabaseSettings,
) -> None:
    one, other = Ordering(database), Ordering(database)
    watcher, placed = Watcher(), 0
    async with (
        Client(one.app, settings=one.app.settings) as client,
        Client(other.app, settings=other.app.settings) as second,
    ):
        nodes, workers = nodes_of(client), (client, second)
        begun = asyncio.create_task(watcher.read(client, 1))
        await told(watcher)
        for number in range(6):
            for customer in CUSTOMERS:
                await client.call(one.place_order, customer, number)
                placed += 1
            await begun
            await watcher.read(workers[number % 2], placed - 4)
            for place, customer in enumerate(CUSTOMERS if nodes.moves else []):
                target = list(nodes.nodes)[(number + place) % 3]
                shard, log = logical_of(customer), Handovers(SystemClock())
                await Move(nodes.nodes, what_moves(one.module), shard, target, log=log).run()
        await watcher.read(second, placed)
        assert watcher.orders == {customer: list(range(6)) for customer in CUSTOMERS}
        assert watcher.position is not None
        single = re.fullmatch(r"\d+-\d+(\.\d+)?", watcher.position)
        assert (single is None) == nodes.moves, "where there is one database, positions are as they were"


async def test_a_subscription_goes_on_after_a_position_that_the_stream_told_over_rest(
    database: DatabaseSettings,
) -> None:
    ordering, watcher = Ordering(database), Watcher()
    async with Client(ordering.app, settings=ordering.app.settings) as client:
        reading = asyncio.create_task(watcher.read(client, 1))
        await told(watcher)
        for customer in CUSTOMERS:
            await client.call(ordering.place_order, customer, 0)
        await reading
        assert watcher.position is not None
        query = "/graphql?query=subscription%7BwatchOrders%7Bcustomer%7D%7D"
        fields = {"Accept": "text/event-stream", "Last-Event-ID": watcher.position}
        conversation = Conversation(client.service.front, scope_of("GET", query, fields))
        assert (await conversation.next())["status"] == 200
        text, missing = "", {each for each in CUSTOMERS if each not in watcher.orders}
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not all(f'"{each}"' in text for each in missing):
                text += (await conversation.next())["body"].decode()
        conversation.leave()
        await asyncio.wait_for(conversation.task, 5)
        assert sorted(re.findall(r'"customer":"(\w+)"', text)) == sorted(missing)


async def test_a_position_that_is_too_long_to_be_one_is_refused_over_graphql_as_over_rest(
    database: DatabaseSettings,
) -> None:
    ordering = Ordering(database)
    async with Client(ordering.app, settings=ordering.app.settings) as client, asyncio.timeout(PATIENCE_SECONDS):
        headers = {"accept": "text/event-stream", "last-event-id": "x" * 3000}
        rest = await client.get("/v1/orders:watch", headers=headers)
        assert rest.json()["reason"] == "POSITION_UNKNOWN"
        query = {"query": "subscription { watchOrders { customer } }"}
        assert "POSITION_UNKNOWN" in (await client.post("/graphql", json=query, headers=headers)).text


@contextmanager
def with_a_server_of_its_own() -> Iterator[tuple[DatabaseSettings, Server]]:
    server = Server(17, FAST)
    try:
        with empty_database(17) as home, server.database() as name:
            yield DatabaseSettings(url=Url(home), shards=Url(f"b={server.url(name)}"), create=True), server
    finally:
        server.remove()


@pytest.mark.slow
async def test_a_node_whose_server_is_down_keeps_its_events_for_the_stream_that_goes_on_without_it() -> None:
    with with_a_server_of_its_own() as (settings, server):
        ordering = Ordering(settings)
        async with Client(ordering.app, settings=ordering.app.settings) as client:
            where = nodes_of(client).directory.nodes
            near = next(each for each in CUSTOMERS if where[logical_of(each)] == "home")
            far = next(each for each in CUSTOMERS if where[logical_of(each)] == "b")
            watcher = Watcher()
            reading = asyncio.create_task(watcher.read(client, 5))
            await told(watcher)
            for customer in (near, far):
                await client.call(ordering.place_order, customer, 0)
            await told(watcher, (near, 0), (far, 0))
            await asyncio.to_thread(server.stop)
            await client.call(ordering.place_order, near, 1)
            await told(watcher, (near, 1))
            await asyncio.to_thread(server.start)
            for number in (1, 2):
                async with asyncio.timeout(PATIENCE_SECONDS):
                    while True:
                        answer = await client.post("/v1/orders:place", json={"customer": far, "number": number})
                        if answer.status < 300:
                            break
                        await asyncio.sleep(0.1)
            await reading
            assert watcher.orders == {near: [0, 1], far: [0, 1, 2]}


@pytest.mark.slow
async def test_a_process_that_begins_without_a_node_goes_on_with_a_stream_and_has_the_rest_later() -> None:
    with with_a_server_of_its_own() as (settings, server):
        first, late = Ordering(settings), Ordering(settings)
        watcher = Watcher()
        async with Client(first.app, settings=first.app.settings) as client:
            where = nodes_of(client).directory.nodes
            near = next(each for each in CUSTOMERS if where[logical_of(each)] == "home")
            far = next(each for each in CUSTOMERS if where[logical_of(each)] == "b")
            reading = asyncio.create_task(watcher.read(client, 1))
            await told(watcher)
            await client.call(first.place_order, near, 0)
            await reading
            await client.call(first.place_order, far, 0)
        server.stop()
        async with Client(late.app, settings=late.app.settings) as client:
            begun = Conversation(client.service.front, scope_of("GET", "/v1/orders:watch", {}))
            assert (await begun.next())["status"] == 503
            begun.leave()
            await begun.task
            reading = asyncio.create_task(watcher.read(client, 3))
            await client.call(late.place_order, near, 1)
            await told(watcher, (near, 1))
            server.start()
            await reading
            assert watcher.orders == {near: [0, 1], far: [0]}


def test_more_databases_than_a_position_has_room_for_are_refused_with_streams() -> None:
    nodes = " ".join(f"n{number}=postgresql://db/n{number}" for number in range(64))
    wrong = Ordering(DatabaseSettings(url=Url("postgresql://db/home"), shards=Url(nodes)))
    with pytest.raises(FaultyApp) as refused:
        wrong.app.build()
    assert [fault.rule for fault in refused.value.faults] == ["shard-stream"]
