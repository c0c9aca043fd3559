"""Tenants in a whole app: whatever works for one of them, keeps to it, with one wall and with two."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, cast

import msgspec
import pytest
import sqlalchemy as sa

from tests.data.conftest import empty, settings_for
from trivet import (
    PUBLIC,
    App,
    Event,
    File,
    Fill,
    Meta,
    Module,
    NotFound,
    Page,
    PageRequest,
    PermissionDenied,
    Read,
    Run,
    Struct,
    Table,
    View,
    Write,
)
from trivet.core.principal import Principal
from trivet.data.selection import Rows
from trivet.policies.rebuild import rebuild
from trivet.settings import Url
from trivet.testing import Client, settings_for_tests

Name = Annotated[str, Meta(min_length=1, max_length=40)]
ORGS = ("red", "blue", "green")


class Ticket(Struct):
    id: Name
    org: str
    text: str


class Line(Struct):
    """What happened, as a handler wrote it down."""

    id: Name
    org: str


class Total(Struct):
    org: str
    tickets: int


class TicketMade(Event):
    """A ticket was made."""

    id: str
    fails: bool


class Desk:
    """An app whose tables, handlers, jobs and views are of many tenants."""

    def __init__(self) -> None:
        self.module = module = Module("desk")
        self.tickets = tickets = Table(
            module, Ticket, key=lambda t: t.id, tenant=lambda t: t.org, readable=PUBLIC, writable=PUBLIC
        )
        self.lines = lines = Table(
            module, Line, key=lambda line: line.id, tenant=lambda line: line.org, readable=PUBLIC, writable=PUBLIC
        )
        self.counted = counted = View(
            module, Total, key=lambda t: t.org, name="counted", tenant=lambda t: t.org, readable=PUBLIC
        )
        self.refreshed = refreshed = View(
            module,
            Total,
            key=lambda t: t.org,
            name="refreshed",
            tenant=lambda t: t.org,
            readable=PUBLIC,
            every=timedelta(hours=1),
        )
        self.files: list[File] = []
        self.failed: set[str] = set()

        @tickets.listing(order="id")
        def every(ticket: Ticket) -> bool:
            return ticket.id == ticket.id

        @lines.listing(order="id")
        def written(line: Line) -> bool:
            return line.id == line.id

        @counted.source
        async def all_totals(ctx: Read) -> AsyncIterator[Total]:
            found = [ticket async for ticket in tickets.stream(ctx, every)]
            yield Total(org=ctx.tenant or "", tickets=len(found))

        @refreshed.source
        def selected_totals(rows: Rows) -> sa.Select[Any]:
            of = rows[tickets].c
            return sa.select(of.org, sa.func.count().label("tickets")).group_by(of.org)

        @counted.on(TicketMade)
        async def count_ticket(ctx: Fill, made: TicketMade) -> None:
            org = ctx.tenant or ""
            await counted.change(ctx, org, lambda t: Total(org=org, tickets=1 + (t.tickets if t else 0)))

        @module.on(TicketMade)
        async def write_down(ctx: Write, made: TicketMade) -> None:
            """Write a line, after what is undone."""
            await lines.insert(ctx, Line(id=made.id, org=ctx.tenant or ""))
            assert (await tickets.get(ctx, made.id)).org == ctx.tenant
            if made.fails and made.id not in self.failed:
                self.failed.add(made.id)
                raise NotFound

        @module.command(internal=True)
        async def fail(ctx: Write) -> None:
            """Fail after a change."""
            await lines.insert(ctx, Line(id="never", org=ctx.tenant or ""))
            raise NotFound

        @module.command(public=True)
        async def make_ticket(ctx: Write, id: Name, text: str, fails: bool = False) -> Ticket:
            """Make a ticket."""
            ticket = Ticket(id=id, org=ctx.tenant or "", text=text)
            with pytest.raises(NotFound):
                await ctx.call(fail)
            await tickets.insert(ctx, ticket)
            ctx.emit(TicketMade(id=id, fails=fails))
            await ctx.send(export_tickets)
            return ticket

        @module.job(public=True)
        async def export_tickets(ctx: Run) -> File:
            """Write all tickets into a file."""
            seen = tickets.stream(ctx, every)
            file = await ctx.export(seen, name="tickets.csv")
            self.files.append(file)
            return file

        @module.query(public=True)
        async def list_tickets(ctx: Read, page: PageRequest) -> Page[Ticket]:
            """Return what there is."""
            assert (await tickets.get_many(ctx, ["red-0"])) == [None] or ctx.tenant == "red"
            return await tickets.page(ctx, every, page)

        @module.query(public=True)
        async def list_lines(ctx: Read, page: PageRequest) -> Page[Line]:
            """Return what was written down."""
            return await lines.page(ctx, written, page)

        @module.query(public=True)
        async def get_totals(ctx: Read) -> list[int]:
            """Return how many tickets both views know."""
            found = [await view.find(ctx, ctx.tenant or "") for view in (counted, refreshed)]
            return [0 if total is None else total.tickets for total in found]

        @module.query(public=True)
        async def held_names(ctx: Read) -> list[str]:
            """Return what a statement without any condition sees on the driver's connection."""
            driver = await cast("Any", ctx)._work.session.driver_connection()
            return sorted(row["id"] for row in await driver.fetch("SELECT id FROM desk.tickets"))

        self.make_ticket, self.list_tickets, self.list_lines = make_ticket, list_tickets, list_lines
        self.get_totals, self.held_names = get_totals, held_names


