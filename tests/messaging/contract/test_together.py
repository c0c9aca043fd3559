"""What holds where deliveries to one handler share a transaction."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.messaging.contract import child
from tests.messaging.contract.world import (
    Happened,
    SimpleRunner,
    SimpleTransaction,
    World,
    drained,
)
from tests.waiting import until
from trivet.core.module import Module
from trivet.data.database import Contention, Database
from trivet.messaging.dead import dead_letters
from trivet.messaging.dispatcher import Dispatcher
from trivet.messaging.hands import Sharing
from trivet.messaging.runner import NotShared, Settle

WARM = 40

PATIENT = Sharing(seconds=60, patience=60)
"""However slow the machine is just now, handlers are quick."""


class Counted(SimpleRunner):
    """Counts how many handlers committed together."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.sizes: list[int] = []

    def transaction(self, *, shared: bool) -> SimpleTransaction:
        return Counting(self._database, shared, self.sizes)


class Counting(SimpleTransaction):
    """Counts the handlers that did not fail."""

    def __init__(self, database: Database, shared: bool, sizes: list[int]) -> None:
        super().__init__(database, shared)
        self._sizes = sizes
        self._count = 0

    async def handle(self, *args: Any) -> None:
        await super().handle(*args)
        self._count += 1

    async def commit(self, settle: Settle) -> None:
        await super().commit(settle)
        self._sizes.append(self._count)


@asynccontextmanager
async def warm(world: World, runner: Any = None, **options: Any) -> AsyncIterator[Dispatcher]:
    """Dispatch, from when the handler is known to be quick: its transactions are shared."""
    async with world.dispatching(runner, concurrency=1, **{"sharing": PATIENT} | options) as dispatcher:
        for round in range(6):
            await world.emit(*(Happened(thing=f"warm {round} {n}", number=-1) for n in range(WARM)))
            dispatcher.wake()
            await drained(world)
        world.observer.counts.clear()
        yield dispatcher


async def cold(world: World) -> list[tuple[str, int]]:
    """Return what was done after the warming."""
    return [(thing, number) for _, thing, number in await world.effects() if number >= 0]


async def test_one_event_that_always_fails_is_the_only_one_that_is_tried_again(database: Database) -> None:
    shop = Module("shop")
    runs: Counter[int] = Counter()

    @shop.on(Happened)
    async def bill(ctx: Any, event: Happened) -> None:
        runs[event.number] += 1
        await ctx.record(event.thing, event.number)
        if event.number == 7:
            raise ValueError("poison")

    world, runner = World(database, shop), Counted(database)
    await world.create()

    async def one_left() -> bool:
        return await world.pending() == 1 and world.observer.counts["buried"] == 1

    async with warm(world, runner) as dispatcher:
        runner.sizes.clear()
        await world.emit(*(Happened(thing=f"t{n}", number=n) for n in range(60)))
        dispatcher.wake()
        await until(one_left)
    assert sorted(await cold(world)) == sorted((f"t{n}", n) for n in range(60) if n != 7)
    assert {number: count for number, count in runs.items() if number >= 0 and count > 1} == {7: 12}
    assert max(runner.sizes) > 5, "the others did share transactions"
    [dead] = await dead_letters(database.session(write=False))
    assert (dead.attempts, dead.error) == (12, "ValueError: poison")


async def test_events_about_one_thing_share_a_transaction_in_their_order_and_wait_for_one_that_fails(
    database: Database,
) -> None:
    shop = Module("shop")
    runs: Counter[int] = Counter()

    @shop.on(Happened)
    async def bill(ctx: Any, event: Happened) -> None:
        runs[event.number] += 1
        await ctx.record(event.thing, event.number)
        if event.number % 10 == 3 and runs[event.number] < 3:
            raise ValueError("not yet")

    world, runner = World(database, shop), Counted(database)
    await world.create()
    async with warm(world, runner) as dispatcher:
        runner.sizes.clear()
        await world.emit(*(Happened(thing=f"t{n % 2}", number=n) for n in range(40)))
        dispatcher.wake()
        await drained(world)
    order: dict[str, list[int]] = defaultdict(list)
    for thing, number in await cold(world):
        order[thing].append(number)
    assert order == {"t0": list(range(0, 40, 2)), "t1": list(range(1, 40, 2))}
    assert max(runner.sizes) > 2


async def test_a_handler_that_takes_its_time_is_left_behind_and_has_its_full_time_alone(database: Database) -> None:
    shop = Module("shop")
    runs: Counter[int] = Counter()

    @shop.on(Happened)
    async def bill(ctx: Any, event: Happened) -> None:
        runs[event.number] += 1
        await ctx.record(event.thing, event.number)
        if event.number == 3 and runs[3] == 1:
            await asyncio.Event().wait()  # longer than others have patience

    world = World(database, shop)
    await world.create()
    async with warm(world, sharing=Sharing(seconds=60, patience=0.5)) as dispatcher:
        await world.emit(*(Happened(thing=f"t{n}", number=n) for n in range(10)))
        dispatcher.wake()
        await drained(world)
    assert sorted(await cold(world)) == [(f"t{n}", n) for n in range(10)]
    assert runs[3] == 2
    assert world.observer.errors == [], "to take one's time is no failure"


