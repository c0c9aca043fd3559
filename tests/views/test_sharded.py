"""Read models of an app with sharded tables: events of every node, once each, on SQLite and on three nodes."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import sqlalchemy as sa

from tests.data.sharding.nodes import what_moves
from tests.messaging.contract.test_resume import Reachable
from tests.messaging.contract.world import Shifted
from tests.views.long_ago import a_year_ago
from tests.views.selling import BestSeller, Sale, Selling, Sold, deliveries_on, empty_nodes
from tests.waiting import until
from trivet import PUBLIC, App, FaultyApp, Fill, Module, Read, Struct, Table, View, Write
from trivet.core.clock import SystemClock
from trivet.core.principal import Principal
from trivet.core.sharding import SHARDS, logical_of
from trivet.data.database import Contention, DatabaseUnavailable
from trivet.data.selection import Rows
from trivet.data.sharding.database import ShardedDatabase
from trivet.data.sharding.move import Move
from trivet.data.sharding.session import SecondShard
from trivet.messaging.freshness import Freshness
from trivet.messaging.handover import Handovers
from trivet.policies.rebuild import rebuild, refresh
from trivet.settings import DatabaseSettings
from trivet.testing import Client
from trivet.testing.app import settings_for_tests

PATIENCE_SECONDS = 60
CUSTOMERS = [f"c{number}" for number in range(12)]
HOUR = timedelta(hours=1)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[DatabaseSettings]:
    with empty_nodes(request.param, tmp_path) as database:
        yield database


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[DatabaseSettings]:
    with empty_nodes("postgresql", tmp_path) as database:
        yield database


@pytest.fixture
async def selling() -> Selling:
    return Selling()


@pytest.fixture
async def client(selling: Selling, database: DatabaseSettings) -> AsyncIterator[Client]:
    app = selling.app(database)
    async with Client(app, settings=app.settings) as client:
        yield client


def nodes_of(client: Client) -> ShardedDatabase:
    store = client.service.runtime.database
    assert isinstance(store, ShardedDatabase)
    return store


async def test_events_of_every_node_change_a_view_once_each_and_in_order_for_each_customer(
    client: Client, selling: Selling
) -> None:
    assert {nodes_of(client).directory.nodes[logical_of(each)] for each in CUSTOMERS} == set(nodes_of(client).nodes)
    for number in range(4):
        for customer in CUSTOMERS:
            await client.call(selling.sell, customer, number, "desk" if number % 2 else "lamp")
    await client.settle(PATIENCE_SECONDS)
    assert await selling.sold(client) == {"desk": 24, "lamp": 24}
    assert await selling.bought(client) == {each: [0, 1, 2, 3] for each in CUSTOMERS}


async def test_a_rebuild_sees_all_nodes_and_what_waits_on_them_is_part_of_it(client: Client, selling: Selling) -> None:
    selling.broken = True
    for customer in CUSTOMERS:
        await client.call(selling.sell, customer, 1, "stuck")
        await client.call(selling.give_away, customer, 2, "unheard")
    done = await rebuild(client.service.runtime, selling.best)
    assert (done.rows, done.events) == (2, len(CUSTOMERS))
    assert await selling.sold(client) == {"stuck": 12, "unheard": 12}
    selling.broken = False
    await client.call(selling.sell, CUSTOMERS[0], 3, "stuck")
    await client.settle(PATIENCE_SECONDS)
    assert await selling.sold(client) == {"stuck": 13, "unheard": 12}


async def test_events_go_on_on_all_nodes_while_a_view_is_rebuilt(client: Client, selling: Selling) -> None:
    for customer in CUSTOMERS:
        await client.call(selling.sell, customer, 1, "desk")
    selling.go_on.clear()
    rebuilding = asyncio.create_task(rebuild(client.service.runtime, selling.best))
    async with asyncio.timeout(PATIENCE_SECONDS):
        await selling.arrived.wait()
    saying = [asyncio.create_task(client.call(selling.sell, customer, 2, "desk")) for customer in CUSTOMERS]
    await asyncio.wait(saying, timeout=0.3)  # on SQLite they wait for the rebuild, on PostgreSQL they do not
    selling.go_on.set()
    await rebuilding
    await asyncio.gather(*saying)
    await client.settle(PATIENCE_SECONDS)
    assert await selling.sold(client) == {"desk": 24}


@pytest.mark.slow
async def test_shards_change_nodes_and_events_go_on_while_a_view_is_rebuilt_again_and_again(
    nodes: DatabaseSettings, selling: Selling
) -> None:
    app, over, sold = selling.app(nodes), asyncio.Event(), 0

    async def sell_on(client: Client) -> None:
        nonlocal sold
        while not over.is_set():
            for customer in CUSTOMERS:
                await client.call(selling.sell, customer, sold, "desk")
                sold += 1

    async def move_on(database: ShardedDatabase) -> None:
        targets = list(database.nodes)
        while not over.is_set():
            for number, customer in enumerate(CUSTOMERS):
                await move(database, selling, customer, targets[number % 3])
            targets.append(targets.pop(0))

    async with Client(app, settings=app.settings) as client:
        others = [asyncio.create_task(sell_on(client)), asyncio.create_task(move_on(nodes_of(client)))]
        for _ in range(8):
            await rebuild(client.service.runtime, selling.best)
        over.set()
        await asyncio.gather(*others)
        await client.settle(PATIENCE_SECONDS)
        assert await selling.sold(client) == {"desk": sold}
        await rebuild(client.service.runtime, selling.best)
        assert await selling.sold(client) == {"desk": sold}
        bought = await selling.bought(client)
        assert bought == {each: list(range(at, sold, len(CUSTOMERS))) for at, each in enumerate(CUSTOMERS)}


async def test_what_is_said_at_the_new_node_of_a_shard_waits_for_what_was_said_at_the_old_one(
    nodes: DatabaseSettings, selling: Selling
) -> None:
    app, selling.stuck = selling.app(nodes), {0}
    async with Client(app, settings=app.settings) as client:
        mover, other = CUSTOMERS[0], CUSTOMERS[1]
        place = [name for name in nodes_of(client).nodes if name != nodes_of(client).directory.nodes[logical_of(mover)]]
        await client.call(selling.sell, mover, 0, "desk")
        for number, target in enumerate(place, 1):
            await move(nodes_of(client), selling, mover, target)
            await client.call(selling.sell, mover, number, "desk")
        await client.call(selling.sell, other, 1, "desk")

        async def only_the_other() -> bool:
            return await selling.bought(client) == {other: [1]}

        await until(only_the_other)
        await asyncio.sleep(1)
        assert await selling.bought(client) == {other: [1]}
        selling.stuck = set()
        await client.settle(PATIENCE_SECONDS)
        assert await selling.bought(client) == {mover: [0, 1, 2], other: [1]}
        assert await selling.sold(client) == {"desk": 4}


async def move(database: ShardedDatabase, selling: Selling, customer: str, target: str) -> None:
    """Move the shard of a customer."""
    tables, log = what_moves(selling.module), Handovers(SystemClock())
    await Move(database.nodes, tables, logical_of(customer), target, log=log).run()


async def test_a_shard_that_was_elsewhere_between_the_instants_of_two_nodes_makes_a_rebuild_begin_again(
    nodes: DatabaseSettings, selling: Selling
) -> None:
    app = selling.app(nodes)
    async with Client(app, settings=app.settings) as client:
        database, selling.broken = nodes_of(client), True
        customer = next(each for each in CUSTOMERS if database.directory.nodes[logical_of(each)] == "home")
        async with connected(nodes.nodes["b"].reveal()) as between, asyncio.timeout(PATIENCE_SECONDS):
            await between.execute("BEGIN; LOCK TABLE trivet.trivet_held")  # the instant of b, and so of c, is to come
            rebuilding = asyncio.create_task(rebuild(client.service.runtime, selling.best))
            waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'trivet.trivet_held'::regclass"
            await until(lambda: between.fetchval(waits))
            await hand_over(nodes, logical_of(customer), "home", "c", 2)
            await client.call(selling.sell, customer, 1, "desk")
            await hand_over(nodes, logical_of(customer), "c", "home", 3)
            await client.call(selling.give_away, customer, 1, "desk")  # the row comes along, its event stays
        await rebuilding
        assert await selling.sold(client) == {"desk": 1}
        selling.broken = False
        await client.settle(PATIENCE_SECONDS)
        assert await selling.sold(client) == {"desk": 1}


async def test_a_rebuild_does_not_begin_while_a_shard_is_at_no_node_or_at_a_second_one(
    nodes: DatabaseSettings, selling: Selling
) -> None:
    app = selling.app(nodes)
    async with Client(app, settings=app.settings) as client:
        await client.call(selling.give_away, "c1", 1, "desk")
        shard, database = logical_of("c1"), nodes_of(client)
        source = database.directory.nodes[shard]
        target = next(name for name in database.nodes if name != source)
        held = f"trivet.trivet_held SET here = %s WHERE logical = {shard}"
        async with connected(nodes.nodes[source].reveal()) as there, connected(nodes.nodes[target].reveal()) as here:
            await there.execute(f"UPDATE {held % 'false'}")  # given up, and not taken yet
            with pytest.raises(Contention):
                await rebuild(client.service.runtime, selling.best)
            await there.execute(f"UPDATE {held % 'true'}")
            await here.execute(f"INSERT INTO trivet.trivet_held VALUES ({shard}, 2, true, true)")
            with pytest.raises(Contention):
                await rebuild(client.service.runtime, selling.best)
            await here.execute(f"DELETE FROM trivet.trivet_held WHERE logical = {shard}")
        await rebuild(client.service.runtime, selling.best)
        assert await selling.sold(client) == {"desk": 1}


async def hand_over(nodes: DatabaseSettings, shard: int, source: str, target: str, epoch: int) -> None:
    """Let a node hold a shard, and the directory say so, in the order in which a mover does it."""
    urls = {name: url.reveal() for name, url in nodes.nodes.items()}
    taken = f"INSERT INTO trivet.trivet_held VALUES ({shard}, {epoch}, true, true) ON CONFLICT (logical) DO UPDATE SET "
    for node, statement in (
        (source, f"UPDATE trivet.trivet_held SET here = false, open = false WHERE logical = {shard}"),
        (target, f"{taken} epoch = excluded.epoch, open = true, here = true"),
        ("home", f"UPDATE trivet.trivet_shard SET node = '{target}', epoch = {epoch} WHERE logical = {shard}"),
    ):
        async with connected(urls[node]) as connection:
            await connection.execute(statement)


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[asyncpg.Connection]:
    """Give a connection of the test's own."""
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


