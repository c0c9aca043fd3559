"""Jobs that are cancelled: who may, on every protocol, and what is left of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.postgres import empty_database
from tests.waiting import until
from trivet import PUBLIC, App, File, Module, Page, PageRequest, Read, Run, Struct, Table, Write
from trivet.settings import BlobSettings, DatabaseSettings, Url
from trivet.testing import Client, principal, settings_for_tests

ANN = principal("ann", scopes=("things.write",), tenant="a")
BOB = principal("bob", scopes=("things.write",), tenant="a")
CLERK = principal("clerk", scopes=("jobs.cancel",), tenant="a")
STRANGER = principal("clerk", scopes=("jobs.cancel",), tenant="b")


class Thing(Struct):
    id: int


class Things:
    """A module with jobs that wait at a certain point until they are cut off."""

    def __init__(self) -> None:
        self.module = m = Module("things")
        self.table = table = Table(m, Thing, key=lambda t: t.id, readable=PUBLIC, writable=PUBLIC)
        self.entered, self.cut = asyncio.Event(), asyncio.Event()

        @table.listing(order="id")
        def every(t: Thing) -> bool:
            return t.id >= 0

        @m.query(public=True)
        async def list_things(ctx: Read, page: PageRequest) -> Page[Thing]:
            """List things."""
            return await table.page(ctx, every, page)

        @m.command(internal=True)
        async def add(ctx: Write, id: int, waits: bool) -> None:
            """Add a thing, and wait before the commit."""
            await table.insert(ctx, Thing(id=id))
            if waits:
                await self.wait()

        @m.job(scope="things.write")
        async def add_slowly(ctx: Run) -> None:
            """Add one thing and then another."""
            await ctx.call(add, 1, False)
            await ctx.call(add, 2, True)

        @m.job(scope="things.write")
        async def export_slowly(ctx: Run, whole: bool) -> File:
            """Write a file, and wait before or after its end."""

            async def rows() -> AsyncIterator[Thing]:
                for id in range(2000):
                    yield Thing(id=id)
                if not whole:
                    await self.wait()

            file = await ctx.export(rows(), name="things.ndjson")
            await self.wait()
            return file

        @m.job(scope="things.write")
        async def wait_long(ctx: Run) -> None:
            """Wait."""
            await self.wait()

        @m.job(scope="things.write")
        async def end(ctx: Run) -> None:
            """Do nothing."""

        self.app = App("shop", modules=[m])

    async def wait(self) -> None:
        self.entered.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.cut.set()


async def asked(client: Client, path: str, **arguments: Any) -> str:
    """Ask for a job and return where its status is."""
    options = {"json": arguments} if arguments else {}
    return (await client.post(f"/v1/{path}", as_=ANN, **options)).headers["location"]


async def state(client: Client, job: str) -> str:
    return str((await client.get(job, as_=ANN)).json()["state"])


async def test_what_a_command_of_a_cancelled_job_was_doing_is_undone_and_what_was_committed_stays() -> None:
    """On PostgreSQL: there is one writer on SQLite, and the cancellation waits for it."""
    things = Things()
    with empty_database(17) as url:
        settings = settings_for_tests(database=DatabaseSettings(url=Url(url), create=True))
        async with Client(things.app, settings=settings) as client:
            job = await asked(client, "add-slowly")
            await things.entered.wait()
            answer = await client.post(f"{job}:cancel", as_=ANN)
            assert (answer.status, answer.json()["state"]) == (200, "cancelled")
            async with asyncio.timeout(5):
                await things.cut.wait()
            assert [each["id"] for each in (await client.get("/v1/things")).json()["items"]] == [1]
            assert await state(client, job) == "cancelled"


async def test_a_job_is_cancelled_in_whichever_process_it_runs(tmp_path: Path) -> None:
    running, other = Things(), Things()
    database = DatabaseSettings(url=Url(f"sqlite:///{tmp_path}/things.db"), create=True)
    settings = settings_for_tests(database=database, blobs=BlobSettings(folder=str(tmp_path / "files")))
    async with Client(running.app, settings=settings) as client:
        job = await asked(client, "wait-long")
        await running.entered.wait()
        async with Client(other.app, settings=settings) as elsewhere:
            assert (await elsewhere.post(f"{job}:cancel", as_=ANN)).json()["state"] == "cancelled"
            async with asyncio.timeout(5):
                await running.cut.wait()
            assert await state(elsewhere, job) == "cancelled"
    assert not other.entered.is_set()


@pytest.mark.parametrize("whole", [False, True], ids=["in the middle of its file", "after its file"])
async def test_nothing_is_left_of_the_file_of_a_cancelled_job(tmp_path: Path, whole: bool) -> None:
    things = Things()
    settings = settings_for_tests(
        database=DatabaseSettings(url=Url(f"sqlite:///{tmp_path}/things.db"), create=True),
        blobs=BlobSettings(folder=str(tmp_path / "files")),
    )

    def files() -> int:
        return sum(path.is_file() for path in (tmp_path / "files").rglob("*"))

    async with Client(things.app, settings=settings) as client:
        job = await asked(client, "export-slowly", whole=whole)
        await things.entered.wait()
        assert files() == 1
        await client.post(f"{job}:cancel", as_=ANN)
        await until(lambda: not files())
        assert (await client.get(f"{job}/file", as_=ANN)).status == 404
        assert await state(client, job) == "cancelled"


async def test_who_asked_for_a_job_may_cancel_it_and_who_has_the_scope_in_the_same_tenant() -> None:
    for who, status in ((BOB, 404), (STRANGER, 404), (CLERK, 200), (ANN, 200)):
        things = Things()
        async with Client(things.app) as client:
            job = await asked(client, "wait-long")
            await things.entered.wait()
            answer = await client.post(f"{job}:cancel", as_=who)
            assert (who.subject, answer.status) == (who.subject, status)
            assert await state(client, job) == ("cancelled" if status == 200 else "running")


async def test_a_job_that_ended_can_not_be_cancelled_and_one_that_is_cancelled_can_be_again() -> None:
    things = Things()
    async with Client(things.app) as client:
        job = await asked(client, "end")
        await client.settle()
        refused = await client.post(f"{job}:cancel", as_=ANN)
        assert (refused.status, refused.json()["code"]) == (409, "failed_precondition")
        assert (refused.json()["reason"], refused.json()["state"]) == ("JOB_ENDED", "succeeded")
        job = await asked(client, "wait-long")
        for _ in range(2):
            assert (await client.post(f"{job}:cancel", as_=ANN)).json()["state"] == "cancelled"
        assert (await client.post(f"/v1/jobs/{uuid4()}:cancel", as_=ANN)).json()["reason"] == "JOB_NOT_FOUND"


async def test_graphql_and_rpc_cancel_jobs_too() -> None:
    things = Things()
    async with Client(things.app) as client:
        job = await asked(client, "wait-long")
        body = {"query": f'mutation {{ cancelJob(id: "{job.rpartition("/")[2]}") {{ state }} }}'}
        answer = await client.post("/graphql", json=body, as_=ANN)
        assert answer.json() == {"data": {"cancelJob": {"state": "CANCELLED"}}}
        job = await asked(client, "wait-long")
        rpc = "/shop.jobs.v1.JobsService/CancelJob"
        answer = await client.post(rpc, json={"id": job.rpartition("/")[2]}, as_=ANN)
        assert answer.json()["jobStatus"]["state"] == "JOB_STATE_CANCELLED"
