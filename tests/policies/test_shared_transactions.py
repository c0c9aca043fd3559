"""Handlers of events that share a transaction, in an app: each is as if alone."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, cast

import pytest

from tests.messaging.contract.world import ENGINES, empty_store
from trivet import PUBLIC, App, Event, Meta, Module, NotFound, Resource, Struct, Table, Write
from trivet.settings import DatabaseSettings, Url
from trivet.testing import Client, settings_for_tests

Name = Annotated[str, Meta(min_length=1, max_length=40)]
COUNT = 120


class Entry(Struct):
    """A line of a diary."""

    id: Name
    times: int


class Written(Event):
    """A line was written."""

    number: int


class Read_(Event):
    """A line was read by whoever heard that it was written."""

    number: int


@pytest.fixture(params=ENGINES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with empty_store(request.param, tmp_path) as url:
        yield url


class Diary:
    """An app whose handler keeps a line of each event and says so with another one."""

    def __init__(self, url: str) -> None:
        self.runs: Counter[int] = Counter()
        self.heard: Counter[int] = Counter()
        self.contexts: list[tuple[str | None, Any]] = []
        self.left_behind: list[asyncio.Task[Any]] = []
        self.refused: list[BaseException] = []
        self.settings = settings_for_tests(database=DatabaseSettings(url=Url(url), create=True))
        module = self.module = Module("diary")
        entries = self.entries = Table(module, Entry, key=lambda e: e.id, readable=PUBLIC, writable=PUBLIC)
        outside = self.outside = Resource("outside", self._open)

        @module.command(internal=True)
        async def fail_after_writing(ctx: Write, id: Name) -> None:
            """Write a line and fail."""
            await entries.insert(ctx, Entry(id=id, times=-1))
            raise NotFound

        @module.on(Written)
        async def keep(ctx: Write, event: Written) -> None:
            """Keep a line."""
            self.runs[event.number] += 1
            self.contexts.append((ctx.tenant, ctx.now))
            if event.number == 50 and self.runs[50] == 1:
                await entries.insert(ctx, Entry(id="e50", times=0))
                ctx.emit(Read_(number=50))
                await entries.insert(ctx, Entry(id="e50", times=0))  # fails in the store
            if event.number == 60:
                with pytest.raises(NotFound):
                    await ctx.call(fail_after_writing, "never")
            if event.number == 70:
                self.left_behind.append(asyncio.create_task(self._late(ctx)))
            if event.number == 80 and self.runs[80] < 3:
                cast("Any", ctx)._work.leave(outside)  # as a call to another process does
            await entries.insert(ctx, Entry(id=f"e{event.number}", times=self.runs[event.number]))
            ctx.emit(Read_(number=event.number))

        @module.on(Read_)
        async def hear(ctx: Write, event: Read_) -> None:
            """Listen."""
            self.heard[event.number] += 1

        self.app = App("diary", modules=[module], resources=[outside])

    @staticmethod
    @asynccontextmanager
    async def _open() -> AsyncIterator[object]:
        yield object()

    async def _late(self, ctx: Write) -> None:
        while not self.heard[70]:  # noqa: ASYNC110 - until what its handler emitted was handled
            await asyncio.sleep(0.01)
        try:
            await self.entries.insert(ctx, Entry(id="late", times=0))
        except BaseException as error:
            self.refused.append(error)


async def test_each_handler_is_as_if_alone_and_takes_effect_once(url: str) -> None:
    diary = Diary(url)
    async with Client(diary.app, settings=diary.settings) as client:
        for first in range(0, COUNT, 40):
            async with client.context(diary.module) as ctx:
                for number in range(first, first + 40):
                    ctx.emit(Written(number=number))
            await client.settle()
        await asyncio.gather(*diary.left_behind)
        async with client.context(diary.module, write=False) as reading:
            found = await diary.entries.get_many(reading, [f"e{n}" for n in range(COUNT)])
            strays = await diary.entries.get_many(reading, ["never", "late"])
    assert [entry.id for entry in found if entry is not None] == [f"e{n}" for n in range(COUNT)]
    assert list(strays) == [None, None]
    assert diary.heard == Counter(range(COUNT)), "what a handler emitted goes with what it changed"
    assert diary.runs[50] == 2
    assert len(diary.refused) == 1
    assert len({now for _, now in diary.contexts}) == len(diary.contexts), "each has an instant of its own"