async def test_a_rebuild_whose_process_ends_after_its_commit_counts_nothing_twice(
    nodes: DatabaseSettings, selling: Selling
) -> None:
    app = selling.app(nodes)
    async with Client(app, settings=app.settings) as client:
        selling.broken = True
        for customer in CUSTOMERS:
            await client.call(selling.sell, customer, 1, "desk")
        elsewhere = [url.reveal() for name, url in nodes.nodes.items() if name != "home"]
        connections = [await asyncpg.connect(url) for url in elsewhere]
        for connection in connections:  # what was handled can not be removed for now
            await connection.execute("BEGIN; SELECT 1 FROM trivet.trivet_delivery FOR UPDATE")
        rebuilding = asyncio.create_task(rebuild(client.service.runtime, selling.best))

        async def rebuilt() -> bool:
            return await selling.sold(client) == {"desk": 12}

        await until(rebuilt)
        rebuilding.cancel()
        await asyncio.gather(rebuilding, return_exceptions=True)
        for connection in connections:
            await connection.close()
        assert sum([await deliveries_on(url) for url in elsewhere]) > 0
        selling.broken = False
        await client.settle(PATIENCE_SECONDS)
        assert await selling.sold(client) == {"desk": 12}
        assert [await deliveries_on(url) for url in elsewhere] == [0, 0]


