"""The file of a job: written while its rows are read, fetched by whoever asked for the job, whole or in parts."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest

from trivet import PUBLIC, App, File, Module, Run, Struct, Table, Unavailable, Write
from trivet.blobs.store import BlobsUnavailable
from trivet.data.groups import GROUP
from trivet.settings import BlobSettings, DatabaseSettings, Settings, Url
from trivet.testing import Client, Response, principal, settings_for_tests

ROWS = 2 * GROUP + 3
ANN, BOB = principal("ann", scopes=("things.read",)), principal("bob", scopes=("things.read",))


class Thing(Struct):
    id: int
    name: str


class Things:
    """A module with a job that exports all things, and fails as often as it is told."""

    def __init__(self) -> None:
        self.module = m = Module("things")
        self.table = table = Table(m, Thing, key=lambda t: t.id, readable=PUBLIC, writable=PUBLIC)
        self.failures = 0
        self.attempts = 0

        @table.listing(order="id")
        def every(t: Thing) -> bool:
            return t.id >= 0

        @m.command(public=True)
        async def fill(ctx: Write) -> int:
            """Make things."""
            return await table.load(ctx, (Thing(id=n, name=f"=thing {n}") for n in range(ROWS)))

        async def rows(ctx: Run) -> AsyncIterator[Thing]:
            self.attempts += 1
            async for thing in table.stream(ctx, every):
                if thing.id == ROWS - 1 and self.failures:
                    self.failures -= 1
                    raise Unavailable
                yield thing

        @m.job(scope="things.read")
        async def export_things(ctx: Run, name: str) -> File:
            """Write all things into a file."""
            return await ctx.export(rows(ctx), name=name, total=ROWS, shape=Thing)

        @m.job(scope="things.read")
        async def export_twice(ctx: Run) -> File:
            """Do what is refused."""
            await ctx.export(rows(ctx), name="a.csv", shape=Thing)
            return await ctx.export(rows(ctx), name="b.csv", shape=Thing)

        @m.job(scope="things.read")
        async def export_streamed(ctx: Run) -> File:
            """Write what a table streams, which says itself what it is."""
            return await ctx.export(table.stream(ctx, every), name="things.csv")

        @m.job(scope="things.read")
        async def export_unknown(ctx: Run) -> File:
            """Do not say what the rows are."""
            return await ctx.export(rows(ctx), name="things.csv")

        self.app = App("things", modules=[m])


async def job(client: Client, path: str = "export-things", **arguments: Any) -> dict[str, Any]:
    """Run a job of Ann's and return its status."""
    await client.post("/v1/fill")
    asked = (
        await client.post(f"/v1/{path}", json=arguments or None, as_=ANN)
        if arguments
        else await client.post(f"/v1/{path}", as_=ANN)
    )
    await client.settle()
    status: dict[str, Any] = (await client.get(asked.headers["location"], as_=ANN)).json()
    return status


async def test_a_file_has_all_rows_and_says_what_it_is() -> None:
    async with Client(Things().app) as client:
        done = await job(client, name="all-things.csv")
        assert (done["state"], done["progress"]) == ("succeeded", {"done": ROWS, "total": ROWS})
        file = msgspec.convert(done["result"], File)
        assert (file.name, file.rows, file.path) == ("all-things.csv", ROWS, f"/v1/jobs/{done['id']}/file")
        answer = await client.get(file.path, as_=ANN)
        assert answer.status == 200
        assert answer.headers["content-disposition"] == 'attachment; filename="all-things.csv"'
        assert answer.headers["content-type"] == "text/csv; charset=utf-8; header=present"
        assert answer.headers["content-length"] == str(file.size) == str(len(answer.body))
        assert answer.headers["cache-control"] == "private, no-cache"
        assert answer.headers["x-content-type-options"] == "nosniff"
        header, *lines = csv.reader(io.StringIO(answer.body.decode(), newline=""))
        assert header == ["id", "name"]
        assert lines == [[str(n), f"'=thing {n}"] for n in range(ROWS)]


async def test_a_csv_without_rows_has_its_header() -> None:
    async with Client(Things().app) as client:
        for path, arguments in (("export-things", {"name": "things.csv"}), ("export-streamed", {})):
            asked = await client.post(f"/v1/{path}", json=arguments or msgspec.UNSET, as_=ANN)
            await client.settle()
            file = (await client.get(asked.headers["location"], as_=ANN)).json()["result"]
            assert file["rows"] == 0
            assert (await client.get(file["path"], as_=ANN)).text == "id,name\r\n"


