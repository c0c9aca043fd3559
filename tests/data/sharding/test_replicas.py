"""Replicas of nodes: whoever has a token never sees less, while shards move between nodes whose replicas are late."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from typing import Annotated, Any

import pytest

from tests.data.sharding.nodes import what_moves
from tests.postgres import SURVIVES, Server, empty_database
from tests.waiting import until
from trivet import PUBLIC, App, Http, Meta, Module, NotFound, Page, PageRequest, Read, Struct, Table, Write
from trivet.core.consistency import DIRECTORY, Mark, Marks
from trivet.core.sharding import logical_of
from trivet.data.postgresql.replicated import ReplicatedDatabase
from trivet.data.sharding.database import ShardedDatabase
from trivet.data.sharding.move import Move
from trivet.policies.consistency import read, write
from trivet.settings import DatabaseSettings, Secret, Url
from trivet.telemetry.metrics import merge
from trivet.testing import Client, settings_for_tests
from trivet.testing.asgi import Response

pytestmark = pytest.mark.integration

REPLAYED = "SELECT pg_last_wal_replay_lsn() >= '{}'::pg_lsn"
DELAYS = ("0", "100ms", "700ms")

KEY = Secret("a secret that all processes of an app share")

Name = Annotated[str, Meta(min_length=1, max_length=40)]


class Count(Struct):
    """A number that grows."""

    id: Name
    value: int


class Counts:
    """An app with one sharded table."""

    def __init__(self) -> None:
        self.module = module = Module("counts")
        counts = Table(
            module,
            Count,
            key=lambda c: c.id,
            shard_by=lambda c: c.id,
            scatter=3,
            readable=PUBLIC,
            writable=PUBLIC,
        )

        @counts.listing(order="id")
        def everything(c: Count) -> bool:
            return True

        @module.command(public=True, http=Http(method="POST", path="/counts:grow", status=200))
        async def grow(ctx: Write, id: Name) -> Count:
            """Make a number greater by one."""
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

        @module.query(public=True, snapshot=True)
        async def twice_count(ctx: Read, id: Name) -> list[Count]:
            """Return a number twice, as of one instant."""
            return [await counts.get(ctx, id), await counts.get(ctx, id)]

        @module.query(public=True)
        async def list_counts(ctx: Read, page: PageRequest) -> Page[Count]:
            """List all numbers."""
            return await counts.page(ctx, everything, page)

        self.app = App("counts", modules=[module])
        self.grow = grow


class Node:
    """A primary and its replica."""

    def __init__(self) -> None:
        self.primary = Server(17, SURVIVES)
        self.replica = self.primary.standby()

    def remove(self) -> None:
        self.replica.remove()
        self.primary.remove()

    def pause(self) -> None:
        """Let the replica replay nothing."""
        self.replica.run("SELECT pg_wal_replay_pause()")
        while self.replica.run("SELECT pg_get_wal_replay_pause_state()") != [("paused",)]:
            time.sleep(0.02)

    def resume(self) -> None:
        """Let the replica go on, and return once it has all that there is."""
        self.replica.run("SELECT pg_wal_replay_resume()")
        self.caught_up()

    def caught_up(self) -> None:
        """Return once the replica has all that there is."""
        [(end,)] = self.primary.run("SELECT pg_current_wal_flush_lsn()::text")
        while self.replica.run(REPLAYED.format(end)) != [(True,)]:
            time.sleep(0.02)


Nodes = Mapping[str, Node]


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    """Two nodes beside the home database, each a server with a replica."""
    with ExitStack() as stack:
        made = {name: Node() for name in ("b", "c")}
        for node in made.values():
            stack.callback(node.remove)
        yield made


class Process:
    """One process of the app."""

    def __init__(self, counts: Counts, client: Client) -> None:
        self.client = client
        self.module = counts.module
        database = client.service.runtime.database
        assert isinstance(database, ShardedDatabase)
        self.database = database
        self._key = client.service.runtime.settings.secret_key.reveal().encode()

    def node_of(self, owner: str) -> str:
        """Return where it believes a number to be."""
        return self.database.directory.nodes[logical_of(owner)]

    async def move(self, owner: str, target: str) -> None:
        """Move the shard of a number."""
        await Move(self.database.nodes, what_moves(self.module), logical_of(owner), target).run()

    async def grow(self, owner: str, token: str = "") -> Response:
        """Make a number greater."""
        return await self.client.post("/v1/counts:grow", json={"id": owner}, headers=with_token(token))

    async def get(self, owner: str, token: str = "", how: str = "") -> Response:
        """Return a number."""
        return await self.client.get(f"/v1/counts/{owner}{how}", headers=with_token(token))

    async def list(self, token: str) -> Response:
        """Return all numbers."""
        return await self.client.get("/v1/counts", headers=with_token(token))

    def marks(self, token: str) -> Marks:
        """Return what a token says."""
        return read(token.encode(), self._key) or ()

    def token(self, marks: Marks) -> str:
        """Return the token that says so."""
        return write(marks, self._key).decode()

    def reads(self) -> Mapping[tuple[str, str], float]:
        """Return how many units of work read where, by node and reason."""
        found = self.figures("trivet_database_reads_total")
        return {(node.partition("/")[0], why): value for (node, why), value in found.items()}

    def figures(self, name: str) -> dict[tuple[str, ...], float]:
        """Return the values of a metric by their labels, the last of which of a gauge is the worker."""
        families = merge([("0", self.client.service.runtime.metrics.snapshot())])
        return {s.labels: s.value for family in families if family.name == name for s in family.samples}

    def replicated(self, name: str) -> ReplicatedDatabase:
        """Return the database of a node, as what it is here."""
        database = self.database.nodes[name]
        assert isinstance(database, ReplicatedDatabase)
        return database

    async def usable(self) -> None:
        """Return once the replicas of all nodes can be used."""
        replicas = [replica for name in ("b", "c") for replica in self.replicated(name).replicas]
        await until(lambda: all(replica.sight is not None for replica in replicas))


@asynccontextmanager
async def processes(nodes: Nodes, count: int, home_on: str | None = None) -> AsyncIterator[list[Process]]:
    """Give processes of an app on empty databases; the home database may be on the server of another node."""
    with ExitStack() as databases:
        if home_on is None:
            home = databases.enter_context(empty_database(17))
        else:
            primary = nodes[home_on].primary
            home = primary.url(databases.enter_context(primary.database()))
        names = {name: databases.enter_context(node.primary.database()) for name, node in nodes.items()}
        for node in nodes.values():
            node.resume()
        settings = DatabaseSettings(
            url=Url(home),
            shards=Url(" ".join(f"{name}={node.primary.url(names[name])}" for name, node in nodes.items())),
            shard_replicas=Url(" ".join(f"{name}={node.replica.url(names[name])}" for name, node in nodes.items())),
            create=True,
            pool_size=4,
        )
        async with AsyncExitStack() as stack:
            made = []
            for _ in range(count):
                counts = Counts()
                client = Client(counts.app, settings=settings_for_tests(database=settings, secret_key=KEY))
                made.append(Process(counts, await stack.enter_async_context(client)))
            for process in made:
                await process.usable()
            yield made


def value(answer: Response) -> int:
    """Return the number in an answer."""
    assert answer.status == 200, answer.text
    found: int = answer.json()["value"]
    return found


def with_token(token: str) -> dict[str, str]:
    """Return the header fields of a caller with that token, or with none."""
    return {"consistency-token": token} if token else {}


def token_of(answer: Response) -> str:
    """Return the token of an answer."""
    return answer.headers["consistency-token"]


def owner_on(process: Process, node: str) -> str:
    """Return the name of a number that is on a node."""
    return next(name for number in range(999) if process.node_of(name := f"n{number}") == node)


async def at_replica(process: Process, owner: str, token: str) -> str:
    """Read until a replica answers, and return the token that its reader has then, who stays there."""
    node = process.replicated(process.node_of(owner))
    while True:
        answer = await process.get(owner, token)
        value(answer)
        if any(mark.node and node.known((mark,)) for mark in process.marks(token_of(answer))):
            return token_of(answer)
        await asyncio.sleep(0.01)


async def test_a_replica_of_the_old_node_is_not_believed_by_whoever_saw_the_new_one(nodes: Nodes) -> None:
    async with processes(nodes, 3) as (new, old, third):
        owner = owner_on(new, "b")
        token = token_of(await new.grow(owner))
        before = await at_replica(old, owner, token)
        nodes["b"].pause()
        try:
            await new.move(owner, "c")
            after = await new.grow(owner, before)
            assert value(after) == 2
            assert [process.node_of(owner) for process in (new, old, third)] == ["c", "b", "b"]
            # The replica says that its node has the shard, and nothing else in the token would tell that it is late:
            others = tuple(mark for mark in new.marks(token_of(after)) if mark.database != DIRECTORY)
            await old.usable()
            assert value(await old.get(owner, old.token(others))) == 1
            assert value(await old.get(owner, how=":rough")) == 1

            assert value(await old.get(owner, token_of(after))) == 2
            assert old.node_of(owner) == "c"
            listed = await third.list(token_of(after))
            assert {each["id"]: each["value"] for each in listed.json()["items"]} == {owner: 2}
            # Whoever has not been there may still see what was, but not go back to it.
            [*_, seen] = [each for each in old.marks(token_of(listed)) if each.database == DIRECTORY]
            assert seen.position == new.database.directory.version
        finally:
            nodes["b"].resume()


async def test_each_server_has_figures_and_a_bounded_pool_of_its_own(nodes: Nodes) -> None:
    async with processes(nodes, 1) as (process,):
        replicas = {f"{name}/{node.replica.directory}" for name, node in nodes.items()}
        pools = process.figures("trivet_database_pool_size")
        assert pools == {(name, "0"): 4.0 for name in ("home", "b", "c", *replicas)}
        assert process.figures("trivet_database_replica_up") == {(name, "0"): 1.0 for name in replicas}


async def test_a_replica_of_the_new_node_that_has_not_come_so_far_is_stood_in_for(nodes: Nodes) -> None:
    async with processes(nodes, 1) as (process,):
        owner = owner_on(process, "b")
        token = token_of(await process.grow(owner))
        await asyncio.to_thread(nodes["c"].caught_up)
        there = process.replicated("c").identity
        mark = tuple(mark for mark in process.marks(token) if mark.database != there)
        nodes["c"].pause()
        try:
            await process.move(owner, "c")
            await process.database.directory.refresh()
            for path in ("", ":rough"):
                assert value(await process.get(owner, process.token(mark), path)) == 1
            twice = await process.get(owner, process.token(mark), ":twice")
            assert [each["value"] for each in twice.json()["items"]] == [1, 1]
        finally:
            nodes["c"].resume()
        before = process.reads()["c", "replica"]
        assert value(await process.get(owner, process.token(mark))) == 1
        assert process.reads()["c", "replica"] == before + 1


async def test_what_was_read_before_a_replica_knew_of_the_shard_is_read_again(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with processes(nodes, 1) as (process,):
        database, node = process.database, nodes["c"]
        owner = owner_on(process, "b")
        await process.grow(owner)
        node.pause()
        await process.move(owner, "c")
        await database.directory.refresh()
        holds, looks = database.holds, 0

        async def late(session: Any, shards: Sequence[int], epochs: int) -> bool:
            nonlocal looks
            looks += 1
            if looks == 1:  # the rows of the copy were not there yet
                await asyncio.to_thread(node.resume)
            return await holds(session, shards, epochs)

        monkeypatch.setattr(database, "holds", late)
        assert value(await process.get(owner, how=":rough")) == 1
        assert looks == 2
        assert value(await process.get(owner, how=":rough")) == 1
        assert looks == 3
        assert process.reads() == {("c", "replica"): 2}


async def test_a_caller_without_token_gets_one_that_leaves_nothing_out(nodes: Nodes) -> None:
    async with processes(nodes, 1) as (process,):
        at_b, at_c = owner_on(process, "b"), owner_on(process, "c")
        nodes["b"].pause()
        try:
            await process.grow(at_b)
            token = token_of(await process.grow(at_c))  # its caller did not say what it had seen
            assert value(await process.get(at_b, token)) == 1
        finally:
            nodes["b"].resume()
        foreign = process.token((*process.marks(token), Mark(database=9, timeline=1, position=1)))
        answer = await process.get(at_b, foreign)
        assert value(answer) == 1
        assert len(process.marks(token_of(answer))) == 4  # of three nodes and the directory: the foreign one is gone


async def test_while_a_server_is_down_the_others_serve_and_its_replica_what_it_can(nodes: Nodes) -> None:
    async with processes(nodes, 1, home_on="b") as (process,):
        at_b, at_c = owner_on(process, "b"), owner_on(process, "c")
        token = token_of(await process.grow(at_c))
        token = token_of(await process.grow(at_b, token))
        token = await at_replica(process, at_b, token)
        await asyncio.to_thread(nodes["b"].primary.stop, signal.SIGQUIT)  # the home database is gone as well
        try:
            assert value(await process.get(at_b, token)) == 1  # by the replica
            assert value(await process.grow(at_c, token)) == 2
            assert value(await process.get(at_c)) == 2
            for answer in (await process.grow(at_b), await process.get(at_b), await process.list(token)):
                assert answer.status == 503, answer.text
                assert answer.headers["retry-after"]
        finally:
            nodes["b"].primary.start()  # here: a server ends with the thread that started it
        grown = await process.grow(at_b)
        assert (value(grown), value(await process.get(at_b, token_of(grown)))) == (2, 2)
        assert len((await process.list("")).json()["items"]) == 2


async def test_a_server_that_says_nothing_costs_no_more_than_the_deadline(nodes: Nodes) -> None:
    async with processes(nodes, 1) as (process,):
        at_b, at_c = owner_on(process, "b"), owner_on(process, "c")
        for owner in (at_b, at_c):
            await process.grow(owner)
        nodes["b"].primary.pause()
        try:
            hurried = {"request-timeout": "0.5"}
            silent = process.client.get(f"/v1/counts/{at_b}", headers=hurried)
            listed = process.client.get("/v1/counts", headers=hurried)
            others = [process.get(at_c) for _ in range(5)]
            statuses = [answer.status for answer in await asyncio.gather(silent, listed, *others)]
            assert statuses == [504, 504, 200, 200, 200, 200, 200]
        finally:
            nodes["b"].primary.resume()
        assert value(await process.get(at_b)) == 1


async def late(nodes: Nodes, chance: random.Random) -> None:
    """Let replicas be late by ever other times."""
    while True:
        for node in nodes.values():
            delay = chance.choice(DELAYS)
            await asyncio.to_thread(node.replica.run, f"ALTER SYSTEM SET recovery_min_apply_delay = '{delay}'")
            await asyncio.to_thread(node.replica.run, "SELECT pg_reload_conf()")
        await asyncio.sleep(chance.uniform(0.2, 0.6))


async def caller(several: Sequence[Process], owners: Sequence[str], chance: random.Random, over: asyncio.Event) -> int:
    """Write and read as one caller, now here, now there; return how many answers there were, or fail at one that shows
    less than what the caller has seen.

    The last process is asked seldom, and so it is often the last one to know that a shard has moved.
    """
    token, answers = "", 0
    seen = dict.fromkeys(owners, 0)
    while not over.is_set():
        *busy, seldom = several
        owner, what = chance.choice(owners), chance.choice(("grow", "get", "get", "list", "rough", "get"))
        process = seldom if what != "grow" and chance.random() < 0.1 else chance.choice(busy)
        if what == "grow":
            answer = await process.grow(owner, token)
        elif what == "list":
            answer = await process.list(token)
        else:
            answer = await process.get(owner, token, ":rough" if what == "rough" else "")
        if answer.status in (409, 503):
            continue
        assert answer.status in (200, 404), answer.text
        answers += 1
        if token or what == "grow":
            token = token_of(answer)
        if what == "list":
            listed = {each["id"]: each["value"] for each in answer.json()["items"]}
            shown = {each: listed.get(each, 0) for each in owners}
        else:
            shown = {owner: value(answer) if answer.status == 200 else 0}
        for each, number in shown.items():
            if what == "rough":
                continue  # it may be older, and the next one may not, for all that
            assert number >= seen[each], f"{what} of {each} showed {number} after {seen[each]}"
            seen[each] = number
    return answers


async def test_callers_with_tokens_never_see_less_while_shards_move_and_replicas_are_late(nodes: Nodes) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    chance, over = random.Random(seed), asyncio.Event()
    async with processes(nodes, 3) as several:
        one, other, mover = several
        moving = owner_on(one, "b")
        owners = [moving, owner_on(one, "c"), owner_on(one, "home")]
        for owner in owners:
            await one.grow(owner)
        lateness = asyncio.create_task(late(nodes, chance))
        callers = [asyncio.create_task(caller(several, owners, random.Random(f"{seed}-{n}"), over)) for n in range(5)]
        try:
            for target in ("c", "b", "c", "home", "b", "c"):
                await mover.move(moving, target)
                await asyncio.sleep(0.5)
                assert not any(task.done() for task in callers), [task for task in callers if task.done()]
            for key in (("b", "replica"), ("c", "replica")):
                while sum(process.reads().get(key, 0) for process in (one, other)) < 10:
                    assert not any(task.done() for task in callers), [task for task in callers if task.done()]
                    await asyncio.sleep(0.05)
        finally:
            over.set()
            answers = await asyncio.gather(*callers, return_exceptions=True)
            lateness.cancel()
            await asyncio.gather(lateness, return_exceptions=True)
            for node in nodes.values():
                await asyncio.to_thread(node.replica.run, "ALTER SYSTEM RESET recovery_min_apply_delay")
                await asyncio.to_thread(node.replica.run, "SELECT pg_reload_conf()")
        for failed in answers:
            if isinstance(failed, BaseException):
                raise failed


async def test_an_app_whose_tokens_would_have_no_end_does_not_start() -> None:
    shards = " ".join(f"n{number}=postgresql://x/{number}" for number in range(64))
    settings = DatabaseSettings(
        url=Url("postgresql://x/y"), shards=Url(shards), shard_replicas=Url("n1=postgresql://x/z")
    )
    with pytest.raises(Exception, match="has room for 64"):
        async with Client(Counts().app, settings=settings_for_tests(database=settings)):
            pass


def test_each_replica_is_named_with_its_shard() -> None:
    given = DatabaseSettings(
        url=Url("postgresql://x/home"),
        replicas=(Url("postgresql://r/home"),),
        shards=Url("b=postgresql://x/b c=postgresql://x/c"),
        shard_replicas=Url("c=postgresql://r/1 b=postgresql://r/2 c=postgresql://r/3"),
    )
    named = {name: [each.reveal() for each in urls] for name, urls in given.node_replicas.items()}
    assert named == {
        "home": ["postgresql://r/home"],
        "b": ["postgresql://r/2"],
        "c": ["postgresql://r/1", "postgresql://r/3"],
    }
    for wrong, why in (
        ("postgresql://r/1", "shard_replicas: number 1 is not written"),
        ("d=postgresql://r/1", "'d' is not in database.shards"),
        ("home=postgresql://r/1", "are named in database.replicas"),
    ):
        with pytest.raises(ValueError, match=why):
            DatabaseSettings(shard_replicas=Url(wrong)).node_replicas  # noqa: B018 - is checked when it is read
