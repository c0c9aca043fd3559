"""Behind a PgBouncer in transaction mode: few connections to the server, nothing kept on any of them."""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress

import httpx2
import pytest
import sqlalchemy as sa

from tests.pgbouncer import Bouncer, bouncer
from tests.postgres import server
from tests.shop.customers import all_settled, get, new_customer, new_product, ok
from tests.shop.serving import EXAMPLES, PATIENCE_SECONDS
from trivet.core.clock import Deadline, SystemClock
from trivet.core.error import DeadlineExceeded
from trivet.data.database import DatabaseUnavailable
from trivet.data.postgresql import PostgresDatabase
from trivet.data.statement import Insert, Statement
from trivet.settings import DatabaseSettings
from trivet.testing import serve

SIZE = 3
"""Connections that the PgBouncer has to the server."""

COUNTERS = sa.Table(
    "counters", sa.MetaData(), sa.Column("id", sa.Text, primary_key=True), sa.Column("number", sa.Integer)
)
ADD = Statement(
    sa.update(COUNTERS)
    .values(number=COUNTERS.c.number + sa.literal_column("1"))
    .where(COUNTERS.c.id == sa.bindparam("of")),
    ("of",),
)
NUMBER = Statement(sa.select(COUNTERS.c.number).where(COUNTERS.c.id == sa.bindparam("of")), ("of",))
INSERT = Statement(sa.insert(COUNTERS), ("id", "number"))
OF = Statement(sa.select(COUNTERS.c.id).where(COUNTERS.c.number == sa.bindparam("of")), ("of",))
LEFT = Statement(
    sa.text("SELECT (SELECT count(*) FROM pg_prepared_statements), (SELECT count(*) FROM pg_cursors WHERE name <> '')")
)
SLEEP = Statement(sa.text("SELECT pg_sleep(60)"))
BACKENDS = "SELECT count(*) FROM pg_stat_activity WHERE datname = '{}' AND backend_type = 'client backend'"
RUNNING = BACKENDS + " AND state <> 'idle'"

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def before() -> Iterator[Bouncer]:
    with bouncer(server(), SIZE) as started:
        yield started


@pytest.fixture
def name(before: Bouncer) -> Iterator[str]:
    with before.server.database() as name:
        yield name
        before.admin(f"KILL {name}")


@asynccontextmanager
async def opened(url: str, pool_size: int = 10) -> AsyncIterator[PostgresDatabase]:
    database = PostgresDatabase(url, DatabaseSettings(pgbouncer=True, pool_size=pool_size))
    await database.open()
    try:
        yield database
    finally:
        await database.close()


async def test_many_connections_of_ours_share_few_of_the_server_and_no_update_is_lost(
    before: Bouncer, name: str
) -> None:
    async with opened(before.url(name), pool_size=20) as database:
        await database.create([COUNTERS])
        session = database.session(write=True)
        await session.execute_many(INSERT, [("a", 0), ("b", 0)])
        await session.commit()

        async def work(number: int) -> None:
            session = database.session(write=True)
            try:
                await session.execute(ADD, ("ab"[number % 2],))
                with suppress(ZeroDivisionError):
                    async with session.savepoint():
                        await session.execute(ADD, ("ab"[number % 2],))
                        raise ZeroDivisionError
                if number % 5:
                    await session.commit()
                else:
                    await session.rollback()
            finally:
                await session.close()
            reading = database.session(write=False)
            assert (await reading.fetch(NUMBER, ("ab"[number % 2],)))[0][0] >= 0
            snapshot = database.session(write=False, snapshot=True)
            assert await snapshot.fetch(NUMBER, ("a",)) == await snapshot.fetch(NUMBER, ("a",))
            await snapshot.close()

        await asyncio.gather(*(work(number) for number in range(100)))
        session = database.session(write=False)
        assert [await session.fetch(NUMBER, (each,)) for each in "ab"] == [[(40,)], [(40,)]]
        [(backends,)] = await asyncio.to_thread(before.server.run, BACKENDS.format(name))
        assert backends <= SIZE
        assert database.pool.figures.open > SIZE


async def test_rows_are_loaded_and_scanned_by_many_and_nothing_stays_behind_on_the_server(
    before: Bouncer, name: str
) -> None:
    async with opened(before.url(name), pool_size=20) as database:
        await database.create([COUNTERS])

        async def work(number: int) -> None:
            session = database.session(write=True)
            await session.load(Insert(COUNTERS), [(f"{number}-{row}", number) for row in range(25)])
            await session.commit()
            await session.close()
            snapshot = database.snapshot()
            found = [row async for rows in snapshot.scan(OF, (number,), 10) for row in rows]
            assert len(found) == 25
            await snapshot.close()

        await asyncio.gather(*(work(number) for number in range(20)))
        session = database.session(write=False)
        assert await session.fetch(LEFT, ()) == [(0, 0)]