def ids(page: Page[Any]) -> list[str]:
    return [row.id for row in page.items]


@pytest.fixture(params=["sqlite", "row security"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with empty(request.param, tmp_path) as url:
        yield url


@asynccontextmanager
async def serving(desk: Desk, url: str) -> AsyncIterator[Client]:
    database = msgspec.structs.replace(settings_for(url), url=Url(url), create=True, pool_size=4)
    given = settings_for_tests(database=database)
    async with Client(App("desk", modules=[desk.module]), settings=given) as client:
        yield client


async def test_each_tenant_has_what_was_done_for_it_and_nothing_else(url: str) -> None:
    desk = Desk()
    async with serving(desk, url) as client:
        who = {org: client.as_(Principal(subject="ann", tenant=org)) for org in ORGS}
        made = [(org, f"{org}-{number}") for number in range(3) for org in ORGS]
        for number, (org, id) in enumerate(made):
            await who[org].call(desk.make_ticket, id, "x", fails=number == 4)
        await client.settle()
        for view in (desk.counted, desk.refreshed):
            assert (await rebuild(client.service.runtime, view)).rows == len(ORGS)
        for org in ORGS:
            own = [id for of, id in made if of == org]
            assert ids(await who[org].call(desk.list_tickets, PageRequest())) == own
            assert ids(await who[org].call(desk.list_lines, PageRequest())) == own, (
                "handlers wrote for their event's tenant"
            )
            assert await who[org].call(desk.get_totals) == [len(own)] * 2
        assert len(desk.failed) == 1, "a handler that shares its transaction was undone by itself"
        assert sorted(file.rows for file in desk.files)[-3:] == [3, 3, 3], "a job has the rows of its tenant"
        nobody = client.as_(Principal(subject="ann"))
        for stranger in (nobody, client.as_(Principal(subject="ann", tenant=""))):
            with pytest.raises(PermissionDenied, match="tenant"):
                await stranger.call(desk.list_tickets, PageRequest())


async def test_many_tenants_at_a_time_each_see_their_own(url: str) -> None:
    desk = Desk()
    async with serving(desk, url) as client:
        who = {org: client.as_(Principal(subject="ann", tenant=org)) for org in ORGS}

        async def work(org: str) -> None:
            for number in range(4):
                await who[org].call(desk.make_ticket, f"{org}-{number}", "x")
                seen = ids(await who[org].call(desk.list_tickets, PageRequest()))
                assert seen == [f"{org}-{n}" for n in range(number + 1)]

        await asyncio.gather(*map(work, ORGS))
        await client.settle()


async def test_a_statement_that_a_team_writes_itself_is_held_where_the_server_is_told(tmp_path: Path) -> None:
    for engine, seen in (("postgresql", ["blue-0", "red-0"]), ("row security", ["red-0"])):
        with empty(engine, tmp_path) as url:
            desk = Desk()
            async with serving(desk, url) as client:
                for org in ("red", "blue"):
                    await client.as_(Principal(subject="ann", tenant=org)).call(desk.make_ticket, f"{org}-0", "x")
                red = client.as_(Principal(subject="ann", tenant="red"))
                assert await red.call(desk.held_names) == seen
                await client.settle()
