"""A primary and its streaming replicas: nobody reads less than it has seen, whatever the replicas do."""

from __future__ import annotations

import asyncio
import random
import signal
import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Self

import msgspec
import pytest
import sqlalchemy as sa

from tests.data.postgresql import ledger
from tests.data.postgresql.ledger import (
    REPLAYED,
    get,
    mark_of,
    on_replicas,
    put,
    reads,
    replicated,
    serving,
    settings,
    token_from,
    token_of,
    write_and_read,
)
from tests.postgres import SURVIVES, Server, server
from tests.waiting import until
from trivet.core.consistency import FARTHEST, Mark
from trivet.data.catalog import open_database
from trivet.data.database import Contention, DatabaseUnavailable
from trivet.data.statement import Statement
from trivet.policies.consistency import write
from trivet.settings import Url
from trivet.telemetry.metrics import merge
from trivet.testing import Client, principal

pytestmark = pytest.mark.integration

Pair = tuple[Server, Server]

LOSSY = {**SURVIVES, "max_standby_streaming_delay": "0", "hot_standby_feedback": "off"}
"""A standby that cancels what is in the way of what it replays."""


@contextmanager
def pair(options: Mapping[str, str]) -> Iterator[Pair]:
    first = Server(17, options)
    try:
        second = first.standby()
        try:
            yield first, second
        finally:
            second.remove()
    finally:
        first.remove()


@pytest.fixture(scope="module")
def strict() -> Iterator[Pair]:
    """A primary and a replica that cancels what is in the way of replay."""
    with pair(LOSSY) as servers:
        yield servers


@asynccontextmanager
async def own_pair() -> AsyncIterator[Pair]:
    """Give a primary and a replica to which things may happen."""
    context = pair(SURVIVES)
    servers = await asyncio.to_thread(context.__enter__)
    try:
        yield servers
    finally:
        await asyncio.to_thread(context.__exit__, None, None, None)


async def usable(client: Client, count: int = 1) -> None:
    """Return once so many replicas can be used."""
    database = replicated(client)
    await until(lambda: sum(each.sight is not None for each in database.replicas) == count)


async def unusable(client: Client) -> None:
    await usable(client, 0)


# -- read your writes

COULD = 50
"""Of how many reads that a replica could answer its share is judged: of two or three it is chance."""


@pytest.mark.parametrize("tokens", [True, False], ids=["token", "remembered"])
async def test_nobody_reads_less_than_it_wrote_and_replicas_do_what_they_can(
    tokens: bool, primary: Server, replica: Server
) -> None:
    async with serving(primary, replica, session_record="memory") as client:
        await usable(client)
        could = did = 0
        while could < COULD:  # the replica may be late all the time
            tally = await write_and_read(client, replica, pairs=200, tokens=tokens, seed=random.randrange(10**6))
            assert (tally.stale, tally.failed) == (0, 0), tally
            could, did = could + tally.could, did + tally.did
        assert did >= 0.7 * could, (did, could, reads(client))


async def test_without_token_and_record_reads_are_on_the_primary(primary: Server, replica: Server) -> None:
    async with serving(primary, replica) as client:
        await put(client, "plain", 1)
        answer = await get(client, "plain")
        assert answer.json()["value"] == 1
        assert "consistency-token" not in answer.headers
        assert reads(client) == {("primary", "unknown caller"): 1}


async def test_who_wrote_is_remembered_by_itself_and_at_first_by_everybody(primary: Server, replica: Server) -> None:
    async with serving(primary, replica, session_record="memory") as client:
        ann, bob = client.as_(principal(subject="ann")), client.as_(principal(subject="bob"))
        await usable(client)
        replica.run("SELECT pg_wal_replay_pause()")
        try:
            assert (await put(ann, "shared", 7)).status == 200
            assert (await get(ann, "shared")).json()["value"] == 7
            assert reads(client) == {("primary", "behind"): 1}
            assert (await get(bob, "absent")).status == 404
            assert on_replicas(client) == 1
        finally:
            replica.run("SELECT pg_wal_replay_resume()")


