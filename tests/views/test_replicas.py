"""How old the data of an answer may be where read models are read from a replica: what that lacks is counted too."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.data.postgresql.ledger import on_replicas, replicated
from tests.postgres import Server
from tests.views.counting import Counting, Said
from tests.views.long_ago import a_year_ago
from tests.views.selling import Selling
from tests.waiting import until
from trivet import App
from trivet.settings import DatabaseSettings, Url
from trivet.testing import Client, principal, settings_for_tests

READER = principal("reader")
YEAR_SECONDS = 365 * 86_400

pytestmark = pytest.mark.integration


@pytest.fixture
async def counting() -> Counting:
    return Counting()


@pytest.fixture
async def client(primary: Server, replica: Server, counting: Counting) -> AsyncIterator[Client]:
    """The app on both servers; whoever has not written reads from the replica."""
    with primary.database() as name:
        replica.await_database(name)
        there, copied = Url(primary.url(name)), Url(replica.url(name))
        database = DatabaseSettings(url=there, replicas=(copied,), session_record="memory", create=True)
        app = App("speech", modules=[counting.module])
        async with Client(app, settings=settings_for_tests(database=database)) as client:
            yield client


async def read(client: Client) -> Any:
    """Return what an answer from the replica says: its words, and how old they may be."""
    before = on_replicas(client)
    answer = await client.get("/v1/word-counts", as_=READER)
    assert on_replicas(client) == before + 1
    age = answer.headers.get("data-age")
    return [item["word"] for item in answer.json()["items"]], None if age is None else int(age)


async def replayed(client: Client) -> None:
    """Look at the views, and return once the replica has what was there by then."""
    database = replicated(client)
    await client.service.runtime.freshness.look(client.service.runtime.stores)
    [mark] = await database.position(everything=True)

    async def seen() -> bool:
        sight = await database.replicas[0].ask(1)
        return sight is not None and sight.position >= mark.position

    await until(seen)


async def test_what_a_replica_is_behind_counts(client: Client, replica: Server, counting: Counting) -> None:
    await client.call(counting.say, "1", "one")
    await client.settle()
    await replayed(client)
    words, age = await read(client)
    assert words == ["one"]
    assert age is not None
    replica.run("SELECT pg_wal_replay_pause()")
    try:
        for second in range(4):
            await client.call(counting.say, f"x{second}", "two")
            await asyncio.sleep(1)
        words, age = await read(client)
        assert words == ["one"]
        assert 4 <= age <= 30
        body = {"query": "{ wordCounts { nodes { word } } }"}
        answer = (await client.post("/graphql", json=body, as_=READER)).json()
        assert (answer["data"]["wordCounts"]["nodes"], 4 <= answer["extensions"]["dataAge"] <= 40) == (
            [{"word": "one"}],
            True,
        )
        fresh = await client.get("/v1/word-counts")  # of who has written it, from the primary
        assert int(fresh.headers["data-age"]) < age
    finally:
        replica.run("SELECT pg_wal_replay_resume()")


async def test_what_the_view_lacked_when_the_replica_was_there_counts(
    client: Client, replica: Server, counting: Counting
) -> None:
    """Though the view has caught up since."""
    counting.broken = True
    with a_year_ago(client):
        async with client.context(counting.module, as_module=True) as ctx:
            ctx.emit(Said(saying="old", text="old"))
    await replayed(client)
    replica.run("SELECT pg_wal_replay_pause()")
    try:
        counting.broken = False
        await client.settle()
        now = await client.service.runtime.freshness.look(client.service.runtime.stores)
        assert now["speech.word_counts"] < YEAR_SECONDS
        words, age = await read(client)
        assert words == []
        assert age >= YEAR_SECONDS
    finally:
        replica.run("SELECT pg_wal_replay_resume()")


async def test_where_tables_are_sharded_the_replica_of_the_home_database_counts(
    primary: Server, replica: Server
) -> None:
    selling = Selling()
    with primary.database() as home, primary.database() as other:
        replica.await_database(home)
        database = DatabaseSettings(
            url=Url(primary.url(home)),
            replicas=(Url(replica.url(home)),),
            shards=Url(f"b={primary.url(other)}"),
            session_record="memory",
            create=True,
        )
        app = selling.app(database)
        async with Client(app, settings=app.settings) as client:
            async with asyncio.timeout(20):
                while not on_replicas(client):
                    await client.get("/v1/best-sellers", as_=READER)
            await client.service.runtime.freshness.look(client.service.runtime.stores)
            await asyncio.sleep(1)
            replica.run("SELECT pg_wal_replay_pause()")
            try:
                for _ in range(4):
                    primary.run("SELECT pg_logical_emit_message(false, 'x', 'x')")
                    await asyncio.sleep(1)
                before = on_replicas(client)
                answer = await client.get("/v1/best-sellers", as_=READER)
                assert on_replicas(client) == before + 1
                assert 4 <= int(answer.headers["data-age"]) <= 30
            finally:
                replica.run("SELECT pg_wal_replay_resume()")
