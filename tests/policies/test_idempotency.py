"""A command that is sent again with the same key takes effect once and is answered the same; on both engines."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated

import pytest

from tests.postgres import empty_database
from trivet import (
    PUBLIC,
    App,
    Conflict,
    Event,
    FailedPrecondition,
    Meta,
    Module,
    Page,
    PageRequest,
    Read,
    Run,
    Struct,
    Table,
    Unavailable,
    Write,
)
from trivet.core.clock import SystemClock
from trivet.data import keys
from trivet.settings import DatabaseSettings, Url
from trivet.testing import Client, principal
from trivet.testing.app import settings_for_tests

Name = Annotated[str, Meta(min_length=1, max_length=40)]
ADA, EMIL = principal("ada", scopes="lines.write"), principal("emil", scopes="lines.write")


class Line(Struct):
    """A line."""

    id: Name
    number: int = 0


class NewLine(Struct):
    """What a line is made of."""

    id: Name
    ends: Name = "well"


class Written(Event):
    """A line was written."""

    line: Name


class Full(FailedPrecondition):
    """There is no room for another line."""

    lines: int


class Later(Conflict):
    """Somebody else is writing."""


class Diary:
    """One app, and what its handlers did."""

    def __init__(self, url: str) -> None:
        self.runs = self.heard = 0
        self.gate = asyncio.Event()
        self.gate.set()
        module = Module("diary")
        lines = Table(module, Line, key=lambda e: e.id, readable=PUBLIC, writable=PUBLIC)

        @lines.listing(order="id")
        def every(e: Line) -> bool:
            return e.id == e.id

        @module.query(public=True)
        async def list_lines(ctx: Read, page: PageRequest) -> Page[Line]:
            """List the lines."""
            return await lines.page(ctx, every, page)

        @module.command(scope="lines.write", raises=[Full, Later, Unavailable])
        async def create_line(ctx: Write, line: NewLine) -> Line:
            """Write a line, which may end in several ways."""
            self.runs += 1
            written = Line(id=f"{line.id}.{self.runs}", number=self.runs)
            await lines.insert(ctx, written)
            ctx.emit(Written(line=written.id))
            await self.gate.wait()
            match line.ends:
                case "full":
                    raise Full(lines=3)
                case "later":
                    raise Later
                case "busy":
                    raise Unavailable
                case "broken":
                    raise RuntimeError("a bug")
            return written

        @module.command(scope="lines.write", transaction=False, raises=[Full])
        async def stamp_line(ctx: Write, id: Name, ends: Name = "well") -> Line:
            """Do something outside that no transaction undoes."""
            self.runs += 1
            await self.gate.wait()
            if ends == "full":
                raise Full(lines=4)
            if ends == "broken":
                raise RuntimeError("a bug")
            return Line(id=id, number=self.runs)

        @module.job(scope="lines.write")
        async def export_lines(ctx: Run) -> Line:
            """Export the lines."""
            self.runs += 1
            return Line(id="export")

        @module.on(Written)
        async def hear(ctx: Write, event: Written) -> None:
            self.heard += 1

        settings = settings_for_tests(database=DatabaseSettings(url=Url(url), create=True))
        self.app = App("diary", modules=[module], settings=settings)
        self.settings = settings

    async def lines(self, client: Client) -> list[str]:
        return [line["id"] for line in (await client.get("/v1/lines")).json()["items"]]


@pytest.fixture(params=["sqlite", "postgresql"])
def diary(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Diary]:
    if request.param == "sqlite":
        yield Diary(f"sqlite:///{tmp_path}/diary.db")
    else:
        with empty_database(17) as url:
            yield Diary(url)


@pytest.fixture
async def client(diary: Diary) -> AsyncIterator[Client]:
    async with Client(diary.app, settings=diary.settings) as client:
        yield client


def keyed(key: str) -> dict[str, str]:
    return {"Idempotency-Key": key}


async def write(client: Client, key: str | None = "k", id: str = "a", ends: str = "well", **more: object):  # type: ignore[no-untyped-def]  # an answer
    return await client.post(
        "/v1/lines", json={"id": id, "ends": ends}, headers=keyed(key) if key else {}, **({"as_": ADA} | more)
    )


async def test_the_same_request_with_the_same_key_takes_effect_once(diary: Diary, client: Client) -> None:
    first, second = await write(client), await write(client, '"k"')
    assert (first.status, second.status) == (201, 201)
    assert first.body == second.body
    assert "idempotent-replayed" not in first.headers
    assert second.headers["idempotent-replayed"] == "true"
    await client.settle()
    assert (diary.runs, diary.heard, await diary.lines(client)) == (1, 1, ["a.1"])


async def test_without_a_key_or_with_another_one_it_takes_effect_again(diary: Diary, client: Client) -> None:
    for key in (None, None, "k", "l"):
        assert (await write(client, key)).status == 201
    assert diary.runs == 4


async def test_another_request_under_the_same_key_is_refused(diary: Diary, client: Client) -> None:
    await write(client)
    refused = await write(client, id="b")
    assert (refused.status, refused.json()["reason"]) == (422, "IDEMPOTENCY_KEY_REUSED")
    assert diary.runs == 1


async def test_callers_do_not_share_keys(diary: Diary, client: Client) -> None:
    await write(client)
    other = await write(client, as_=EMIL)
    assert other.status == 201
    assert "idempotent-replayed" not in other.headers
    assert diary.runs == 2


async def test_an_error_of_the_domain_undoes_its_work_and_is_answered_again(diary: Diary, client: Client) -> None:
    first, second = await write(client, ends="full"), await write(client, ends="full")
    for answer in (first, second):
        assert (answer.status, answer.json()["reason"], answer.json()["lines"]) == (400, "FULL", 3)
    assert second.headers["idempotent-replayed"] == "true"
    await client.settle()
    assert (diary.runs, diary.heard, await diary.lines(client)) == (1, 0, [])


@pytest.mark.parametrize(("ends", "status"), [("later", 409), ("busy", 503), ("broken", 500)])
async def test_what_may_end_differently_is_tried_again(diary: Diary, client: Client, ends: str, status: int) -> None:
    for _ in range(2):
        answer = await write(client, ends=ends)
        assert answer.status == status
        assert "idempotent-replayed" not in answer.headers
    assert (diary.runs, await diary.lines(client)) == (2, [])


async def test_a_call_that_came_too_late_is_tried_again(diary: Diary, client: Client) -> None:
    diary.gate.clear()
    late = await client.post("/v1/lines", json={"id": "a"}, headers=keyed("k") | {"Request-Timeout": "0.2"}, as_=ADA)
    assert late.status == 504
    diary.gate.set()
    assert (await write(client)).status in (201, 409)
    while (await write(client)).status == 409:  # noqa: ASYNC110 - it is being cleaned up
        await asyncio.sleep(0.01)
    assert await diary.lines(client) == ["a.2"]


async def test_refusals_before_the_handler_are_not_kept(diary: Diary, client: Client) -> None:
    assert (await client.post("/v1/lines", json={"id": "a"}, headers=keyed("k"))).status == 401
    assert (await client.post("/v1/lines", json={"id": ""}, headers=keyed("k"), as_=ADA)).status == 400
    assert (await write(client)).status == 201


async def test_a_key_that_is_none_is_refused(diary: Diary, client: Client) -> None:
    refused = await write(client, "two words")
    assert (refused.status, refused.json()["errors"][0]["pointer"]) == (400, "#/idempotency-key")
    assert diary.runs == 0


async def test_many_at_once_take_effect_once(diary: Diary, client: Client) -> None:
    answers = await asyncio.gather(*(write(client) for _ in range(20)))
    statuses = Counter(answer.status for answer in answers)
    assert set(statuses) <= {201, 409}
    assert statuses[201] >= 1
    for answer in answers:
        if answer.status == 409:
            assert (answer.json()["reason"], answer.headers["retry-after"]) == ("IDEMPOTENCY_KEY_IN_USE", "1")
    assert len({answer.body for answer in answers if answer.status == 201}) == 1
    assert await diary.lines(client) == ["a.1"]


async def test_a_job_that_is_asked_for_twice_runs_once(diary: Diary, client: Client) -> None:
    first, second = [await client.post("/v1/lines:export", headers=keyed("k"), as_=ADA) for _ in range(2)]
    assert first.status == second.status == 202
    assert first.json()["id"] == second.json()["id"]
    await client.settle()
    assert diary.runs == 1


class Tomorrow(SystemClock):
    ahead = timedelta()

    def now(self) -> datetime:
        return super().now() + self.ahead


async def test_after_a_day_a_key_is_new(diary: Diary, client: Client) -> None:
    await write(client)
    database = client.service.runtime.open_database()
    for ahead, removed in ((timedelta(hours=23), 0), (timedelta(hours=25), 1)):
        session = database.session(write=True)
        assert await keys.prune(session, SystemClock().now() + ahead) == removed
        await session.commit()
        await session.close()
    assert (await write(client)).status == 201
    assert diary.runs == 2


# -- without a transaction


async def stamp(client: Client, ends: str = "well"):  # type: ignore[no-untyped-def]  # an answer
    return await client.post("/v1/lines/a:stamp", json={"ends": ends}, headers=keyed("k"), as_=ADA)


@pytest.mark.parametrize(("ends", "status"), [("well", 200), ("full", 400)])
async def test_without_a_transaction_the_outcome_is_kept_as_well(
    diary: Diary, client: Client, ends: str, status: int
) -> None:
    first, second = await stamp(client, ends), await stamp(client, ends)
    assert (first.status, second.status) == (status, status)
    assert second.headers["idempotent-replayed"] == "true"
    assert diary.runs == 1


async def test_without_a_transaction_who_comes_meanwhile_is_told_to_wait(diary: Diary, client: Client) -> None:
    diary.gate.clear()
    first = asyncio.create_task(stamp(client))
    while diary.runs == 0:  # noqa: ASYNC110 - it is in the handler then
        await asyncio.sleep(0.005)
    assert (await stamp(client)).json()["reason"] == "IDEMPOTENCY_KEY_IN_USE"
    diary.gate.set()
    assert (await first).status == 200
    assert (await stamp(client)).headers["idempotent-replayed"] == "true"


async def test_without_a_transaction_a_bug_frees_the_key(diary: Diary, client: Client) -> None:
    assert (await stamp(client, "broken")).status == 500
    assert (await stamp(client, "broken")).status == 500
    assert diary.runs == 2
