"""Views that are made anew every so often, on each engine: by one process, all or nothing, as old as they say."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests.messaging.contract.world import Shifted
from tests.views.counting import ENGINES, Said, Saying, Text, WordCount, empty
from trivet import PUBLIC, App, FaultyApp, Fill, Module, PageRequest, Read, Struct, Table, View, Write
from trivet.app import Service
from trivet.data.selection import Rows
from trivet.policies.refresh import Refresher
from trivet.settings import DatabaseSettings, Url
from trivet.telemetry.metrics import merge, render
from trivet.testing import Client, principal
from trivet.testing.app import settings_for_tests

PATIENCE_SECONDS = 30
PERIOD = timedelta(hours=1)


class Length(Struct):
    """How many sayings there are of a length."""

    length: int
    sayings: int


class Lengths:
    """A module with a view that is made from a select, and one that is made by a generator that can be stopped."""

    def __init__(self) -> None:
        self.module = module = Module("lengths")
        self.made = 0
        self.broken = False
        self.arrived = asyncio.Event()
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.sayings = sayings = Table(module, Saying, key=lambda s: s.id, readable=PUBLIC, writable=PUBLIC)
        self.lengths = lengths = View(
            module, Length, key=lambda each: each.length, readable=PUBLIC, every=PERIOD, name="lengths"
        )
        self.words = words = View(module, WordCount, key=lambda c: c.word, readable=PUBLIC, every=PERIOD)

        @sayings.listing(order="id")
        def every(s: Saying) -> bool:
            return s.id == s.id

        @lengths.listing(order="length")
        def by_length(each: Length) -> bool:
            return each.sayings > 0

        @words.listing(order="word")
        def by_word(c: WordCount) -> bool:
            return c.times > 0

        @lengths.source
        def all_lengths(rows: Rows) -> sa.Select[Any]:
            s = rows[sayings]
            length = sa.func.length(s.c.text)
            return sa.select(sa.func.count().label("sayings"), length.label("length")).group_by(length)

        @words.source
        async def all_words(ctx: Read) -> AsyncIterator[WordCount]:
            self.made += 1
            self.arrived.set()
            await self.go_on.wait()
            if self.broken:
                raise ValueError("out of order")
            async for saying in sayings.stream(ctx, every):
                yield WordCount(word=saying.id, times=len(saying.text))

        @module.command(public=True)
        async def say(ctx: Write, id: Text, text: Text) -> None:
            """Say something."""
            await sayings.insert(ctx, Saying(id=id, text=text))

        @module.query(public=True)
        async def show_lengths(ctx: Read) -> list[str]:
            """List the lengths."""
            return [f"{e.length}: {e.sayings}" for e in (await lengths.page(ctx, by_length, PageRequest())).items]

        @module.query(public=True)
        async def show_words(ctx: Read) -> list[str]:
            """List the words."""
            return [f"{e.word}: {e.times}" for e in (await words.page(ctx, by_word, PageRequest())).items]

        self.say, self.show_lengths, self.show_words = say, show_lengths, show_words

    def service(self, url: str, clock: Shifted) -> Service:
        """Return one process of the app."""
        database = DatabaseSettings(url=Url(url), create=True)
        return App("lengths", modules=[self.module], settings=settings_for_tests(database=database)).build(clock=clock)


@pytest.fixture(params=ENGINES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with empty(request.param, tmp_path) as url:
        yield url


class Process:
    """One process of the app, whose refresher looks when it is told to."""

    def __init__(self, lengths: Lengths, url: str) -> None:
        self.clock = Shifted()
        self.service = lengths.service(url, self.clock)
        self.refresher = Refresher(self.service.runtime)

    async def call(self, operation: Any, *arguments: Any) -> Any:
        from trivet.server.direct import run_operation

        given = operation.signature.arguments(arguments, {})
        return await run_operation(self.service, operation, given, principal("somebody"))


@pytest.fixture
async def lengths() -> Lengths:
    return Lengths()


@pytest.fixture
async def processes(lengths: Lengths, url: str) -> AsyncIterator[tuple[Process, Process]]:
    both = Process(lengths, url), Process(lengths, url)
    for process in both:
        await process.service.runtime.open(process.service.deliveries)
    yield both
    for process in both:
        await process.service.close()


Both = tuple[Process, Process]


async def test_rows_are_made_when_they_are_due_and_not_before(processes: Both, lengths: Lengths) -> None:
    process, _ = processes
    for id, text in (("a", "xx"), ("b", "yy"), ("c", "z")):
        await process.call(lengths.say, id, text)
    assert await process.refresher.look() > 0
    assert await process.call(lengths.show_lengths) == ["1: 1", "2: 2"]
    assert await process.call(lengths.show_words) == ["a: 2", "b: 2", "c: 1"]
    await process.call(lengths.say, "d", "z")
    process.clock.ahead = PERIOD / 2
    await process.refresher.look()
    assert await process.call(lengths.show_lengths) == ["1: 1", "2: 2"]
    process.clock.ahead = PERIOD
    await process.refresher.look()
    assert await process.call(lengths.show_lengths) == ["1: 2", "2: 2"]
    assert (await process.call(lengths.show_words))[-1] == "d: 1"


async def test_of_several_processes_one_makes_them(processes: Both, lengths: Lengths) -> None:
    for round in range(1, 4):
        for process in processes:
            process.clock.ahead = PERIOD * round
        await asyncio.gather(*(process.refresher.look() for process in processes))
        assert lengths.made == round
    for process in processes:
        await process.refresher.look()
    assert lengths.made == 3


async def test_a_refresh_that_is_cut_off_leaves_the_rows_to_another_process(processes: Both, lengths: Lengths) -> None:
    first, second = processes
    await first.call(lengths.say, "a", "x")
    await first.refresher.look()
    await first.call(lengths.say, "b", "y")
    for process in processes:
        process.clock.ahead = PERIOD
    lengths.go_on.clear()
    lengths.arrived.clear()
    cut_off = asyncio.create_task(first.refresher.look())
    async with asyncio.timeout(PATIENCE_SECONDS):
        await lengths.arrived.wait()
    assert await second.call(lengths.show_words) == ["a: 1"], "readers see what was there"
    cut_off.cancel()
    await asyncio.gather(cut_off, return_exceptions=True)
    assert await second.call(lengths.show_words) == ["a: 1"]
    lengths.go_on.set()
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await second.call(lengths.show_words) != ["a: 1", "b: 1"]:  # the server may still undo what was cut off
            await second.refresher.look()
            await asyncio.sleep(0.05)


async def test_what_fails_is_said_and_tried_again_after_a_pause(processes: Both, lengths: Lengths) -> None:
    process, _ = processes
    lengths.broken = True
    await process.refresher.look()
    await process.refresher.look()
    metrics = render(merge([("0", process.service.runtime.metrics.snapshot())]))
    assert lengths.made in (1, 2)
    assert 'view="lengths.word_counts",outcome="failed"' in metrics
    assert 'view="lengths.lengths",outcome="done"' in metrics, "one that fails holds up no other"
    lengths.broken = False
    process.clock.ahead = timedelta(minutes=6)
    await process.refresher.look()
    made = lengths.made
    await process.refresher.look()
    assert lengths.made == made


async def test_an_answer_says_how_long_ago_its_rows_were_made(processes: Both, lengths: Lengths) -> None:
    process, _ = processes
    freshness, stores = process.service.runtime.freshness, process.service.runtime.stores
    await freshness.look(stores)
    assert freshness.age("lengths.lengths") is None, "it was never made"
    await process.refresher.look()
    process.clock.ahead = timedelta(minutes=10)
    found = await freshness.look(stores)
    assert 600 <= found["lengths.lengths"] < 600 + PATIENCE_SECONDS
    assert 600 <= (freshness.age("lengths.lengths") or 0) < 600 + PATIENCE_SECONDS


async def test_a_served_app_makes_its_views_by_itself(url: str) -> None:
    lengths = Lengths()
    database = DatabaseSettings(url=Url(url), create=True)
    app = App("lengths", modules=[lengths.module], settings=settings_for_tests(database=database))
    async with Client(app, settings=app.settings):
        async with asyncio.timeout(PATIENCE_SECONDS):
            await lengths.arrived.wait()
    assert lengths.made == 1


def test_what_can_not_be_made_every_so_often_is_said_at_start() -> None:
    module = Module("wrong")
    sayings = Table(module, Saying, key=lambda s: s.id, readable=PUBLIC, writable=PUBLIC)
    both = View(module, WordCount, key=lambda c: c.word, readable=PUBLIC, every=PERIOD, name="both")
    View(module, WordCount, key=lambda c: c.word, readable=PUBLIC, every=PERIOD, name="no_source")
    often = View(
        module, WordCount, key=lambda c: c.word, readable=PUBLIC, every=timedelta(milliseconds=1), name="too_often"
    )
    View(module, WordCount, key=lambda c: c.word, readable=PUBLIC, name="nothing")

    @both.on(Said)
    async def handled(ctx: Fill, said: Said) -> None: ...

    @often.source
    def other_columns(rows: Rows) -> sa.Select[Any]:
        return sa.select(rows[sayings].c.id)

    with pytest.raises(FaultyApp) as wrong:
        App("wrong", modules=[module], settings=settings_for_tests()).build()
    said = sorted((fault.rule, fault.problem) for fault in wrong.value.faults)
    assert [rule for rule, _ in said] == ["view-every", "view-fill", "view-fill", "view-source", "view-source"]
    assert "WordCount has word, times" in said[-1][1] or "WordCount has word, times" in said[-2][1]
