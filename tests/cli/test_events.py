"""``trivet events`` on a store of each engine: what people see, and that a replay takes effect."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from click.testing import CliRunner, Result

from tests.messaging.contract.world import ENGINES, Happened, Other, World, drained, empty_store
from tests.waiting import until
from trivet.cli import command
from trivet.core.error import Unavailable
from trivet.core.module import Module
from trivet.data.catalog import open_database
from trivet.messaging.message import MessageKind
from trivet.messaging.retry import RetryPolicy

APP = """
import trivet

app = trivet.App("desk", modules=[trivet.Module("desk")])
"""


def app_in(directory: Path) -> str:
    """Write an app and return its name; each has another one, as this process imports all of them."""
    name = f"desk_{uuid4().hex}"
    (directory / f"{name}.py").write_text(APP)
    return f"{name}:app"


class Desk:
    """A store with handlers that can be broken, and the command line on it."""

    def __init__(self, world: World, url: str, directory: Path) -> None:
        self.world = world
        self.broken = True
        self._url = url
        self._directory = directory
        self._app = app_in(directory)

    @property
    def environ(self) -> dict[str, str]:
        return {"DATABASE_URL": self._url}

    def words(self, *arguments: str) -> list[str]:
        name, *rest = arguments
        return ["events", name, self._app, *rest, "--app-dir", str(self._directory)]

    async def run(self, *arguments: str, **options: Any) -> Result:
        def invoke() -> Result:
            return CliRunner().invoke(
                command, self.words(*arguments), standalone_mode=False, env=self.environ, **options
            )

        return await asyncio.to_thread(invoke)

    async def json(self, *arguments: str) -> Any:
        ended = await self.run(*arguments, "--json")
        assert ended.exception is None, ended.output
        return json.loads(ended.output)

    async def dispatch(self) -> None:
        """Deliver until nothing but dead letters is left."""

        async def only_dead() -> bool:
            found = await self.json("status")
            return all(each["waiting"] == each["retrying"] == 0 for each in found)

        async with self.world.dispatching(retry=RetryPolicy(attempts_max=2, first=0.01, longest=0.01)):
            await until(only_dead)


@pytest.fixture(params=ENGINES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with empty_store(request.param, tmp_path) as url:
        yield url


@pytest.fixture
async def desk(url: str, tmp_path: Path) -> AsyncIterator[Desk]:
    shop = Module("shop")

    @shop.on(Happened)
    async def bill(ctx: Any, event: Happened) -> None:
        if made.broken and event.thing == "bad":
            raise ValueError("no \x1b[31mgood\nnumber")
        await ctx.record(event.thing, event.number)

    @shop.on(Other)
    async def note(ctx: Any, event: Other) -> None:
        if made.broken:
            raise ValueError("no pen")
        await ctx.record(event.thing)

    @shop.job(public=True)
    async def export(progress: Any) -> int:
        if made.broken:
            raise Unavailable()
        return 7

    database = open_database(url)
    await database.open()
    world = World(database, shop)
    await world.create()
    made = Desk(world, url, tmp_path)
    yield made
    await database.close()


def test_help_has_examples_for_each_command() -> None:
    for name in ("status", "list", "show", "dead", "replay", "tail"):
        ended = CliRunner().invoke(command, ["events", name, "--help"])
        assert (ended.exit_code, "trivet events " + name in ended.output) == (0, True), name


async def test_what_waits_is_listed_with_what_is_left_of_it(desk: Desk) -> None:
    await desk.world.emit(Happened(thing="good"), Happened(thing="bad"), Other(thing="bad"))
    assert [(each["subscriber"], each["waiting"], each["dead"]) for each in await desk.json("status")] == [
        ("shop.bill", 2, 0),
        ("shop.note", 1, 0),
    ]
    await desk.dispatch()
    listed = await desk.json("list")
    assert [
        (each["about"], [(d["subscriber"], d["state"], d["attempts"]) for d in each["deliveries"]])
        for each in listed["messages"]
    ] == [
        ("bad", [("shop.note", "dead", 2)]),
        ("bad", [("shop.bill", "dead", 2)]),
        ("good", []),
    ]
    assert listed["before"] is None
    assert [each["about"] for each in (await desk.json("list", "--pending"))["messages"]] == ["bad", "bad"]
    assert len((await desk.json("list", "--handler", "shop.note"))["messages"]) == 1
    assert len((await desk.json("list", "--about", "good", "--pending"))["messages"]) == 0
    ended = await desk.run("status")
    assert (ended.return_value, "shop.bill" in ended.output) == (1, True)


async def test_a_list_goes_on_where_its_page_ended(desk: Desk) -> None:
    await desk.world.emit(*(Happened(thing=str(n)) for n in range(5)))
    seen: list[str] = []
    words: tuple[str, ...] = ()
    while True:
        page = await desk.json("list", "--limit", "2", *words)
        seen += [each["about"] for each in page["messages"]]
        if page["before"] is None:
            break
        words = ("--before", str(page["before"]))
    assert seen == ["4", "3", "2", "1", "0"]
    assert "--before" in (await desk.run("list", "--limit", "2")).output


async def test_a_message_is_shown_with_what_it_says_and_why_it_failed(desk: Desk) -> None:
    await desk.world.emit(Happened(thing="bad", number=3))
    await desk.dispatch()
    [listed] = (await desk.json("list"))["messages"]
    for name in (str(listed["position"]), listed["id"]):
        shown = await desk.json("show", name)
        assert shown["payload"] == {"thing": "bad", "number": 3}
        assert [each["error"] for each in shown["deliveries"]] == ["ValueError: no \x1b[31mgood\nnumber"]
    text = (await desk.run("show", str(listed["position"]))).output
    assert "ValueError: no  [31mgood number" in text, "what a handler said can not steer the terminal"
    assert '"number": 3' in text
    assert (await desk.run("show", "999999")).return_value == 1


async def test_what_is_replayed_is_handled_once_and_the_rest_stays_dead(desk: Desk) -> None:
    world = desk.world
    await world.emit(*(Happened(thing="bad", number=n) for n in range(3)), Other(thing="bad"))
    await desk.dispatch()
    found = await desk.json("dead")
    assert found["count"] == 4
    assert [each["message"]["payload"].get("number") for each in found["dead"]] == [0, 1, 2, None]
    desk.broken = False

    assert await desk.json("replay", "--handler", "shop.bill", "--dry-run") == {"dead": 3, "replayed": 0}
    await desk.dispatch()
    assert await world.effects() == [], "a dry run changes nothing"
    assert (await desk.run("replay", str(found["dead"][1]["id"]), "--yes")).output == "replayed 1 dead letter\n"
    assert await desk.json("replay", "--handler", "shop.bill", "--yes") == {"dead": 2, "replayed": 2}
    await desk.dispatch()
    assert sorted(await world.effects()) == [("shop.bill", "bad", n) for n in range(3)]
    again = await desk.run("replay", "--handler", "shop.bill", "--yes")
    assert (again.return_value, again.output) == (1, "replayed 0 dead letters\n")
    assert await desk.json("replay", "--all", "--yes") == {"dead": 1, "replayed": 1}
    await desk.dispatch()
    assert len(await world.effects()) == 4
    assert (await desk.run("status")).return_value == 0


async def test_what_fails_again_is_a_dead_letter_again(desk: Desk) -> None:
    await desk.world.emit(Other(thing="bad"))
    await desk.dispatch()
    [before] = (await desk.json("dead"))["dead"]
    assert (await desk.json("replay", "--all", "--yes"))["replayed"] == 1
    await desk.dispatch()
    [after] = (await desk.json("dead"))["dead"]
    assert (after["id"], after["attempts"]) == (before["id"], before["attempts"])
    assert after["time"] > before["time"]


async def test_a_job_that_is_replayed_has_the_status_of_a_new_one(desk: Desk) -> None:
    from trivet.core.job import JobState
    from trivet.messaging import jobs

    world = desk.world
    message = world.request(MessageKind.JOB, "shop.export")
    await world.store(message)
    await desk.dispatch()
    record = await jobs.get(world.database.session(write=False), message.id)
    assert record is not None
    assert record.status.state is JobState.FAILED
    desk.broken = False
    assert (await desk.json("replay", "--all", "--yes"))["replayed"] == 1
    record = await jobs.get(world.database.session(write=False), message.id)
    assert record is not None
    assert (record.status.state, record.status.error, record.status.end_time) == (JobState.QUEUED, None, None)
    async with world.dispatching():
        await drained(world)
    record = await jobs.get(world.database.session(write=False), message.id)
    assert record is not None
    assert (record.status.state, record.status.result) == (JobState.SUCCEEDED, 7)


@pytest.mark.parametrize(
    "arguments",
    [
        ("replay",),
        ("replay", "1", "--all", "--yes"),
        ("replay", "x", "--yes"),
        ("replay", "--all"),
        ("show",),
        ("show", "x"),
        ("list", "--limit", "0"),
        ("list", "--limit", "1001"),
    ],
    ids=" ".join,
)
def test_a_wrong_call_ends_with_2(arguments: tuple[str, ...], tmp_path: Path) -> None:
    name, *rest = arguments
    words = ["events", name, app_in(tmp_path), *rest, "--app-dir", str(tmp_path)]
    ended = CliRunner().invoke(command, words, env={"DATABASE_URL": f"sqlite:///{tmp_path}/none.db"})
    assert ended.exit_code == 2, ended.output


async def test_an_id_that_is_none_keeps_all_from_being_replayed(desk: Desk) -> None:
    await desk.world.emit(Other(thing="bad"))
    await desk.dispatch()
    [letter] = (await desk.json("dead"))["dead"]
    ended = await desk.run("replay", str(letter["id"]), "999", "--yes")
    assert (ended.return_value, "999" in ended.output) == (1, True)
    assert (await desk.json("dead"))["count"] == 1


def test_no_database_is_made_where_there_is_none(tmp_path: Path) -> None:
    file = tmp_path / "none.db"
    words = ["events", "list", app_in(tmp_path), "--app-dir", str(tmp_path)]
    ended = CliRunner().invoke(command, words, env={"DATABASE_URL": f"sqlite:///{file}"})
    assert (ended.exit_code, "there is no database" in ended.output) == (1, True)
    assert not file.exists()


async def test_a_tail_follows_what_is_committed_and_nothing_that_is_not(desk: Desk) -> None:
    world = desk.world
    await world.emit(*(Happened(thing=str(n)) for n in range(3)))
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "trivet",
        *desk.words("tail", "--last", "2", "--json"),
        env=os.environ | desk.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None

    async def line() -> Any:
        assert process.stdout is not None
        return msgspec.json.decode(await process.stdout.readline())

    try:
        assert [(await line())["about"] for _ in range(2)] == ["1", "2"]
        await world.store(world.event(Happened(thing="undone")), commit=False)
        await world.emit(Happened(thing="new", number=9))
        following = await line()
        assert (following["about"], following["payload"]) == ("new", {"thing": "new", "number": 9})
    finally:
        process.send_signal(signal.SIGINT)
        await process.wait()
    assert process.stderr is not None
    assert (process.returncode, (await process.stderr.read()).strip()) == (130, b"")
