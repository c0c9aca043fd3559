"""The second wall between tenants on replicas and shards."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from typing import Any, cast

import pytest
import sqlalchemy as sa

from tests.data.conftest import OWNER
from tests.data.postgresql.rowsecurity.book import BLUE, EVERY, RED, fill, opened, session_for
from tests.data.sharding.nodes import nodes_of, what_moves
from tests.data.sharding.nodes import opened as sharded
from tests.postgres import SURVIVES, Server, empty_database, run_on
from tests.waiting import until
from trivet.core.module import Module
from trivet.core.shape import Struct
from trivet.core.sharding import logical_of
from trivet.data import PUBLIC, Table
from trivet.data.sharding.move import Move
from trivet.data.statement import Statement
from trivet.settings import DatabaseSettings, Url

pytestmark = pytest.mark.integration


async def test_on_a_replica_a_reader_is_held_as_on_the_primary() -> None:
    primary = Server(17, SURVIVES)
    try:
        primary.run(f"CREATE ROLE {OWNER} LOGIN")
        primary.run(f"CREATE DATABASE book OWNER {OWNER}")
        standby = primary.standby()
        try:
            replicas = (Url(standby.url("book", OWNER)),)
            store = await opened(primary.url("book", OWNER), replicas=replicas)
            try:
                await fill(store)
                [(written,)] = primary.run("SELECT pg_current_wal_lsn()::text")
                await until(lambda: standby.run(f"SELECT pg_last_wal_replay_lsn() >= '{written}'") == [(True,)])
                for kind in ({}, {"snapshot": True}):
                    for tenant, seen in (("red", [0, 2]), ("blue", [1, 3]), (None, [])):
                        session = session_for(store, tenant, reads="replica", **kind)
                        assert [id for id, _ in await session.fetch(EVERY, ())] == seen
                        [(replaying,)] = await session.fetch(Statement(sa.text("SELECT pg_is_in_recovery()")), ())
                        assert replaying
                        await session.close()
            finally:
                await store.database.close()
        finally:
            standby.remove()
    finally:
        primary.remove()


class Account(Struct):
    owner: str
    number: int


OWNERS = Statement(sa.text("SELECT DISTINCT owner FROM bank.accounts"), tenanted=True)


async def test_a_shard_moves_with_the_rows_of_all_its_tenants_and_they_stay_apart() -> None:
    module = Module("bank")
    accounts = Table(
        module,
        Account,
        key=lambda a: (a.owner, a.number),
        tenant=lambda a: a.owner,
        shard_by=lambda a: a.owner,
        readable=PUBLIC,
        writable=PUBLIC,
    )
    with ExitStack() as stack:
        home, b, c = (stack.enter_context(empty_database(owner=OWNER)) for _ in range(3))
        told = DatabaseSettings(url=Url(home), shards=Url(f"b={b} c={c}"), row_security="on")
        async with sharded(told, module) as store:
            for who in (RED, BLUE):
                async with store.writing(who) as ctx:
                    await accounts.insert_many(ctx, [Account(owner=str(who.tenant), number=n) for n in range(5)])
            nodes = nodes_of(store)
            shard = logical_of("red")
            before = nodes.directory.nodes[shard]
            target = next(name for name in nodes.nodes if name != before)
            assert await Move(nodes.nodes, what_moves(module), shard, target).run()
            await nodes.directory.refresh()
            assert nodes.directory.nodes[shard] == target
            for name, url in (("home", home), ("b", b), ("c", c)):
                found = await asyncio.to_thread(
                    run_on, url.replace(f"//{OWNER}@", "//postgres@"), "SELECT DISTINCT owner FROM bank.accounts"
                )
                assert (("red",) in found) == (name == target)
            for who, other in ((RED, "blue"), (BLUE, "red")):
                async with store.reading(who) as reading:
                    own = [(str(who.tenant), n) for n in range(5)]
                    assert None not in await accounts.get_many(reading, own)
                    session = cast("Any", reading)._work.session.on(logical_of(other))
                    there = await session.fetch(OWNERS, ())
                    assert (other,) not in there, "what forgets the tenant does not see it at its node either"
