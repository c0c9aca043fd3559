"""An app on a primary and its replicas, and callers that write and read what they wrote."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Annotated, Any

import asyncpg

from tests.postgres import Server
from trivet import PUBLIC, App, Http, Meta, Module, NotFound, Read, Struct, Table, Write
from trivet.core.consistency import Mark
from trivet.data.postgresql import ReplicatedDatabase
from trivet.policies.consistency import read, write
from trivet.settings import DatabaseSettings, Url
from trivet.telemetry.metrics import merge
from trivet.testing import Client, settings_for_tests
from trivet.testing.asgi import Response

REPLAYED = "SELECT pg_last_wal_replay_lsn()"
DELAYS = ("0", "50ms", "500ms", "2s")

Name = Annotated[str, Meta(min_length=1, max_length=40)]


class Entry(Struct):
    """A number under a name."""

    id: Name
    value: int


begun, between = asyncio.Event(), asyncio.Event()
"""Set where `twice_entry` has read once, and where it goes on."""

between.set()

ledger = Module("ledger")
entries = Table(ledger, Entry, key=lambda e: e.id, readable=PUBLIC, writable=PUBLIC)


@ledger.command(public=True, http=Http(method="PUT", path="/entries/{id}", status=200))
async def put_entry(ctx: Write, id: Name, value: int) -> Entry:
    """Write a number under a name."""
    entry = Entry(id=id, value=value)
    try:
        return await entries.update(ctx, entry)
    except NotFound:
        await entries.insert(ctx, entry)
        return entry


@ledger.query(public=True, plural="entries")
async def get_entry(ctx: Read, id: Name) -> Entry:
    """Return a number."""
    return await entries.get(ctx, id)


@ledger.query(public=True, reads="primary")
async def exact_entry(ctx: Read, id: Name) -> Entry:
    """Return a number as the primary has it."""
    return await entries.get(ctx, id)


@ledger.query(public=True, reads="replica")
async def rough_entry(ctx: Read, id: Name) -> Entry:
    """Return a number as any replica has it."""
    return await entries.get(ctx, id)


@ledger.query(public=True, snapshot=True)
async def twice_entry(ctx: Read, id: Name) -> list[Entry]:
    """Return a number twice, as of one instant."""
    first = await entries.get(ctx, id)
    begun.set()
    await between.wait()
    return [first, await entries.get(ctx, id)]


def settings(primary: Server, *replicas: Server, **changes: Any) -> DatabaseSettings:
    """Return settings for these servers."""
    given = {"url": Url(primary.url()), "replicas": tuple(Url(each.url()) for each in replicas)}
    return DatabaseSettings(**{"create": True, **given, **changes})


@asynccontextmanager
async def serving(primary: Server, *replicas: Server, **changes: Any) -> AsyncIterator[Client]:
    """Serve the ledger."""
    app = App("ledger", modules=[ledger])
    async with Client(app, settings=settings_for_tests(database=settings(primary, *replicas, **changes))) as client:
        yield client


def replicated(client: Client) -> ReplicatedDatabase:
    """Return the database that a client's app has open."""
    database = client.service.runtime.database
    assert isinstance(database, ReplicatedDatabase)
    return database


def reads(client: Client) -> Mapping[tuple[str, ...], float]:
    """Return how many units of work read where, by node and reason."""
    families = merge([("0", client.service.runtime.metrics.snapshot())])
    found = [family for family in families if family.name == "trivet_database_reads_total"]
    return {sample.labels: sample.value for family in found for sample in family.samples}


def on_replicas(client: Client) -> float:
    """Return how many units of work read from a replica."""
    return sum(value for (_, why), value in reads(client).items() if why == "replica")


# -- callers


async def put(client: Client, id: str, value: int) -> Response:
    """Write a number."""
    return await client.request("PUT", f"/v1/entries/{id}", json={"value": value})


async def get(client: Client, id: str, token: str = "", how: str = "") -> Response:
    """Read a number, as one who has seen what the token says."""
    return await client.get(f"/v1/entries/{id}{how}", headers={"consistency-token": token} if token else {})


def token_of(answer: Response) -> str:
    """Return the token that came with an answer."""
    return answer.headers["consistency-token"]


def mark_of(client: Client, token: str) -> Mark:
    """Return the one mark in a token."""
    [mark] = read(token.encode(), client.service.runtime.settings.secret_key.reveal().encode()) or ()
    return mark


def token_from(client: Client, mark: Mark) -> str:
    """Return the token with one mark."""
    return write((mark,), client.service.runtime.settings.secret_key.reveal().encode()).decode()


class Tally(Struct):
    """What came of callers that read at once what they wrote.

    Attributes:
        pairs: How many times.
        stale: How many of them read something else.
        could: When how many of them read, the replica had replayed what they had written.
        did: How many the replica answered.
        failed: How many got no answer.
    """

    pairs: int
    stale: int
    could: int
    did: int
    failed: int


async def write_and_read(
    client: Client, replica: Server, *, pairs: int, tokens: bool, seed: int, callers: int = 4
) -> Tally:
    """Write and read at once, while the replica is late by ever other times, up to two seconds."""
    chance, before = random.Random(seed), on_replicas(client)
    stale = could = failed = 0

    async def late(observer: asyncpg.Connection) -> None:
        while True:
            delay = chance.choice(DELAYS)
            await observer.execute(f"ALTER SYSTEM SET recovery_min_apply_delay = '{delay}'")
            await observer.execute("SELECT pg_reload_conf()")
            await asyncio.sleep(chance.uniform(0.1, 0.5))

    async def call(name: str, number: int, observer: asyncpg.Connection) -> None:
        nonlocal stale, could, failed
        for value in range(number):
            written = await put(client, name, value)
            if value % 3 == 0:  # some read a little later
                await asyncio.sleep(chance.choice((0.001, 0.02)))
            token = token_of(written)
            could += await observer.fetchval(REPLAYED) >= mark_of(client, token).position
            answer = await get(client, name, token if tokens else "")
            if answer.status != 200:
                failed += 1
            elif answer.json()["value"] != value:
                stale += 1

    observers = [await asyncpg.connect(replica.url()) for _ in range(callers + 1)]
    changing = asyncio.create_task(late(observers[-1]))
    try:
        async with asyncio.TaskGroup() as group:
            for index, observer in enumerate(observers[:-1]):
                group.create_task(call(f"{seed}-{index}", pairs // callers, observer))
    finally:
        changing.cancel()
        await asyncio.gather(changing, return_exceptions=True)
        last = await asyncpg.connect(replica.url())
        await last.execute("ALTER SYSTEM RESET recovery_min_apply_delay")
        await last.execute("SELECT pg_reload_conf()")
        for observer in (*observers, last):
            await observer.close()
    did = int(on_replicas(client) - before)
    return Tally(pairs=pairs, stale=stale, could=could, did=did, failed=failed)
