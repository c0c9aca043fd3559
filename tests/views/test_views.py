"""Read models on each engine: filled by events, once each; made anew while events go on; as old as they say."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.views.counting import ENGINES, Counting, Said, WordCount, empty, speaking
from tests.views.long_ago import a_year_ago
from tests.waiting import until
from trivet import PUBLIC, App, Event, FaultyApp, Fill, Module, PageRequest, Read, Struct, Table, View, Write
from trivet.core.principal import Principal
from trivet.data.database import Contention
from trivet.policies.rebuild import CannotRebuild, rebuild
from trivet.settings import DatabaseSettings, Url
from trivet.telemetry.metrics import merge, render
from trivet.testing import Client
from trivet.testing.app import settings_for_tests

PATIENCE_SECONDS = 30


def metrics_of(client: Client) -> str:
    return render(merge([("0", client.service.runtime.metrics.snapshot())]))


@pytest.fixture(params=ENGINES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with empty(request.param, tmp_path) as url:
        yield url


@pytest.fixture
async def counting() -> Counting:
    return Counting()


@pytest.fixture
async def client(counting: Counting, url: str) -> AsyncIterator[Client]:
    async with speaking(counting, url) as client:
        yield client


async def test_events_change_the_rows_and_operations_read_them_as_a_table(client: Client, counting: Counting) -> None:
    await client.call(counting.say, "1", "to be or not to be")
    await client.call(counting.say, "2", "be quick")
    await client.settle()
    assert await counting.found(client) == {"be": 3, "to": 2, "or": 1, "not": 1, "quick": 1}
    assert (await client.get("/v1/word-counts/be")).json() == {"word": "be", "times": 3}
    assert (await client.get("/v1/word-counts/never")).status == 404
    first = (await client.get("/v1/word-counts?page_size=2")).json()
    assert [each["word"] for each in first["items"]] == ["be", "to"]
    second = (await client.get(f"/v1/word-counts?page_size=2&page_token={first['next_page_token']}")).json()
    assert [each["word"] for each in second["items"]] == ["not", "or"]


async def test_handlers_side_by_side_lose_no_change_of_one_row(client: Client, counting: Counting) -> None:
    async with client.context(counting.module, as_module=True) as ctx:
        for number in range(60):
            ctx.emit(Said(saying=f"s{number}", text="same other"))
    await client.settle(PATIENCE_SECONDS)
    assert await counting.found(client) == {"same": 60, "other": 60}


async def test_only_its_own_handlers_change_a_view(client: Client, counting: Counting) -> None:
    row = WordCount(word="x", times=1)
    async with client.context(counting.module, commit=False, as_module=True) as ctx:
        with pytest.raises(TypeError, match="own handlers only"):
            await counting.counts.put(ctx, row)  # type: ignore[arg-type]  # that is what is tested
        other = View(Module("other"), WordCount, key=lambda c: c.word, readable=PUBLIC)
        fill = Fill(ctx._work, other)
        with pytest.raises(TypeError, match="own handlers only"):
            await counting.counts.remove(fill, "x")
        assert not hasattr(counting.counts, "insert")


async def test_what_a_handler_makes_of_a_row_is_kept_removed_or_refused(client: Client, counting: Counting) -> None:
    view = counting.counts
    async with client.context(counting.module, as_module=True) as ctx:
        fill = Fill(ctx._work, view)
        await view.put(fill, WordCount(word="a", times=1))
        await view.put(fill, WordCount(word="a", times=2))
        await view.change(fill, "b", lambda row: WordCount(word="b", times=7) if row is None else row)
        await view.put(fill, WordCount(word="c", times=9))
        await view.remove(fill, "c")
        await view.remove(fill, "c")
        await view.change(fill, "never", lambda row: row)
        with pytest.raises(ValueError, match="became one of"):
            await view.change(fill, "a", lambda row: WordCount(word="z", times=0))
    assert await counting.found(client) == {"a": 2, "b": 7}
    async with client.context(counting.module, as_module=True) as ctx:
        await view.change(Fill(ctx._work, view), "a", lambda row: None)
    assert await counting.found(client) == {"b": 7}


async def test_a_rebuild_makes_the_rows_of_what_no_event_told(client: Client, counting: Counting) -> None:
    await client.call(counting.say, "1", "heard")
    await client.settle()
    for number in range(120):
        await client.call(counting.whisper, f"w{number:03}", "unheard heard")
    done = await rebuild(client.service.runtime, counting.counts)
    assert (done.rows, done.events) == (2, 0)
    assert await counting.found(client) == {"heard": 121, "unheard": 120}


async def test_what_waited_for_its_handlers_is_part_of_a_rebuild_and_not_counted_again(
    client: Client, counting: Counting
) -> None:
    counting.broken = True
    for number in range(5):
        await client.call(counting.say, str(number), "stuck")
    done = await rebuild(client.service.runtime, counting.counts)
    assert (done.rows, done.events) == (1, 5)
    counting.broken = False
    await client.call(counting.say, "after", "stuck")
    await client.settle()
    assert await counting.found(client) == {"stuck": 6}


async def test_events_go_on_while_a_view_is_rebuilt_and_none_is_missed_or_counted_twice(
    client: Client, counting: Counting
) -> None:
    for number in range(30):
        await client.call(counting.say, f"a{number:03}", "word")
    counting.go_on.clear()
    rebuilding = asyncio.create_task(rebuild(client.service.runtime, counting.counts))
    async with asyncio.timeout(PATIENCE_SECONDS):
        await counting.arrived.wait()
    saying = [asyncio.create_task(client.call(counting.say, f"b{n:03}", "word")) for n in range(30)]
    await asyncio.wait(saying, timeout=0.2)  # on SQLite they wait for the rebuild, on PostgreSQL they do not
    old = (await client.get("/v1/word-counts")).json()["items"]
    assert not old or old[0]["times"] <= 30, "a reader sees what was there before"
    counting.go_on.set()
    await rebuilding
    await asyncio.gather(*saying)
    await client.settle(PATIENCE_SECONDS)
    assert await counting.found(client) == {"word": 60}


async def test_a_rebuild_that_fails_leaves_what_was_there(client: Client, counting: Counting) -> None:
    await client.call(counting.say, "1", "kept")
    await client.settle()
    counting.go_on.clear()
    rebuilding = asyncio.create_task(rebuild(client.service.runtime, counting.counts))
    async with asyncio.timeout(PATIENCE_SECONDS):
        await counting.arrived.wait()
    rebuilding.cancel()
    await asyncio.gather(rebuilding, return_exceptions=True)
    assert await counting.found(client) == {"kept": 1}
    await client.call(counting.say, "2", "kept")
    await client.settle()
    assert await counting.found(client) == {"kept": 2}


async def test_a_rebuild_needs_a_source_that_gives_each_key_once(url: str) -> None:
    without = Counting(source=False)
    async with speaking(without, url) as client:
        with pytest.raises(CannotRebuild, match=r"speech\.word_counts has no source"):
            await rebuild(client.service.runtime, without.counts)

        @without.counts.source
        async def twice(ctx: Read) -> AsyncIterator[WordCount]:
            yield WordCount(word="same", times=1)
            yield WordCount(word="same", times=2)

        with pytest.raises(CannotRebuild, match="gives a key twice"):
            await rebuild(client.service.runtime, without.counts)


async def test_an_answer_says_how_old_its_data_may_be_on_every_protocol(client: Client, counting: Counting) -> None:
    freshness, stores = client.service.runtime.freshness, client.service.runtime.stores
    await freshness.look(stores)
    fresh = await client.get("/v1/word-counts")
    assert 0 <= int(fresh.headers["data-age"]) < PATIENCE_SECONDS
    assert "data-age" not in (await client.get("/v1/sayings")).headers, "a table is as it is"
    counting.broken = True
    with a_year_ago(client):
        async with client.context(counting.module, as_module=True) as ctx:
            ctx.emit(Said(saying="old", text="old"))
    found = await freshness.look(stores)
    assert found["speech.word_counts"] > 30_000_000
    stale = await client.get("/v1/word-counts")
    assert int(stale.headers["data-age"]) >= 30_000_000
    async with asyncio.timeout(PATIENCE_SECONDS):
        answered = {}
        while "data" not in answered:  # the first document may come too late on a busy machine
            answered = (await client.post("/graphql", json={"query": "{ wordCounts { nodes { word } } }"})).json()
    assert answered["extensions"]["dataAge"] >= 30_000_000
    rpc = await client.post("/speech.speech.v1.SpeechService/ListWordCounts", json={})
    assert rpc.status == 200
    assert int(rpc.headers["data-age"]) >= 30_000_000
    [said] = re.findall(r'trivet_view_age_seconds\{.*view="speech.word_counts".*\} (\S+)', metrics_of(client))
    assert float(said) >= 30_000_000


async def test_the_contract_describes_how_old_an_answer_may_be(client: Client) -> None:
    document = (await client.get("/openapi.json")).json()
    headers = document["paths"]["/v1/word-counts"]["get"]["responses"]["200"]["headers"]
    assert headers["Data-Age"] == {"$ref": "#/components/headers/Data-Age"}
    assert "read model" in document["components"]["headers"]["Data-Age"]["description"]


class Visit(Struct):
    id: str
    org: str
    owner: str


class Visits(Struct):
    org: str
    owner: str
    times: int


class Visited(Event):
    id: str
    owner: str


class Tenants:
    """A view that is kept per tenant, of which a caller reads its own row."""

    def __init__(self) -> None:
        self.module = module = Module("visits")
        self.table = table = Table(
            module, Visit, key=lambda v: v.id, tenant=lambda v: v.org, readable=PUBLIC, writable=PUBLIC
        )
        self.view = view = View(
            module,
            Visits,
            key=lambda v: (v.org, v.owner),
            name="visit_counts",
            tenant=lambda v: v.org,
            readable=lambda who, v: v.owner == who.subject,
        )

        @table.listing(order="id")
        def every(v: Visit) -> bool:
            return v.id == v.id

        @view.listing(order="owner")
        def counts(v: Visits) -> bool:
            return v.times == v.times

        @view.on(Visited)
        async def count_visit(ctx: Fill, visited: Visited) -> None:
            org = ctx.tenant or ""
            key = (org, visited.owner)
            await view.change(
                ctx, key, lambda row: Visits(org=org, owner=visited.owner, times=1 + (row.times if row else 0))
            )

        @view.source
        async def all_visits(ctx: Read) -> AsyncIterator[Visits]:
            found: dict[str, int] = {}
            async for visit in table.stream(ctx, every):
                found[visit.owner] = found.get(visit.owner, 0) + 1
            for owner, times in found.items():
                yield Visits(org=ctx.tenant or "", owner=owner, times=times)

        @module.command(public=True)
        async def visit(ctx: Write, id: str) -> None:
            """Visit once."""
            owner = ctx.principal.subject
            await table.insert(ctx, Visit(id=id, org=ctx.tenant or "", owner=owner))
            ctx.emit(Visited(id=id, owner=owner))

        @module.query(public=True)
        async def count_visits(ctx: Read) -> list[int]:
            """Return what the caller may read."""
            return [row.times for row in (await view.page(ctx, counts, PageRequest())).items]

        self.visit, self.count_visits = visit, count_visits


async def test_rules_and_tenants_hold_for_a_view_and_a_rebuild_goes_through_all_tenants(url: str) -> None:
    visits = Tenants()
    database = DatabaseSettings(url=Url(url), create=True)
    app = App("visits", modules=[visits.module], settings=settings_for_tests(database=database))
    async with Client(app, settings=app.settings) as client:
        ada, bob, eve = (
            client.as_(Principal(subject=who, tenant=org)) for who, org in (("ada", "a"), ("bob", "a"), ("ada", "b"))
        )
        for number, (who, times) in enumerate(((ada, 2), (bob, 1), (eve, 4))):
            for time in range(times):
                await who.call(visits.visit, f"{number}-{time}")
        await client.settle()
        assert [await who.call(visits.count_visits) for who in (ada, bob, eve)] == [[2], [1], [4]]
        done = await rebuild(client.service.runtime, visits.view)
        assert done.rows == 3
        assert [await who.call(visits.count_visits) for who in (ada, bob, eve)] == [[2], [1], [4]]


def test_what_is_wrong_with_a_view_is_said_at_start() -> None:
    module = Module("wrong")
    view = View(module, WordCount, key=lambda c: c.word, readable=PUBLIC)

    @view.on(Said)  # type: ignore[arg-type]  # that is what is tested
    def not_async(ctx: Fill, said: Said) -> None: ...

    @view.source  # type: ignore[arg-type]  # that is what is tested
    async def returns(ctx: Read) -> list[WordCount]:
        return []

    @view.source
    async def first(ctx: Read) -> AsyncIterator[WordCount]:
        yield WordCount(word="", times=0)

    @view.source
    async def second(ctx: Read) -> AsyncIterator[WordCount]:
        yield WordCount(word="", times=0)

    silent = View(Module("silent"), WordCount, key=lambda c: c.word)
    with pytest.raises(FaultyApp) as wrong:
        App("wrong", modules=[module, silent.module], settings=settings_for_tests()).build()
    rules = [fault.rule for fault in wrong.value.faults]
    assert sorted(rules) == [
        "handler-async",
        "table-readable",
        "view-source",
        "view-source",
    ]


async def test_a_handler_that_waits_long_for_a_rebuild_is_tried_again_and_counts_no_attempt(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("trivet.data.fill.WAIT_SECONDS", 0.02)
    counting = Counting()
    with empty("postgresql", tmp_path) as url:
        async with speaking(counting, url) as client:
            counting.go_on.clear()
            rebuilding = asyncio.create_task(rebuild(client.service.runtime, counting.counts))
            async with asyncio.timeout(PATIENCE_SECONDS):
                await counting.arrived.wait()
            await client.call(counting.say, "1", "late")
            await until(lambda: 'outcome="retried"} 2' in metrics_of(client))
            with pytest.raises(Contention):
                async with client.context(counting.module, as_module=True) as ctx:
                    await client.service.runtime.plans[counting.counts].admit(ctx)
            counting.go_on.set()
            await rebuilding
            await client.settle(PATIENCE_SECONDS)
            assert await counting.found(client) == {"late": 1}