async def test_a_query_says_where_it_reads(primary: Server, replica: Server) -> None:
    async with serving(primary, replica) as client:
        token = token_of(await put(client, "where", 1))
        await until_replayed(client, replica, token)
        assert (await get(client, "where", token, ":exact")).json()["value"] == 1
        assert reads(client) == {("primary", "declared"): 1}
        assert (await get(client, "where", how=":rough")).json()["value"] == 1
        assert (await get(client, "where", token, ":twice")).status == 200
        assert on_replicas(client) == 2


async def test_each_node_has_figures_of_its_own_pool(primary: Server, replica: Server) -> None:
    async with serving(primary, replica) as client:
        families = merge([("0", client.service.runtime.metrics.snapshot())])
        [sizes] = [family for family in families if family.name == "trivet_database_pool_size"]
        names = {"primary", *(each.name for each in replicated(client).replicas)}
        assert {sample.labels[0] for sample in sizes.samples} == names
        assert len(names) == 2


async def until_replayed(client: Client, replica: Server, token: str) -> None:
    position = mark_of(client, token).position
    await until(lambda: replica.run(REPLAYED)[0][0] >= position)
    await asyncio.sleep(0)


# -- tokens


async def test_a_reader_stays_with_its_replica_and_from_the_primary_it_brings_an_exact_mark(
    primary: Server, replica: Server
) -> None:
    async with serving(primary, replica) as client:
        token = token_of(await put(client, "stays", 1))
        await until_replayed(client, replica, token)
        there = mark_of(client, token_of(await get(client, "stays", token)))
        assert there.node == replicated(client).replicas[0].node != 0
        assert there.position == mark_of(client, token).position
        gone = token_from(client, msgspec.structs.replace(there, node=4))
        exact = mark_of(client, token_of(await get(client, "stays", gone)))
        assert exact.node == 0
        assert exact.position >= there.position
        assert (await get(client, "nothing", gone)).status == 404
        assert "consistency-token" in (await get(client, "nothing", gone)).headers


@pytest.mark.parametrize(
    "changes",
    [{"timeline": 9}, {"database": 9}, {"position": FARTHEST}, {"position": 2**60}],
    ids=["of another timeline", "of another database", "of the primary alone", "of the future"],
)
async def test_what_no_replica_has_is_read_on_the_primary(
    changes: dict[str, int], primary: Server, replica: Server
) -> None:
    async with serving(primary, replica) as client:
        mark = mark_of(client, token_of(await put(client, "elsewhere", 3)))
        answer = await get(client, "elsewhere", token_from(client, msgspec.structs.replace(mark, **changes)))
        assert answer.json()["value"] == 3
        assert on_replicas(client) == 0


async def test_a_token_of_another_key_is_no_error_and_garbage_is(primary: Server, replica: Server) -> None:
    async with serving(primary, replica) as client:
        await put(client, "keys", 1)
        foreign = write((Mark(database=1, timeline=1, position=1),), b"another key").decode()
        answer = await get(client, "keys", foreign)
        assert (answer.status, reads(client)) == (200, {("primary", "unknown caller"): 1})
        assert mark_of(client, token_of(answer)).node == 0
        refused = await get(client, "keys", "no token")
        assert refused.status == 400
        assert refused.json()["errors"][0]["pointer"] == "#/consistency-token"


async def test_graphql_and_rpc_take_and_give_the_same_tokens(primary: Server, replica: Server) -> None:
    async with serving(primary, replica) as client:
        change = {"query": 'mutation { putEntry(id: "many", value: 5) { value } }'}
        answer = await client.post("/graphql", json=change)
        token = token_of(answer)
        await until_replayed(client, replica, token)
        find = {"query": '{ entry(id: "many") { value } }'}
        found = await client.post("/graphql", json=find, headers={"consistency-token": token})
        assert found.json()["data"] == {"entry": {"value": 5}}
        called = await client.post(
            "/ledger.ledger.v1.LedgerService/GetEntry",
            json={"id": "many"},
            headers={"consistency-token": token_of(found)},
        )
        assert called.json() == {"entry": {"id": "many", "value": "5"}}
        assert mark_of(client, token_of(called)).node != 0
        assert on_replicas(client) == 2
        written = await client.post("/ledger.ledger.v1.LedgerService/PutEntry", json={"id": "many", "value": 6})
        assert mark_of(client, token_of(written)).position > mark_of(client, token).position


