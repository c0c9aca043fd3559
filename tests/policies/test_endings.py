"""How a unit of work ends when time runs out, the client leaves, or the handler leaves something running."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Annotated, Any
from uuid import UUID

import msgspec
import pytest

from trivet import PUBLIC, App, Event, Internal, Meta, Module, PageRequest, Read, Run, Struct, Table, Write
from trivet.core.page import Page
from trivet.data.database import Contention
from trivet.telemetry.log import Sink
from trivet.testing import Client, settings_for_tests
from trivet.testing.asgi import scope_of
from trivet.testing.settle import settle

Name = Annotated[str, Meta(max_length=50)]


class Note(Struct):
    id: UUID
    name: Name


class Noted(Event):
    name: str


class Notebook:
    """A module with what a test may do to it."""

    def __init__(self) -> None:
        self.module = m = Module("notebook")
        self.notes = notes = Table(m, Note, key=lambda n: n.id, readable=PUBLIC, writable=PUBLIC)
        self.heard: list[str] = []
        self.begun = asyncio.Event()
        self.left: list[asyncio.Task[None]] = []
        self.seen: list[list[str]] = []

        @notes.listing(order="name")
        def everything(n: Note) -> bool:
            return n.name != ""

        @m.query(public=True)
        async def list_notes(ctx: Read, page: PageRequest) -> Page[Note]:
            """List notes."""
            return await notes.page(ctx, everything, page)

        @m.command(public=True, timeout=0.3)
        async def create_note(ctx: Write, name: Name) -> Note:
            """Write a note."""
            note = Note(id=ctx.new_id(), name=name)
            await notes.insert(ctx, note)
            ctx.emit(Noted(name=name))
            return note

        @m.command(public=True)
        async def ponder(ctx: Write) -> None:
            """Write a note and never come to an end."""
            await ctx.call(create_note, "pondering")
            self.begun.set()
            await asyncio.Event().wait()

        @m.command(public=True, timeout=0.05)
        async def dawdle(ctx: Write) -> None:
            """Write a note and hold everything up."""
            await ctx.call(create_note, "late")
            time.sleep(0.1)

        @m.command(public=True)
        async def abandon(ctx: Write) -> None:
            """Leave a task behind that writes later."""

            async def later() -> None:
                await asyncio.sleep(0.01)
                await notes.insert(ctx, Note(id=ctx.new_id(), name="abandoned"))

            self.left.append(asyncio.create_task(later()))

        @m.command(public=True)
        async def use_up(ctx: Write, names: list[Name]) -> int:
            """Change the arguments, and be in the way of others twice."""
            self.seen.append(list(names))
            names.clear()
            if len(self.seen) < 3:
                raise Contention
            return len(self.seen)

        @m.on(Noted)
        async def hear(ctx: Write, event: Noted) -> None:
            self.heard.append(event.name)

        @m.job(public=True)
        async def export_notes(ctx: Run, how: Name) -> int:
            """Fail."""
            if how == "told":
                raise Internal(detail="ledger.internal refused us")
            raise ValueError("the actual cause")

        @m.stream(public=True)
        async def watch_notes(ctx: Read) -> AsyncIterator[Noted]:
            """Follow notes."""
            async for event in ctx.follow(Noted):
                yield event

        @m.command(public=True)
        async def misuse(ctx: Write, how: Name) -> None:
            """Do what type checkers refuse."""
            wrong: Any = {"stream": watch_notes, "job": export_notes, "query": list_notes}[how]
            await (ctx.send(wrong, page=PageRequest()) if how == "query" else ctx.call(wrong))

        self.app = App("notebook", modules=[m])


async def names_in(client: Client) -> list[str]:
    return [note["name"] for note in (await client.get("/v1/notes")).json()["items"]]


async def test_a_commit_that_has_begun_is_not_reported_as_late() -> None:
    book = Notebook()
    async with Client(book.app) as client:
        client.service.runtime.database.committer.submit(time.sleep, 0.6)  # type: ignore[union-attr]  # it is SQLite's
        answer = await client.post("/v1/notes", json={"name": "milk"})
        await client.settle()
        assert (answer.status, await names_in(client), book.heard) == (201, ["milk"], ["milk"])


async def test_what_is_late_before_its_commit_is_rolled_back() -> None:
    book = Notebook()
    async with Client(book.app) as client:
        answer = await client.post("/v1/dawdle")
        assert (answer.status, await names_in(client)) == (504, [])


async def test_a_client_that_leaves_in_the_middle_of_a_command_leaves_nothing_behind() -> None:
    book = Notebook()
    lines: list[bytes] = []
    app = App("notebook", modules=[book.module], settings=settings_for_tests())
    await app.start(sink=Sink(lines.append))
    try:
        incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        incoming.put_nowait({"type": "http.request", "body": b"", "more_body": False})
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        request = asyncio.create_task(app(scope_of("POST", "/v1/ponder", None, {}, b"", False), incoming.get, send))
        await book.begun.wait()
        incoming.put_nowait({"type": "http.disconnect"})
        await asyncio.wait_for(request, 5)
        client = Client(app.__call__)
        assert (await client.post("/v1/notes", json={"name": "next"})).status == 201
        await settle(app.service, 5)
        assert await names_in(client) == ["next"]
        assert book.heard == ["next"]
        assert app.service.runtime.metrics.gauge("trivet_requests_in_flight", "").bind().value == 0
    finally:
        await app.stop()
    line = next(line for line in map(msgspec.json.decode, lines) if line.get("operation") == "notebook.ponder")
    assert (line["status"], line["code"], sent) == (499, "CANCELLED", [])


async def test_a_task_that_outlives_its_handler_can_not_write() -> None:
    book = Notebook()
    async with Client(book.app) as client:
        assert (await client.post("/v1/abandon")).status == 204
        with pytest.raises(RuntimeError, match="has ended"):
            await book.left[0]
        assert (await client.post("/v1/notes", json={"name": "next"})).status == 201
        assert await names_in(client) == ["next"]


async def test_an_attempt_sees_the_arguments_as_they_were_sent() -> None:
    book = Notebook()
    async with Client(book.app) as client:
        answer = await client.post("/v1/use-up", json={"names": ["a", "b"]})
    assert (answer.status, book.seen) == (200, [["a", "b"]] * 3)


@pytest.mark.parametrize("how", ["stream", "job", "query"])
async def test_what_type_checkers_refuse_is_refused_at_run_time_too(how: str) -> None:
    async with Client(Notebook().app) as client:
        assert (await client.post("/v1/misuse", json={"how": how})).status == 500


async def test_a_job_that_fails_unexpectedly_says_why_in_the_log_and_nowhere_else() -> None:
    book = Notebook()
    lines: list[bytes] = []
    app = App("notebook", modules=[book.module], settings=settings_for_tests())
    await app.start(sink=Sink(lines.append))
    try:
        client = Client(app.__call__)
        started = [await client.post("/v1/notes:export", json={"how": how}) for how in ("told", "untold")]
        await settle(app.service, 5)
        statuses = [await client.get(job.headers["location"]) for job in started]
    finally:
        await app.stop()
    assert [status.json()["error"]["code"] for status in statuses] == ["internal", "internal"]
    assert not any("ledger" in status.text or "actual cause" in status.text for status in statuses)
    [line] = [line for line in lines if b"the actual cause" in line]
    assert b'"operation":"notebook.export_notes"' in line