@pytest.mark.parametrize("error", [Contention(), NotShared()], ids=["contention", "not shared"])
async def test_what_can_not_be_kept_together_is_handled_one_by_one(database: Database, error: Exception) -> None:
    shop = Module("shop")
    company: list[bool] = []

    @shop.on(Happened)
    async def bill(ctx: Any, event: Happened) -> None:
        await ctx.record(event.thing, event.number)
        if event.number == 5:
            company.append(world.observer.counts["parted"] == 0)
            if company[-1]:
                raise error

    world = World(database, shop)
    await world.create()
    async with warm(world) as dispatcher:
        await world.emit(*(Happened(thing=f"t{n}", number=n) for n in range(10)))
        dispatcher.wake()
        await drained(world)
    assert sorted(await cold(world)) == [(f"t{n}", n) for n in range(10)]
    assert company == [True, False]
    assert world.observer.counts["parted"] == 1


async def test_a_handler_that_begins_anew_undoes_only_what_it_did_itself(database: Database) -> None:
    shop = Module("shop")

    @shop.on(Happened)
    async def bill(ctx: Any, event: Happened) -> None:
        if event.number == 5:
            await ctx.record("undone", event.number)
            await ctx.session.rollback()
        await ctx.record(event.thing, event.number)

    world = World(database, shop)
    await world.create()
    async with warm(world) as dispatcher:
        await world.emit(*(Happened(thing=f"t{n}", number=n) for n in range(10)))
        dispatcher.wake()
        await drained(world)
    assert sorted(await cold(world)) == [(f"t{n}", n) for n in range(10)]
    assert world.observer.counts["committed"] < 10, "they shared a transaction"


async def test_a_commit_that_fails_keeps_nothing_and_each_takes_effect_once_in_the_end(database: Database) -> None:
    shop = Module("shop")

    @shop.on(Happened)
    async def bill(ctx: Any, event: Happened) -> None:
        await ctx.record(event.thing, event.number)

    class Breaking(SimpleTransaction):
        async def commit(self, settle: Settle) -> None:
            if self._shared and world.observer.counts["parted"] == 0:
                await settle(self.session)
                raise ConnectionResetError("gone just before the commit")
            await super().commit(settle)

    class Runner(SimpleRunner):
        broken = False

        def transaction(self, *, shared: bool) -> SimpleTransaction:
            return (Breaking if self.broken else SimpleTransaction)(self._database, shared)

    world, runner = World(database, shop), Runner(database)
    await world.create()
    async with warm(world, runner) as dispatcher:
        runner.broken = True
        await world.emit(*(Happened(thing=f"t{n}", number=n) for n in range(10)))
        dispatcher.wake()
        await drained(world)
    assert sorted(await cold(world)) == [(f"t{n}", n) for n in range(10)]
    assert world.observer.counts["parted"] == 1


async def test_of_a_shared_transaction_whose_leases_ended_nothing_is_kept(database: Database) -> None:
    shop = Module("shop")
    entered, finish = asyncio.Event(), asyncio.Event()

    @shop.on(Happened)
    async def bill(ctx: Any, event: Happened) -> None:
        if event.number == 0 and not entered.is_set():
            entered.set()
            await finish.wait()
        await ctx.record(event.thing, event.number)

    class Late(SimpleTransaction):
        async def begin(self, *args: Any) -> None:
            await super().begin(*args)
            if self._shared and world.observer.counts["stalled"]:
                await self.session.rollback()  # so that the other one can write meanwhile
                entered.set()
                await finish.wait()

    class Runner(SimpleRunner):
        def transaction(self, *, shared: bool) -> SimpleTransaction:
            return Late(self._database, shared)

    world, other = World(database, shop), World(database, shop)
    other.clock.ahead = timedelta(hours=1)
    await world.create()
    async with warm(world, Runner(database)) as dispatcher:
        world.observer.counts["stalled"] = 1
        await world.emit(*(Happened(thing=f"t{n}", number=n + 1) for n in range(10)))
        dispatcher.wake()
        await entered.wait()
        async with other.dispatching():
            await drained(world)
        finish.set()

        async def parted() -> bool:
            return world.observer.counts["parted"] >= 1

        await until(parted)
    assert sorted(await cold(world)) == sorted((f"t{n}", n + 1) for n in range(10))


async def test_processes_that_are_killed_inside_shared_transactions_leave_each_effect_once(
    url: str, database: Database, tmp_path: Path
) -> None:
    world = World(database, child.shop)
    await world.create()
    await world.emit(*(Happened(thing=f"t{n % 50}", number=n) for n in range(600)))
    for _ in range(2):
        victim = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "tests.messaging.contract.child", url, str(tmp_path), "crash"),
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            assert victim.stdout is not None
            assert await victim.stdout.readline() == b"inside a shared one\n"
        finally:
            victim.kill()
            await victim.communicate()
    before = await world.effects()
    assert 0 < len(before) < 600
    world.clock.ahead = timedelta(hours=1)  # the leases of the dead end
    async with world.dispatching():
        await drained(world)
    order: dict[str, list[int]] = defaultdict(list)
    for _, thing, number in await world.effects():
        order[thing].append(number)
    assert order == {f"t{rest}": list(range(rest, 600, 50)) for rest in range(50)}
    assert world.observer.counts["buried"] == 0