# -- replicas that fail


class Callers:
    """Callers that write and read what they wrote, on and on, until the block ends."""

    def __init__(self, client: Client, number: int = 4) -> None:
        self._client = client
        self.done = 0
        self.refused = 0
        self._tasks = [asyncio.create_task(self._run(f"caller-{index}")) for index in range(number)]

    async def _run(self, name: str) -> None:
        token, value = "", 0
        while True:
            value += 1
            written = await put(self._client, name, value)
            assert written.status in (200, 503), (written.status, written.body)
            if written.status == 503:
                self.refused += 1
                continue
            token = token_of(written)
            await asyncio.sleep(0.002 * (value % 5))
            answer = await get(self._client, name, token)
            assert answer.status in (200, 503), (answer.status, answer.body)
            if answer.status == 503:
                self.refused += 1
                continue
            assert answer.json()["value"] == value
            self.done += 1

    async def more(self, number: int = 40) -> None:
        """Return after so many further pairs; raises what was wrong."""
        target = self.done + number
        while self.done < target:
            for task in self._tasks:
                if task.done():
                    task.result()
            await asyncio.sleep(0.01)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        for result in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(result, BaseException) and not isinstance(result, asyncio.CancelledError):
                raise result


async def test_whatever_happens_to_the_replica_answers_are_right() -> None:
    async with own_pair() as (first, second):
        await asyncio.to_thread(second.stop)
        async with serving(first, second) as client, Callers(client) as callers:
            await callers.more()
            assert on_replicas(client) == 0

            await asyncio.to_thread(second.start)  # it was away at the start
            await is_read(client, callers)

            await asyncio.to_thread(second.stop, signal.SIGKILL)
            await unusable(client)
            await callers.more()
            await asyncio.to_thread(second.start)
            await is_read(client, callers)

            second.pause()
            try:
                await callers.more()
                await unusable(client)
                await callers.more()
            finally:
                second.resume()
            await is_read(client, callers)

            await asyncio.to_thread(second.promote)
            await unusable(client)
            before = on_replicas(client)
            await callers.more()
            assert on_replicas(client) == before
            assert callers.refused == 0  # the primary was there all the time


async def is_read(client: Client, callers: Callers) -> None:
    """Return once the replica is read again."""
    await usable(client)
    before = on_replicas(client)
    while on_replicas(client) == before:
        await callers.more(5)


async def test_a_statement_that_is_in_the_way_of_replay_is_answered_by_the_primary(strict: Pair) -> None:
    lossy, late = strict
    async with serving(lossy, late) as client:
        database = replicated(client)
        token = ""
        for number in range(5):
            token = token_of(await put(client, f"here-{number}", number))
        await until_replayed(client, late, token)
        sleepy = Statement(sa.text("SELECT id, pg_sleep(0.3) FROM ledger.entries WHERE id ~ 'here' AND value > 0"))
        rows = Statement(sa.text("SELECT count(*) FROM ledger.entries WHERE id ~ 'here'"))
        snapshot = database.session(write=False, snapshot=True, reads="replica")
        [(count,)] = await snapshot.fetch(rows, ())
        assert count == 5
        session = database.session(write=False, reads="replica")
        reading = asyncio.create_task(session.fetch(sleepy, ()))
        await asyncio.sleep(0.1)
        await asyncio.to_thread(lossy.run, "DELETE FROM ledger.entries WHERE value > 1")
        await asyncio.to_thread(lossy.run, "VACUUM ledger.entries")
        assert len(await reading) == 1  # begun anew, and by now there is one
        with pytest.raises(Contention):
            await snapshot.fetch(rows, ())
        await snapshot.close()
        await session.close()