async def test_a_column_that_gets_another_type_is_read_as_that_type_from_then_on(before: Bouncer, name: str) -> None:
    async with opened(before.url(name), pool_size=1) as database:
        await database.create([COUNTERS])
        session = database.session(write=True)
        await session.execute(INSERT, ("a", 7))
        await session.commit()
        reading = database.session(write=False)
        assert await reading.fetch(NUMBER, ("a",)) == [(7,)]
        changing = database.session(write=True)
        await (await changing.driver_connection()).execute("ALTER TABLE counters ALTER COLUMN number TYPE text")
        await changing.commit()
        assert await reading.fetch(NUMBER, ("a",)) == [("7",)]


async def test_a_statement_is_ended_on_the_server_at_its_deadline(before: Bouncer, name: str) -> None:
    async with opened(before.url(name)) as database:
        clock = SystemClock()
        session = database.session(write=True, deadline=Deadline(clock.monotonic() + 0.2, clock))
        with pytest.raises(DeadlineExceeded):
            await session.fetch(SLEEP, ())
        await session.close()
        while (await asyncio.to_thread(before.server.run, RUNNING.format(name))) != [(0,)]:  # noqa: ASYNC110 - the server does not say
            await asyncio.sleep(0.02)
        await database.ping()


async def test_a_pgbouncer_that_went_away_and_came_back_is_used_again(name: str) -> None:
    with bouncer(server(), SIZE) as own:
        async with opened(own.url(name)) as database:
            await asyncio.gather(*(database.ping() for _ in range(5)))
            await asyncio.to_thread(own.stop, signal.SIGKILL)
            with pytest.raises(DatabaseUnavailable):
                await database.session(write=False).fetch(Statement(sa.text("SELECT 1")), ())
            await asyncio.to_thread(own.start)
            await database.ping()


async def test_where_nobody_said_that_it_is_one_the_message_says_how(before: Bouncer, name: str) -> None:
    database = PostgresDatabase(before.url(name))
    with pytest.raises(DatabaseUnavailable, match="TRIVET_DATABASE__PGBOUNCER=true"):
        await database.open()


@pytest.mark.slow
async def test_the_shop_works_behind_it_with_its_events_and_keys(before: Bouncer, name: str) -> None:
    environ = {
        "TRIVET_ENVIRONMENT": "development",
        "TRIVET_SERVER__WORKERS": "2",
        "TRIVET_DATABASE__URL": before.url(name),
        "TRIVET_DATABASE__PGBOUNCER": "true",
    }
    with serve("shop.app:app", app_dir=EXAMPLES, environ=environ) as served:
        async with httpx2.AsyncClient(base_url=served.url, timeout=PATIENCE_SECONDS) as client:
            customer = (await new_customer(client, limit="1000000.00"))["id"]
            product = (await new_product(client, stock=50, price="1.00"))["id"]
            said = {"customer_id": customer, "lines": [{"product_id": product, "quantity": 1}]}

            async def order(number: int) -> str:
                headers = {"Idempotency-Key": f"order-{number}"}
                first = await ok(await client.post("/v1/orders", json=said, headers=headers), 201)
                again = await client.post("/v1/orders", json=said, headers=headers)
                assert ((await ok(again, 201))["id"], again.headers["idempotent-replayed"]) == (first["id"], "true")
                return str(first["id"])

            placed = await asyncio.gather(*(order(number) for number in range(12)))
            orders = await all_settled(client, customer)
            assert sorted(each["id"] for each in orders) == sorted(placed)
            assert {each["status"] for each in orders} == {"CONFIRMED"}
            assert (await get(client, f"/v1/products/{product}"))["stock"] == 38
            figures = (await client.get(f"{served.management_url}/metrics")).text
            for pattern in (
                r'trivet_database_pool_size\{node="primary",worker="[^"]+"\} 10',
                r'trivet_database_pool_acquire_seconds_count\{node="primary"\} [1-9]',
                r'trivet_outbox_deliveries\{subscriber="orders.charge_order",state="dead",worker="[^"]+"\} 0',
            ):
                assert re.search(f"^{pattern}", figures, re.MULTILINE), pattern
        [(backends,)] = await asyncio.to_thread(before.server.run, BACKENDS.format(name))
        assert backends <= SIZE
