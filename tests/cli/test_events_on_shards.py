"""``trivet events`` where tables are sharded: all nodes together, and each of them by its name."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from click.testing import CliRunner, Result

from tests.messaging.contract.world import Happened, World
from tests.postgres import empty_database
from tests.waiting import until
from trivet.cli import command
from trivet.core.module import Module
from trivet.data.catalog import open_database
from trivet.messaging.retry import RetryPolicy

APP = """
import trivet


class Account(trivet.Struct):
    owner: str


bank = trivet.Module("bank")
accounts = trivet.Table(
    bank, Account, key=lambda a: a.owner, shard_by=lambda a: a.owner, readable=trivet.PUBLIC, writable=trivet.PUBLIC
)
app = trivet.App("bank", modules=[bank])
"""

NODES = ("home", "b", "c")


@pytest.fixture
def urls() -> Iterator[dict[str, str]]:
    with ExitStack() as stack:
        yield {node: stack.enter_context(empty_database(17)) for node in NODES}


class Bank:
    """Three nodes with a handler that can be broken, and the command line on them."""

    def __init__(self, urls: dict[str, str], directory: Path) -> None:
        self.worlds: dict[str, World] = {}
        self.broken = True
        self._directory = directory
        self._app = f"bank_{uuid4().hex}"
        (directory / f"{self._app}.py").write_text(APP)
        shards = " ".join(f"{node}={url}" for node, url in urls.items() if node != "home")
        self.environ = {"DATABASE_URL": urls["home"], "TRIVET_DATABASE__SHARDS": shards}

    def words(self, *arguments: str) -> list[str]:
        name, *rest = arguments
        return ["events", name, f"{self._app}:app", *rest, "--app-dir", str(self._directory)]

    async def run(self, *arguments: str) -> Result:
        def invoke() -> Result:
            return CliRunner().invoke(command, self.words(*arguments), standalone_mode=False, env=self.environ)

        return await asyncio.to_thread(invoke)

    async def json(self, *arguments: str) -> Any:
        ended = await self.run(*arguments, "--json")
        assert ended.exception is None, ended.output
        return json.loads(ended.output)

    async def dispatch(self) -> None:
        for world in self.worlds.values():

            async def only_dead(world: World = world) -> bool:
                return await world.pending() == world.observer.counts["buried"] * self.broken

            async with world.dispatching(retry=RetryPolicy(attempts_max=2, first=0.01, longest=0.01)):
                await until(only_dead)


@pytest.fixture
async def bank(urls: dict[str, str], tmp_path: Path) -> AsyncIterator[Bank]:
    shop = Module("shop")

    @shop.on(Happened)
    async def bill(ctx: Any, event: Happened) -> None:
        if made.broken and event.thing == "bad":
            raise ValueError("no good")
        await ctx.record(event.thing, event.number)

    made = Bank(urls, tmp_path)
    for node, url in urls.items():
        database = open_database(url)
        await database.open()
        made.worlds[node] = World(database, shop)
        await made.worlds[node].create()
    yield made
    for world in made.worlds.values():
        await world.database.close()


async def test_status_is_the_sum_of_the_nodes_and_says_what_each_has(bank: Bank) -> None:
    await bank.worlds["home"].emit(Happened(thing="good"), Happened(thing="bad"))
    await bank.worlds["c"].emit(Happened(thing="bad"), Happened(thing="bad"), Happened(thing="good"))
    [found] = await bank.json("status")
    assert (found["subscriber"], found["waiting"], found["dead"]) == ("shop.bill", 5, 0)
    assert {node: part["waiting"] for node, part in found["nodes"].items()} == {"home": 2, "c": 3}
    await bank.dispatch()
    ended = await bank.run("status")
    [heads, line] = ended.output.splitlines()
    assert heads.split() == ["HANDLER", "WAITING", "RETRYING", "DEAD", "OLDEST", "HOME", "B", "C"]
    assert line.split("  ")[-1] == "0, 2 dead"
    assert ended.return_value == 1


async def test_a_list_goes_over_all_nodes_and_each_message_is_shown_where_it_is(bank: Bank) -> None:
    for number in range(3):
        for node in NODES:
            await bank.worlds[node].emit(Happened(thing=f"{node} {number}"))
    seen: list[str] = []
    words: tuple[str, ...] = ()
    while True:
        page = await bank.json("list", "--limit", "4", *words)
        seen += [each["about"] for each in page["messages"]]
        if page["before"] is None:
            break
        words = ("--before", page["before"])
    assert seen == [f"{node} {number}" for number in (2, 1, 0) for node in reversed(NODES)]
    listed = (await bank.json("list"))["messages"]
    for each in listed:
        for name in (f"{each['node']}/{each['position']}", each["id"]):
            assert (await bank.json("show", name))["payload"]["thing"] == each["about"]
    assert "b/1" in (await bank.run("list")).output
    refused = await bank.run("show", "1")
    assert "home/1" in str(refused.exception)
    refused = await bank.run("show", "d/1")
    assert "home, b, c" in str(refused.exception)


async def test_dead_letters_of_all_nodes_are_listed_and_replayed_by_name_or_all(bank: Bank) -> None:
    for node in NODES:
        await bank.worlds[node].emit(Happened(thing="bad", number=1), Happened(thing="bad", number=2))
    await bank.dispatch()
    first = await bank.json("dead", "--limit", "5")
    rest = await bank.json("dead", "--limit", "5", "--after", first["after"])
    found = [(each["node"], each["message"]["payload"]["number"]) for each in (*first["dead"], *rest["dead"])]
    assert first["count"] == 6
    assert sorted(found) == sorted((node, number) for node in NODES for number in (1, 2))
    bank.broken = False
    one = next(each for each in first["dead"] if each["node"] == "b")
    refused = await bank.run("replay", f"b/{one['id']}", "c/999", "--yes")
    assert (refused.return_value, "c/999" in refused.output) == (1, True)
    assert await bank.json("replay", f"b/{one['id']}", "--yes") == {"dead": 1, "replayed": 1}
    await drained_by(bank, "b", 1)
    assert await bank.json("replay", "--all", "--yes") == {"dead": 5, "replayed": 5}
    for node in NODES:
        await drained_by(bank, node, 0)
        assert sorted(await bank.worlds[node].effects()) == [("shop.bill", "bad", 1), ("shop.bill", "bad", 2)]
    assert (await bank.run("status")).return_value == 0


async def drained_by(bank: Bank, node: str, left: int) -> None:
    world = bank.worlds[node]

    async def so_many_left() -> bool:
        return await world.pending() == left

    async with world.dispatching():
        await until(so_many_left)


async def test_a_tail_follows_every_node(bank: Bank) -> None:
    await bank.worlds["b"].emit(Happened(thing="before"))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "trivet", *bank.words("tail", "--last", "1", "--json")),
        env=os.environ | bank.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None

    async def line() -> tuple[str, str]:
        assert process.stdout is not None
        found = msgspec.json.decode(await process.stdout.readline())
        return found["node"], found["about"]

    try:
        assert await line() == ("b", "before")
        for node in NODES:
            await bank.worlds[node].emit(Happened(thing=f"new in {node}"))
            assert await line() == (node, f"new in {node}")
    finally:
        process.send_signal(signal.SIGINT)
        await process.wait()
    assert process.stderr is not None
    assert (process.returncode, (await process.stderr.read()).strip()) == (130, b"")
