"""One transaction per command, with everything that was changed and emitted in it, or nothing."""

from __future__ import annotations

import asyncio
from typing import Annotated

import pytest

from trivet import PUBLIC, App, Conflict, Event, Meta, Module, Page, PageRequest, Read, Struct, Table, Write
from trivet.data.database import Contention
from trivet.testing import Client

Name = Annotated[str, Meta(min_length=1, max_length=40)]


class Entry(Struct):
    """A line of a diary."""

    id: Name


class Written(Event):
    """A line was written."""

    entry: Name


class NotToday(Conflict):
    """It does not want to."""


class Diary:
    """An app with one table, commands that call each other, and what its handler heard."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.attempts = 0
        module = self.module = Module("diary")
        entries = Table(module, Entry, key=lambda e: e.id, readable=PUBLIC, writable=PUBLIC)

        @entries.listing(order="id")
        def every(e: Entry) -> bool:
            return e.id == e.id

        @module.query(public=True)
        async def list_entries(ctx: Read, page: PageRequest) -> Page[Entry]:
            """List the lines."""
            return await entries.page(ctx, every, page)

        @module.command(internal=True)
        async def write(ctx: Write, id: Name, fails: bool = False) -> None:
            """Write a line, and perhaps fail after it."""
            await entries.insert(ctx, Entry(id=id))
            await asyncio.sleep(0)  # others get a chance to come in between
            ctx.emit(Written(entry=id))
            if fails:
                raise NotToday

        @module.command(public=True)
        async def write_both(ctx: Write, survive: bool) -> None:
            """Write two lines, of which the second fails."""
            await ctx.call(write, "first")
            try:
                await ctx.call(write, "second", fails=True)
            except NotToday:
                if not survive:
                    raise
            await ctx.call(write, "third")

        @module.command(public=True)
        async def write_deep(ctx: Write) -> None:
            """Survive a line that exists already."""
            await ctx.call(write, "same")
            with pytest.raises(Exception, match="exists already"):
                await ctx.call(write, "same")
            await ctx.call(write, "after")

        @module.command(public=True)
        async def write_at_once(ctx: Write) -> None:
            """Write two lines at the same time."""
            await asyncio.gather(ctx.call(write, "left"), ctx.call(write, "right"))

        @module.command(public=True)
        async def write_contended(ctx: Write, times: Annotated[int, Meta(ge=0, le=9)]) -> None:
            """Write a line while others are in the way, so many times."""
            self.attempts += 1
            await entries.insert(ctx, Entry(id="contended"))
            ctx.emit(Written(entry="contended"))
            if self.attempts <= times:
                raise Contention

        @module.on(Written)
        async def hear(ctx: Write, event: Written) -> None:
            """Listen."""
            self.heard.append(event.entry)

        self.app = App("diary", modules=[module])

    async def after(self, client: Client, path: str, body: object) -> tuple[int, list[str]]:
        """Run a command; return its status and the lines that exist once everything settled."""
        answer = await client.post(path, json=body)
        await client.settle()
        listed = await client.get("/v1/entries")
        return answer.status, [entry["id"] for entry in listed.json()["items"]]


async def test_what_a_nested_command_did_is_undone_when_its_error_is_survived() -> None:
    diary = Diary()
    async with Client(diary.app) as client:
        assert await diary.after(client, "/v1/write-both", {"survive": True}) == (204, ["first", "third"])
    assert sorted(diary.heard) == ["first", "third"]


async def test_an_error_that_is_not_survived_undoes_everything() -> None:
    diary = Diary()
    async with Client(diary.app) as client:
        assert await diary.after(client, "/v1/write-both", {"survive": False}) == (409, [])
    assert diary.heard == []


async def test_a_nested_statement_that_fails_does_not_doom_the_transaction() -> None:
    diary = Diary()
    async with Client(diary.app) as client:
        assert await diary.after(client, "/v1/write-deep", {}) == (204, ["after", "same"])
    assert sorted(diary.heard) == ["after", "same"]


async def test_commands_that_join_one_transaction_at_the_same_time_are_refused_and_nothing_is_kept() -> None:
    diary = Diary()
    async with Client(diary.app) as client:
        assert await diary.after(client, "/v1/write-at-once", {}) == (500, [])
    assert diary.heard == []


@pytest.mark.parametrize(("times", "status", "attempts"), [(0, 204, 1), (3, 204, 4), (4, 503, 4)])
async def test_contention_runs_the_whole_handler_again_three_times_at_most(
    times: int, status: int, attempts: int
) -> None:
    diary = Diary()
    async with Client(diary.app) as client:
        found = await diary.after(client, "/v1/write-contended", {"times": times})
    kept = ["contended"] if status == 204 else []
    assert (found, diary.attempts, diary.heard) == ((status, kept), attempts, kept)