async def test_the_age_of_a_view_is_that_of_the_oldest_event_of_any_node(
    nodes: DatabaseSettings, selling: Selling
) -> None:
    app = selling.app(nodes)
    async with Client(app, settings=app.settings) as client:
        freshness, stores = client.service.runtime.freshness, client.service.runtime.stores
        assert (await freshness.look(stores))["sales.best_sellers"] == 0
        selling.broken = True
        far = next(each for each in CUSTOMERS if nodes_of(client).directory.nodes[logical_of(each)] == "c")
        with a_year_ago(client):
            async with client.context(selling.module, as_module=True) as ctx:
                await selling.sales.insert(ctx, Sale(customer=far, number=1, product="old"))
                ctx.emit(Sold(customer=far, number=1, product="old"))
        assert (await freshness.look(stores))["sales.best_sellers"] > 30_000_000
        answer = await client.get("/v1/best-sellers")
        assert int(answer.headers["data-age"]) >= 30_000_000
        await rebuild(client.service.runtime, selling.best)
        assert (await freshness.look(stores))["sales.best_sellers"] == 0


async def test_a_view_gets_older_while_a_node_can_not_be_asked(nodes: DatabaseSettings, selling: Selling) -> None:
    class Ages:
        def age(self, view: str, seconds: float) -> None:
            told.append(seconds)

    app, clock, told = selling.app(nodes), Shifted(), list[float]()
    freshness = Freshness({"best": ["sales.count_sale"]}, (), clock, Ages())
    async with Client(app, settings=app.settings) as client:
        stores: list[Any] = [Reachable(store) for store in client.service.runtime.stores]
        stores[1].reachable = False
        with pytest.raises(DatabaseUnavailable):
            await freshness.look(stores)
        assert (freshness.age("best"), told) == (None, []), "nobody knows what waits there"
        stores[1].reachable = True
        assert await freshness.look(stores) == {"best": 0}
        stores[1].reachable, clock.ahead = False, timedelta(seconds=100)
        with pytest.raises(DatabaseUnavailable):
            await freshness.look(stores)
        assert 100 <= (freshness.age("best") or 0) < 100 + PATIENCE_SECONDS
        assert told[0] == 0
        assert told[1] >= 100
        stores[1].reachable = True
        assert await freshness.look(stores) == {"best": 0}


