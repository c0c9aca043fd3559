"""A process begins while the database of a shard is down: it serves the rest, and the shard once it is there."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, nullcontext
from functools import partial
from typing import Annotated, Any

import msgspec
import pytest
import sqlalchemy as sa

from tests.pgbouncer import bouncer
from tests.postgres import SURVIVES, Server, empty_database
from tests.waiting import until
from trivet import PUBLIC, App, Event, Http, Meta, Module, NotFound, Page, PageRequest, Read, Struct, Table, Write
from trivet.core.consistency import FARTHEST
from trivet.core.sharding import SHARDS, logical_of
from trivet.data.catalog import open_sharded
from trivet.data.database import DatabaseUnavailable
from trivet.data.sharding.directory import dealt
from trivet.data.sharding.tables import tables
from trivet.data.statement import Statement
from trivet.policies import consistency as tokens
from trivet.settings import DatabaseSettings, Secret, Url
from trivet.telemetry.log import Sink
from trivet.telemetry.metrics import merge
from trivet.testing import settings_for_tests
from trivet.testing.asgi import Response, exchange

pytestmark = pytest.mark.integration

Name = Annotated[str, Meta(min_length=1, max_length=40)]

NODES = ("home", "b", "c")
PATIENCE_SECONDS = 60

KEY = Secret("a secret that all processes of an app share")

LISTENING = "SELECT count(*) FROM pg_stat_activity WHERE query ~ '^(LISTEN|NOTIFY) \"?trivet'"


class Count(Struct):
    """A number that grows."""

    id: Name
    value: int


class Grown(Event):
    """A number became greater."""

    id: Name


class Process:
    """One process of an app with one sharded table, its log, and the events that it handled."""

    def __init__(self, settings: DatabaseSettings) -> None:
        self.heard: list[str] = []
        self._lines: list[bytes] = []
        module = Module("counts")
        counts = Table(
            module, Count, key=lambda c: c.id, shard_by=lambda c: c.id, scatter=3, readable=PUBLIC, writable=PUBLIC
        )

        @counts.listing(order="id")
        def everything(c: Count) -> bool:
            return True

        @module.command(public=True, http=Http(method="POST", path="/counts:grow", status=200))
        async def grow(ctx: Write, id: Name) -> Count:
            """Make a number greater by one."""
            ctx.emit(Grown(id=id))
            try:
                row = await counts.lock(ctx, id)
            except NotFound:
                made = Count(id=id, value=1)
                await counts.insert(ctx, made)
                return made
            return await counts.update(ctx, Count(id=id, value=row.value + 1))

        @module.query(public=True)
        async def get_count(ctx: Read, id: Name) -> Count:
            """Return a number."""
            return await counts.get(ctx, id)

        @module.query(public=True, reads="replica")
        async def rough_count(ctx: Read, id: Name) -> Count:
            """Return a number as any replica has it."""
            return await counts.get(ctx, id)

        @module.query(public=True)
        async def list_counts(ctx: Read, page: PageRequest) -> Page[Count]:
            """List all numbers."""
            return await counts.page(ctx, everything, page)

        @module.on(Grown)
        async def hear(ctx: Write, event: Grown) -> None:
            self.heard.append(event.id)

        self.app = App("counts", modules=[module], settings=settings_for_tests(database=settings, secret_key=KEY))

    async def start(self) -> None:
        """Begin to serve."""
        await self.app.start(sink=Sink(self._lines.append))

    async def grow(self, owner: str, token: str = "") -> Response:
        """Make a number greater."""
        return await exchange(self.app, "POST", "/v1/counts:grow", json={"id": owner}, headers=bearing(token))

    async def get(self, path: str, token: str = "") -> Response:
        """Read."""
        return await exchange(self.app, "GET", path, headers=bearing(token))

    async def served(self, owner: str) -> int:
        """Return a number once it is answered; until then it is refused as what is down for a moment."""

        async def answered() -> Response | None:
            answer = await self.get(f"/v1/counts/{owner}")
            if answer.status == 200:
                return answer
            refused(answer)
            return None

        return value(await until(answered))

    def said(self, about: str) -> list[dict[str, Any]]:
        """Return the lines of the log that have a text in their message."""
        self.app.service.runtime.sink.flush()
        lines = [msgspec.json.decode(line) for line in b"".join(self._lines).splitlines()]
        return [line for line in lines if about in line["message"]]

    def why(self) -> list[str]:
        """Return why the node b was said to be absent."""
        lines = self.said("shards are refused until their database can be used")
        assert {line["node"] for line in lines} <= {"b"}
        return [line["why"] for line in lines]

    def figures(self, name: str) -> dict[str, float]:
        """Return the values of a metric by node."""
        families = merge([("0", self.app.service.runtime.metrics.snapshot())])
        return {s.labels[0]: s.value for family in families if family.name == name for s in family.samples}


@asynccontextmanager
async def process(settings: DatabaseSettings) -> AsyncIterator[Process]:
    """Give a running process."""
    made = Process(settings)
    await made.start()
    try:
        yield made
    finally:
        await made.app.stop()


def value(answer: Response) -> int:
    """Return the number in an answer."""
    assert answer.status == 200, answer.text
    found: int = answer.json()["value"]
    return found


def bearing(token: str) -> dict[str, str]:
    """Return the header fields of a caller with that token, or with none."""
    return {"consistency-token": token} if token else {}


def refused(answer: Response) -> None:
    """Hold an answer to be that of what is down for a moment."""
    assert answer.status == 503, answer.text
    assert answer.headers["retry-after"] == "1"


def on(node: str) -> str:
    """Return the name of a number that is on a node, as shards are first dealt out."""
    nodes = dealt(SHARDS, NODES)
    return next(name for number in range(999) if nodes[logical_of(name := f"n{number}")] == node)


AT: Mapping[str, str] = {node: on(node) for node in NODES}


class Shop:
    """Three databases, of which b is on a server of its own."""

    def __init__(self, home: str, b: str, c: str, server: Server, **more: Any) -> None:
        self.home, self.b, self.c, self.server = home, b, c, server
        self._more = more

    def settings(self, *, create: bool = False, **changes: Any) -> DatabaseSettings:
        """Return settings of the processes."""
        urls = {"home": self.home, "b": self.b} | {name: changes.pop(name) for name in NODES if name in changes}
        given = {"url": Url(urls["home"]), "shards": Url(f"b={urls['b']} c={self.c}"), "create": create, "pool_size": 4}
        return DatabaseSettings(**{**given, **self._more, **changes})

    async def fill(self) -> None:
        """Make the tables, and a number on each node."""
        async with process(self.settings(create=True)) as first:
            for owner in AT.values():
                assert value(await first.grow(owner)) == 1
            await until(lambda: heard(first, *AT.values()))
            assert {node: first.figures("trivet_database_absent")[node] for node in "bc"} == {"b": 0, "c": 0}

    def lose(self, how: signal.Signals = signal.SIGQUIT) -> None:
        """Stop the server of b."""
        self.server.stop(how)

    def find(self) -> None:
        """Start it again; in the test itself, as it ends with the thread that started it."""
        self.server.start()


async def heard(process: Process, *owners: str) -> bool:
    """Whether a process has handled the events of these numbers."""
    return set(owners) <= set(process.heard)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """The server of b."""
    made = Server(17, SURVIVES)
    yield made
    made.remove()


@pytest.fixture
def shop(server: Server) -> Iterator[Shop]:
    """Three empty databases."""
    with empty_database() as home, empty_database() as c, server.database() as name:
        yield Shop(home, server.url(name), c, server)


async def test_a_process_serves_the_rest_and_the_shard_once_its_database_is_there(shop: Shop) -> None:
    await shop.fill()
    shop.lose()
    try:
        async with process(shop.settings()) as late:
            assert (await late.get("/readyz")).status == 200
            for node in ("home", "c"):
                assert value(await late.grow(AT[node])) == 2
                assert value(await late.get(f"/v1/counts/{AT[node]}")) == 2
            for answer in (
                await late.grow(AT["b"]),
                await late.get(f"/v1/counts/{AT['b']}"),
                await late.get("/v1/counts"),
            ):
                refused(answer)
            await until(lambda: heard(late, AT["home"], AT["c"]))
            [why] = late.why()
            assert "nobody listens there: start the server" in why
            assert late.figures("trivet_database_absent") == {"b": 1, "c": 0}
            assert late.figures("trivet_database_pool_size") == dict.fromkeys(NODES, 4)
            assert late.figures("trivet_database_pool_open")["b"] == 0

            shop.find()
            assert await late.served(AT["b"]) == 1
            assert value(await late.grow(AT["b"])) == 2
            assert {each["value"] for each in (await late.get("/v1/counts")).json()["items"]} == {2}
            await until(lambda: heard(late, AT["b"]))
            assert shop.server.run(LISTENING) == [(1,)]
            assert late.figures("trivet_database_absent") == {"b": 0, "c": 0}
            assert late.figures("trivet_database_pool_open")["b"] > 0
            assert len(late.why()) == 1 or "not ready yet" in late.why()[1]
            assert len(late.said("shards are served")) == 1
    finally:
        if shop.server.process is not None and shop.server.process.poll() is not None:
            shop.find()


async def test_a_database_that_comes_back_in_a_wrong_state_stays_absent_and_says_why_once(shop: Shop) -> None:
    await shop.fill()
    table = "ALTER TABLE counts.counts RENAME COLUMN value TO worth"
    shop.server.run(table, database_of(shop.b))
    shop.lose()
    async with process(shop.settings()) as late:
        shop.find()

        async def told() -> bool:
            return any("Migrate it (`trivet db migrate`)" in why for why in late.why())

        await until(told)
        before = late.why()
        await asyncio.sleep(3)
        assert late.why() == before
        assert len(late.said("deliveries can not be looked for")) <= len(before)
        refused(await late.get(f"/v1/counts/{AT['b']}"))
        assert value(await late.get(f"/v1/counts/{AT['c']}")) == 1
        shop.server.run("ALTER TABLE counts.counts RENAME COLUMN worth TO value", database_of(shop.b))
        assert await late.served(AT["b"]) == 1


async def test_a_database_that_is_there_and_wrong_is_no_reason_to_begin_without_it(shop: Shop) -> None:
    await shop.fill()
    database = database_of(shop.b)
    standby = shop.server.standby()
    try:
        for b, why in (
            (shop.server.url("nowhere"), "there is no database nowhere"),
            (shop.server.url(database, user="nobody_at_all"), "nobody_at_all"),
            (standby.url(database), "is a standby, which can not be written"),
            (standby.url(database, target_session_attrs="read-write"), "name the primary"),
            ("postgresql://127.0.0.1:1/shop?sslmode=verify-full&sslrootcert=/nonexistent", "/nonexistent"),
        ):
            with pytest.raises(DatabaseUnavailable, match=why):
                await Process(shop.settings(b=b)).start()
    finally:
        standby.remove()
    shop.server.run("DROP TABLE trivet.trivet_held", database)
    with pytest.raises(DatabaseUnavailable, match="trivet_held"):
        await Process(shop.settings()).start()


async def test_nothing_begins_without_the_home_database(shop: Shop) -> None:
    await shop.fill()
    with ExitStack() as stack:
        gone = stack.enter_context(empty_database())
        with pytest.raises(DatabaseUnavailable, match="nobody listens there"):
            await Process(shop.settings(home=gone.replace("host=", "host=/nonexistent"))).start()


async def test_shards_are_dealt_out_with_all_databases_there(shop: Shop) -> None:
    shop.lose()
    try:
        with pytest.raises(DatabaseUnavailable, match="the shards were never dealt out, and b can not be reached"):
            await Process(shop.settings(create=True)).start()
    finally:
        shop.find()
    await shop.fill()


async def test_a_database_that_goes_while_a_process_begins_is_absent(shop: Shop) -> None:
    await shop.fill()
    database = open_sharded(shop.settings(), whole=False)
    await database.open()
    try:
        shop.lose()
        await database.check(tables().all)
        for name, open in (("b", False), ("c", True)):
            session = database.nodes[name].session(write=False)
            with nullcontext() if open else pytest.raises(DatabaseUnavailable, match="nobody listens there"):
                assert await session.fetch(Statement(sa.text("SELECT 1")), ()) == [(1,)]
            await session.close()
    finally:
        await database.close()
        shop.find()


async def test_a_server_that_says_nothing_holds_up_the_start_for_one_attempt(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    await shop.fill()
    monkeypatch.setattr("trivet.data.postgresql.address.CONNECT_SECONDS", seconds := 3)
    shop.server.pause()
    try:
        began = asyncio.get_running_loop().time()
        async with process(shop.settings()) as late:
            assert asyncio.get_running_loop().time() - began < 2 * seconds
            assert value(await late.get(f"/v1/counts/{AT['c']}")) == 1
            began = asyncio.get_running_loop().time()
            refused(await late.get(f"/v1/counts/{AT['b']}"))
            assert asyncio.get_running_loop().time() - began < seconds / 2, (
                "nobody waits for what is known to be absent"
            )
            assert "no answer within" in late.why()[0]
            shop.server.resume()
            assert await late.served(AT["b"]) == 1
    finally:
        shop.server.resume()


async def test_a_database_behind_a_pgbouncer_may_be_down(shop: Shop) -> None:
    with bouncer(shop.server) as shared:
        behind = shared.url(database_of(shop.b))
        await shop.fill()
        shop.lose()
        async with process(shop.settings(b=behind, pgbouncer=True)) as late:
            assert value(await late.get(f"/v1/counts/{AT['c']}")) == 1
            refused(await late.get(f"/v1/counts/{AT['b']}"))
            assert late.why()
            shop.find()
            assert await late.served(AT["b"]) == 1
            assert value(await late.grow(AT["b"])) == 2
        shared.admin(f"KILL {database_of(shop.b)}")


def database_of(url: str) -> str:
    """Return the name of the database in a URL."""
    return url.rpartition("?")[0].rpartition("/")[2]


async def test_callers_of_a_replicated_database_see_no_less_after_its_absence(server: Server) -> None:
    replica = server.standby()
    with ExitStack() as stack:
        stack.callback(replica.remove)
        home, c, name = (stack.enter_context(each) for each in (empty_database(), empty_database(), server.database()))
        shop = Shop(home, server.url(name), c, server, shard_replicas=Url(f"b={replica.url(name)}"))
        await until(lambda: caught_up(replica, server))
        async with process(shop.settings(create=True)) as first:
            for owner in AT.values():
                await first.grow(owner)
            server.run("CHECKPOINT")
            await until(lambda: caught_up(replica, server))
            replica.run("CHECKPOINT")  # from where it begins when it is started again
            replica.run("ALTER SYSTEM SET recovery_min_apply_delay = '1h'")
            replica.run("SELECT pg_reload_conf()")
            grown = await first.grow(AT["b"])
            assert value(grown) == 2
            seen = grown.headers["consistency-token"]
        shop.lose()
        replica.stop(signal.SIGQUIT)
        async with process(shop.settings()) as late, process(shop.settings(session_record="memory")) as keeps:
            refused(await late.get(f"/v1/counts/{AT['b']}", seen))
            read = await late.get(f"/v1/counts/{AT['c']}", seen)
            assert value(read) == 1
            written = await late.grow(AT["c"])
            given = [each.headers["consistency-token"] for each in (read, written)]
            refused(await late.get(f"/v1/counts/{AT['b']}", given[0]))
            replica.start()
            shop.find()
            for each in (late, keeps):
                assert await each.served(AT["b"]) == 2
                await until(partial(stale, each))
            assert await keeps.served(AT["b"]) == 2, "what was written before the process began"
            async with process(shop.settings()) as other:
                for token in given:
                    for each in (late, other):
                        read = await each.get(f"/v1/counts/{AT['b']}", token)
                        assert value(read) == 2
                        assert farthest(read) == 2, (
                            "of those that have no replica; at b it is known again how far it has been"
                        )


async def stale(process: Process) -> bool:
    """Whether the replica of b is read, which is late."""
    return value(await process.get(f"/v1/counts/{AT['b']}:rough")) == 1


def farthest(answer: Response) -> int:
    """Return of how many databases a caller has to read the primary."""
    marks = tokens.read(answer.headers["consistency-token"].encode(), KEY.reveal().encode())
    assert marks is not None
    return sum(mark.position == FARTHEST for mark in marks)


async def caught_up(replica: Server, primary: Server) -> bool:
    """Whether a replica has all that its primary has."""
    [(end,)] = primary.run("SELECT pg_current_wal_flush_lsn()::text")
    return replica.run(f"SELECT pg_last_wal_replay_lsn() >= '{end}'::pg_lsn") == [(True,)]