async def test_a_download_is_conditional_and_in_parts() -> None:
    async with Client(Things().app) as client:
        path = (await job(client, name="things.ndjson"))["result"]["path"]
        whole = await client.get(path, as_=ANN)
        assert [json.loads(line)["id"] for line in whole.body.splitlines()] == list(range(ROWS))
        tag, size = whole.headers["etag"], len(whole.body)

        async def ask(verb: str = "GET", **fields: str) -> Response:
            headers = {name.replace("_", "-"): value for name, value in fields.items()}
            return await client.request(verb, path, headers=headers, as_=ANN)

        assert (await ask(if_none_match=tag)).status == 304
        assert (await ask(if_match='"other"')).status == 412
        head = await ask("HEAD", range="bytes=0-1")
        assert (head.status, head.headers["content-length"], head.body) == (200, str(size), b"")
        for asked, start, end in [("0-9", 0, 10), ("7-", 7, size), ("-5", size - 5, size), (f"9-{size * 2}", 9, size)]:
            part = await ask(range=f"bytes={asked}")
            assert (part.status, part.body) == (206, whole.body[start:end])
            assert part.headers["content-range"] == f"bytes {start}-{end - 1}/{size}"
            assert (await ask(range=f"bytes={asked}", if_range=tag)).status == 206
            assert (await ask(range=f"bytes={asked}", if_range='"other"')).body == whole.body
        for passed_over in ("bytes=0-1,3-4", "bytes=5-2", "lines=1-2", "bytes=-", "bytes=x"):
            assert (await ask(range=passed_over)).status == 200
        for beyond in (f"bytes={size}-", "bytes=-0"):
            refused = await ask(range=beyond)
            assert (refused.status, refused.headers["content-range"]) == (416, f"bytes */{size}")
            assert refused.json()["reason"] == "RANGE_NOT_SATISFIABLE"
        assert (await ask(range="x" * 4096)).status == 200
        assert (await ask(range="x" * 4097)).json()["errors"][0]["pointer"] == "#/range"
        assert (await ask(accept="image/png")).status == 406
        assert (await ask(accept_encoding="identity;q=0")).status == 406


async def test_only_who_asked_for_the_job_gets_its_file() -> None:
    async with Client(Things().app) as client:
        path = (await job(client, name="things.csv"))["result"]["path"]
        refused = [await client.get(path, as_=who) for who in (BOB, None)]
        assert [each.status for each in refused] == [404, 404]
        assert {each.json()["reason"] for each in refused} == {"JOB_NOT_FOUND"}


async def test_a_job_that_runs_again_writes_one_file() -> None:
    things = Things()
    things.failures = 1
    async with Client(things.app) as client:
        done = await job(client, name="things.csv")
        assert (done["state"], things.attempts) == ("succeeded", 2)
        answer = await client.get(done["result"]["path"], as_=ANN)
        assert answer.body.count(b"\r\n") == ROWS + 1


@pytest.mark.parametrize(
    ("path", "arguments"),
    [
        pytest.param("export-things", {"name": "../things.csv"}, id="a name that is a path"),
        pytest.param("export-things", {"name": "things.exe"}, id="a name of another kind"),
        pytest.param("export-twice", {}, id="two files"),
        pytest.param("export-unknown", {}, id="a CSV of who knows what"),
    ],
)
async def test_a_job_that_can_not_have_a_file_fails_and_has_none(path: str, arguments: dict[str, str]) -> None:
    async with Client(Things().app) as client:
        done = await job(client, path, **arguments)
        assert done["state"] == "failed"
        assert (await client.get(f"/v1/jobs/{done['id']}/file", as_=ANN)).status == 404


async def test_files_are_as_large_and_stay_as_long_as_is_said() -> None:
    small = settings_for_tests(blobs=BlobSettings(size=1000))
    async with Client(Things().app, settings=small) as client:
        assert (await job(client, name="things.csv"))["error"]["reason"] == "BLOB_TOO_LARGE"
    short = settings_for_tests(blobs=BlobSettings(keep=0.000001))
    async with Client(Things().app, settings=short) as client:
        done = await job(client, name="things.csv")
        assert done["state"] == "succeeded"
        assert (await client.get(done["result"]["path"], as_=ANN)).status == 404


async def test_files_are_in_the_folder_that_is_named_and_one_that_can_not_be_written_is_said_at_start(
    tmp_path: Path,
) -> None:
    database = DatabaseSettings(url=Url(f"sqlite:///{tmp_path}/shop.db"), create=True)

    def settings(folder: Path) -> Settings:
        return settings_for_tests(database=database, blobs=BlobSettings(folder=str(folder)))

    async with Client(Things().app, settings=settings(tmp_path / "files")) as client:
        done = await job(client, name="things.csv")
        [path] = [each for each in (tmp_path / "files").rglob("*") if each.is_file()]
        assert path.name == UUID(done["id"]).hex
    app = App("things", modules=[Things().module], settings=settings(tmp_path / "shop.db" / "files"))
    with pytest.raises(BlobsUnavailable, match="TRIVET_BLOBS__FOLDER"):
        await app.start()