CHILD = """
import asyncio, json, sys
from tests.views.selling import Selling
from trivet.core.sharding import logical_of
from trivet.settings import DatabaseSettings, Url
from trivet.testing import Client

url, shards = json.loads(sys.argv[1])

async def inside():
    print("inside", flush=True)
    await asyncio.to_thread(sys.stdin.readline)

async def main():
    selling = Selling(inside)
    app = selling.app(DatabaseSettings(url=Url(url), shards=Url(shards), create=True))
    async with Client(app, settings=app.settings) as client:
        nodes = client.service.runtime.database.directory.nodes
        customer = next(f"c{n}" for n in range(99) if nodes[logical_of(f"c{n}")] == "b")
        for number in range(3):
            await client.call(selling.sell, customer, number, "desk")
        print(customer, flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""


async def test_a_process_killed_between_the_change_of_a_view_and_its_word_to_the_other_node_changes_it_once(
    nodes: DatabaseSettings,
) -> None:
    assert nodes.shards is not None
    urls = json.dumps([nodes.url.reveal(), nodes.shards.reveal()])
    victim = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", CHILD, urls),
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert victim.stdin is not None
    assert victim.stdout is not None
    there, home = await asyncpg.connect(nodes.nodes["b"].reveal()), await asyncpg.connect(nodes.url.reveal())
    waiting = "FROM trivet.trivet_delivery WHERE subscriber = 'sales.fill_basket'"
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            said = {(await victim.stdout.readline()).decode().strip() for _ in range(2)}
            async with there.transaction():
                await there.execute(f"SELECT 1 {waiting} FOR UPDATE")  # its word does not come through
                victim.stdin.write(b"\n")
                changed = "SELECT numbers FROM sales.baskets"
                await until(lambda: home.fetchval(changed))
                victim.kill()
                await victim.communicate()
        assert await there.fetchval(f"SELECT count(*) {waiting}") == 3
        await there.execute("UPDATE trivet.trivet_delivery SET due = 0")  # the lease of the dead ends
    finally:
        await there.close()
        await home.close()
    after = Selling()
    async with Client(after.app(nodes), settings=after.app(nodes).settings) as client:
        await client.settle(PATIENCE_SECONDS)
        [customer] = said - {"inside"}
        assert await after.bought(client) == {customer: [0, 1, 2]}
        assert await after.sold(client) == {"desk": 3}


async def test_a_view_that_is_made_anew_every_so_often_sees_all_nodes(client: Client, selling: Selling) -> None:
    for customer in CUSTOMERS:
        await client.call(selling.give_away, customer, 1, "desk")
    done = None
    async with asyncio.timeout(PATIENCE_SECONDS):
        while done is None:
            try:
                done = await refresh(client.service.runtime, selling.products, timedelta(0))
            except Contention:  # the app itself does so for the first time just now
                await asyncio.sleep(0.01)
    async with client.context(selling.module, write=False) as ctx:
        assert await selling.products.get(ctx, "desk") == BestSeller(product="desk", sold=12)


async def test_a_handler_of_a_view_can_not_read_what_is_sharded_whichever_it_reaches_first(
    client: Client, selling: Selling
) -> None:
    @selling.best.on(Sold)
    async def look_back(ctx: Fill, sold: Sold) -> None:
        await selling.sales.find(ctx, (sold.customer, sold.number))

    handler: Any = selling.best.subscriptions[-1].handler
    async with client.context(selling.module, commit=False, as_module=True) as ctx:
        with pytest.raises(SecondShard, match="can not reach logical shard"):
            await handler(ctx, Sold(customer="c1", number=1, product="desk"))


def test_a_source_that_selects_from_a_sharded_table_is_refused_and_says_what_to_do() -> None:
    module = Module("wrong")
    sales = Table(
        module, Sale, key=lambda s: s.customer, shard_by=lambda s: s.customer, readable=PUBLIC, writable=PUBLIC
    )
    kept = Table(module, Sale, name="kept", key=lambda s: s.customer, readable=PUBLIC, writable=PUBLIC)

    def view(name: str, source: Table[Any, Any]) -> None:
        made = View(module, BestSeller, key=lambda b: b.product, name=name, readable=PUBLIC, every=HOUR)

        @made.source
        def counted(rows: Rows) -> sa.Select[Any]:
            s = rows[source]
            return sa.select(s.c.product, sa.func.count().label("sold")).group_by(s.c.product)

    view("spread", sales)
    view("together", kept)
    with pytest.raises(FaultyApp) as wrong:
        App("wrong", modules=[module], settings=settings_for_tests()).build()
    [fault] = wrong.value.faults
    assert fault.rule == "view-source"
    assert "wrong.spread" in fault.problem
    assert "would see one node only" in fault.problem
    assert "async generator" in fault.mend


class Visit(Struct):
    org: str
    number: int


class Visits(Struct):
    org: str
    times: int


async def test_a_rebuild_goes_through_the_tenants_of_all_nodes(database: DatabaseSettings) -> None:
    module = Module("visits")
    table = Table(
        module,
        Visit,
        key=lambda v: (v.org, v.number),
        tenant=lambda v: v.org,
        shard_by=lambda v: v.org,
        readable=PUBLIC,
        writable=PUBLIC,
    )
    view = View(module, Visits, key=lambda v: v.org, name="counts", tenant=lambda v: v.org, readable=PUBLIC, every=HOUR)

    @table.listing(order="number")
    def every(v: Visit) -> bool:
        return v.number == v.number

    @view.source
    async def all_visits(ctx: Read) -> AsyncIterator[Visits]:
        times = len([visit async for visit in table.stream(ctx, every)])
        yield Visits(org=ctx.tenant or "", times=times)

    @module.command(public=True)
    async def visit(ctx: Write, number: int) -> None:
        """Visit once."""
        await table.insert(ctx, Visit(org=ctx.tenant or "", number=number))

    @module.query(public=True)
    async def count_visits(ctx: Read) -> int:
        """Return how often the tenant's people came."""
        return (await view.get(ctx, ctx.tenant or "")).times

    app = App("visits", modules=[module], settings=settings_for_tests(database=database))
    async with Client(app, settings=app.settings) as client:
        people = {org: client.as_(Principal(subject="ada", tenant=org)) for org in ("a", "b", "c", "d", "e")}
        assert len({logical_of(org) * 3 // SHARDS for org in people}) > 1
        for org, each in people.items():
            for number in range(ord(org) - ord("a") + 1):
                await each.call(visit, number)
        assert (await rebuild(client.service.runtime, view)).rows == len(people)
        assert [await each.call(count_visits) for each in people.values()] == [1, 2, 3, 4, 5]