async def test_a_snapshot_that_a_replica_can_not_hold_is_taken_again_on_the_primary(strict: Pair) -> None:
    lossy, late = strict
    async with serving(lossy, late) as client:
        token = ""
        for number in range(5):
            token = token_of(await put(client, f"row-{number}", number))
        await until_replayed(client, late, token)
        ledger.between.clear()
        reading = asyncio.create_task(get(client, "row-1", token, ":twice"))
        await ledger.begun.wait()
        await asyncio.to_thread(lossy.run, "DELETE FROM ledger.entries WHERE value > 1")
        await asyncio.to_thread(lossy.run, "VACUUM ledger.entries")
        await asyncio.sleep(0.3)
        ledger.between.set()
        answer = await reading
        assert answer.status == 200, answer.body
        assert len(answer.json()["items"]) == 2


async def test_a_replica_that_is_too_far_behind_is_not_read(primary: Server, replica: Server) -> None:
    async with serving(primary, replica, replica_lag_size=10_000, session_record="memory") as client:
        await usable(client)
        replica.run("SELECT pg_wal_replay_pause()")
        try:
            await asyncio.to_thread(primary.run, "SELECT pg_logical_emit_message(false, 'x', repeat('x', 100000))")
            database = replicated(client)
            await until(lambda: database.replicas[0].candidate(0, database.now()) is None)
            assert (await get(client, "any", how=":rough")).status == 404
            assert reads(client) == {("primary", "no replica"): 1}
        finally:
            replica.run("SELECT pg_wal_replay_resume()")


# -- fail-over


def two_ports() -> tuple[int, int]:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        return one.getsockname()[1], other.getsockname()[1]


@pytest.mark.slow
async def test_after_a_failover_the_promoted_server_is_written_and_old_tokens_are_still_right() -> None:
    a, b = two_ports()
    first = await asyncio.to_thread(Server, 18, SURVIVES, a)
    second = await asyncio.to_thread(first.standby, b)
    hosts = f"postgresql://postgres@127.0.0.1:{a},127.0.0.1:{b}/postgres?target_session_attrs="
    try:
        changes: Any = {"url": Url(hosts + "primary"), "replicas": (Url(hosts + "standby"),)}
        async with serving(first, second, **changes) as client:
            old = token_of(await put(client, "over", 1))
            await until_replayed(client, second, old)
            assert (await get(client, "over", old)).json()["value"] == 1
            await asyncio.to_thread(first.stop, signal.SIGKILL)
            before = on_replicas(client)
            assert (await get(client, "over", old)).json()["value"] == 1  # without a primary
            assert on_replicas(client) == before + 1
            assert (await get(client, "over")).status == 503
            await asyncio.to_thread(second.promote)
            while (written := await put(client, "over", 2)).status == 503:  # noqa: ASYNC110 - until it is there
                await asyncio.sleep(0.05)
            assert written.status == 200, written.body
            assert mark_of(client, token_of(written)).timeline == mark_of(client, old).timeline + 1
            assert (await get(client, "over", token_of(written))).json()["value"] == 2
            assert (await get(client, "over", old)).json()["value"] == 2
    finally:
        await asyncio.to_thread(second.remove)
        await asyncio.to_thread(first.remove)


# -- what is wrong at start


async def opening(first: Server, *replicas: Server) -> None:
    wanted = settings(first, *replicas)
    database = open_database(wanted.url.reveal(), wanted)
    try:
        await database.open()
    finally:
        await database.close()


async def test_a_standby_in_place_of_the_primary_is_refused(primary: Server, replica: Server) -> None:
    with pytest.raises(DatabaseUnavailable, match=r"is a standby, .* name the primary with DATABASE_URL"):
        await opening(replica, primary)


async def test_a_primary_in_place_of_a_replica_is_refused(primary: Server) -> None:
    with pytest.raises(DatabaseUnavailable, match=r"it is a primary, no replica: .* TRIVET_DATABASE__REPLICAS"):
        await opening(primary, primary)


async def test_a_replica_of_another_cluster_is_refused(replica: Server) -> None:
    with pytest.raises(DatabaseUnavailable, match="replica of another cluster: make it anew from this primary"):
        await opening(server(), replica)


async def test_a_replica_that_does_not_let_us_in_is_refused(primary: Server, replica: Server) -> None:
    wanted = settings(primary, replicas=(Url(replica.url(database="absent")),))
    database = open_database(wanted.url.reveal(), wanted)
    with pytest.raises(DatabaseUnavailable, match="there is no database absent"):
        await database.open()
