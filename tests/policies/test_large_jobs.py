"""A job reads any number of rows as of one instant, while others write, and without starving them of connections."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.postgres import empty_database
from trivet import PUBLIC, App, Event, Module, Read, Run, Struct, Table, Write
from trivet.data.groups import GROUP
from trivet.settings import DatabaseSettings, Settings, Url
from trivet.testing import Client, settings_for_tests

ROWS = GROUP + 20


class Counter(Struct):
    id: int
    value: int


class Counted(Event):
    id: int


class Counters:
    """A module that counts: a job adds up all counters, and changes them while it does."""

    def __init__(self) -> None:
        self.module = m = Module("counters")
        self.table = table = Table(m, Counter, key=lambda c: c.id, readable=PUBLIC, writable=PUBLIC)
        self.heard: list[int] = []
        self.hearing = asyncio.Event()

        @table.listing(order="id")
        def every(c: Counter) -> bool:
            return c.id >= 0

        self.every = every

        @m.command(public=True)
        async def fill(ctx: Write, rows: int) -> int:
            """Make counters, of one each."""
            return await table.load(ctx, (Counter(id=n, value=1) for n in range(rows)))

        @m.command(internal=True)
        async def raise_counter(ctx: Write, id: int) -> None:
            counter = await table.lock(ctx, id)
            await table.update(ctx, Counter(id=id, value=counter.value + 1))
            ctx.emit(Counted(id=id))

        @m.on(Counted)
        async def hear(ctx: Write, event: Counted) -> None:
            self.heard.append(event.id)
            self.hearing.set()

        @m.query(internal=True)
        async def sum_now(ctx: Read) -> int:
            return sum([counter.value async for counter in table.stream(ctx, every)])

        @m.job(public=True)
        async def sum_up(ctx: Run) -> list[int]:
            """Add up all counters as they were at the beginning, as they are in the end, and how many it changed."""
            total = changed = 0
            async for counter in table.stream(ctx, every):
                if counter.id in (0, ROWS - 2):
                    await ctx.call(raise_counter, ROWS - 1)
                    changed += 1
                    async with asyncio.timeout(30):
                        await self.hearing.wait()  # events are handled while the instant is held
                total += counter.value
            return [total, await ctx.call(sum_now), changed]

        @m.job(public=True)
        async def glance(ctx: Run) -> int:
            """Look at one counter, and leave the rest."""
            async for counter in table.stream(ctx, every):
                return counter.value
            return 0

        @m.job(public=True)
        async def pair_up(ctx: Run) -> int:
            """Stream inside of a stream."""
            pairs = 0
            async for one in table.stream(ctx, every):
                if one.id == 1:
                    async for other in table.stream(ctx, every):
                        pairs += other.value
            return pairs


@pytest.fixture(params=["sqlite", "postgresql"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Settings]:
    if request.param == "sqlite":
        yield settings_for_tests(database=DatabaseSettings(url=Url(f"sqlite:///{tmp_path}/data.db"), create=True))
    else:
        with empty_database(17) as url:
            yield settings_for_tests(database=DatabaseSettings(url=Url(url), create=True, pool_size=4))


async def results(client: Client, *jobs: str) -> list[Any]:
    """Run jobs side by side and return what they returned."""
    asked = [await client.post(f"/v1/{job}") for job in jobs]
    assert {each.status for each in asked} == {202}, [each.text for each in asked]
    await client.settle()
    ended = [(await client.get(each.headers["location"])).json() for each in asked]
    assert {each["state"] for each in ended} == {"succeeded"}, ended
    return [each["result"] for each in ended]


async def test_a_job_streams_the_rows_of_one_instant_while_it_changes_them(settings: Settings) -> None:
    counters = Counters()
    async with Client(App("counters", modules=[counters.module]), settings=settings) as client:
        assert (await client.post("/v1/fill", json={"rows": ROWS})).json() == {"value": ROWS}
        [[total, now, changed]] = await results(client, "sum-up")
        assert (total, now, changed) == (ROWS, ROWS + 2, 2)
        assert counters.heard == [ROWS - 1, ROWS - 1]


async def test_more_jobs_than_may_hold_a_connection_wait_for_each_other(settings: Settings) -> None:
    counters = Counters()
    async with Client(App("counters", modules=[counters.module]), settings=settings) as client:
        await client.post("/v1/fill", json={"rows": ROWS})
        found = await results(client, *["sum-up"] * 6, *["glance"] * 3, *["pair-up"] * 3)
        assert all(ROWS <= total <= ROWS + 12 for total, _, _ in found[:6])
        assert set(found[6:9]) == {1}
        assert all(ROWS <= pairs <= ROWS + 12 for pairs in found[9:])
        assert (await client.get("/readyz")).status == 200
