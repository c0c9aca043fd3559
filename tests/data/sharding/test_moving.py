"""Shards change nodes while they are written: no write is lost or doubled, none is answered by the old node."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.data.conftest import Store
from tests.data.sharding.nodes import Account, Bank, nodes_of, opened, three, what_moves
from trivet.core.error import Conflict
from trivet.core.sharding import logical_of
from trivet.data.database import Contention, DatabaseUnavailable
from trivet.data.sharding.move import CannotMove, Move, Progress
from trivet.settings import DatabaseSettings

OWNER = "ann"
SHARD = logical_of(OWNER)
NUMBERS = range(4)


class History:
    """What clients did and saw: appends to lists of marks, and reads of them.

    A list holds every mark whose append was acknowledged exactly once, and marks of appends that failed at most once.
    A read sees every mark that was acknowledged before it began, and each list only ever grows at its end.
    """

    def __init__(self) -> None:
        self.acknowledged: dict[int, set[str]] = {number: set() for number in NUMBERS}
        self.attempted: dict[int, set[str]] = {number: set() for number in NUMBERS}
        self.reads: list[tuple[int, frozenset[str], tuple[str, ...]]] = []

    async def grown(self, count: int) -> None:
        """Return once so many appends were acknowledged."""
        while sum(map(len, self.acknowledged.values())) < count:  # noqa: ASYNC110 - every append would set an event
            await asyncio.sleep(0.01)

    def check(self, final: dict[int, tuple[str, ...]]) -> None:
        for number, marks in final.items():
            assert len(marks) == len(set(marks)), "a write was doubled"
            assert self.acknowledged[number] <= set(marks), "a write was lost"
            assert set(marks) <= self.attempted[number]
        for number, before, seen in self.reads:
            assert before <= set(seen), "a read was answered from where the shard no longer was"
            assert final[number][: len(seen)] == seen, "a read saw another history"


async def fill(store: Store, bank: Bank) -> None:
    async with store.writing() as ctx:
        await bank.accounts.insert_many(ctx, [Account(owner=OWNER, number=n, log="", version=1) for n in NUMBERS])


async def writer(store: Store, bank: Bank, history: History, name: str, over: asyncio.Event) -> None:
    chance, count = random.Random(name), 0
    while not over.is_set():
        number = chance.choice(NUMBERS)
        mark = f"{name}.{count}"
        count += 1
        history.attempted[number].add(mark)
        try:
            async with store.writing() as ctx:
                row = await bank.accounts.lock(ctx, (OWNER, number))
                grown = Account(owner=OWNER, number=number, log=f"{row.log}{mark} ", version=row.version)
                await bank.accounts.update(ctx, grown)
        except (Contention, Conflict, DatabaseUnavailable):
            continue
        history.acknowledged[number].add(mark)


async def reader(store: Store, bank: Bank, history: History, over: asyncio.Event) -> None:
    while not over.is_set():
        for number in NUMBERS:
            before = frozenset(history.acknowledged[number])
            try:
                async with store.reading() as ctx:
                    row = await bank.accounts.get(ctx, (OWNER, number))
            except (Contention, DatabaseUnavailable):
                continue
            history.reads.append((number, before, tuple(row.log.split())))


async def test_a_shard_that_moves_under_load_loses_nothing_and_doubles_nothing() -> None:
    bank, history, over = Bank(), History(), asyncio.Event()
    with three() as settings:
        async with (
            opened(settings, bank.module) as one,
            opened(settings, bank.module) as other,
            opened(settings, bank.module) as third,
        ):
            await fill(one, bank)
            clients = [asyncio.create_task(writer(s, bank, history, f"w{n}", over)) for n, s in enumerate((one, other))]
            clients += [asyncio.create_task(reader(s, bank, history, over)) for s in (one, other)]
            where = {nodes_of(one).directory.nodes[SHARD]}
            for target in ("b", "c", "home", "b"):
                written = sum(map(len, history.acknowledged.values()))
                await Move(nodes_of(third).nodes, what_moves(bank.module), SHARD, target).run()
                where.add(target)
                await history.grown(written + 5)  # somebody wrote at the new place
            over.set()
            await asyncio.gather(*clients)
            assert where == {"home", "b", "c"}
            await nodes_of(third).directory.refresh()
            assert nodes_of(third).directory.nodes[SHARD] == "b"
            async with third.reading() as ctx:
                rows = [await bank.accounts.get(ctx, (OWNER, number)) for number in NUMBERS]
            history.check({row.number: tuple(row.log.split()) for row in rows})
            assert history.reads
            assert all(history.acknowledged.values())


async def rows_on(store: Store, node: str) -> int:
    session = nodes_of(store).nodes[node].session(write=False)
    try:
        driver = await session.driver_connection()
        return int(await driver.fetchval("SELECT count(*) FROM bank.accounts WHERE _shard = $1", SHARD))
    finally:
        await session.close()


KILLED = """
import asyncio, os, signal, sys
from tests.data.sharding.nodes import Bank, nodes_of, opened, settings_of, what_moves
from trivet.data.sharding.move import Move

step, shard, target, *urls = sys.argv[1:]

def report(progress):
    if progress.step == step:
        os.kill(os.getpid(), signal.SIGKILL)

async def main():
    bank = Bank()
    async with opened(settings_of(*urls), bank.module) as store:
        await Move(nodes_of(store).nodes, what_moves(bank.module), int(shard), target, report).run()

asyncio.run(main())
"""


def kill_in(step: str, target: str, settings: DatabaseSettings) -> None:
    """Run a mover that kills itself when it comes to a step."""
    urls = [url.reveal() for url in settings.nodes.values()]
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", KILLED, step, str(SHARD), target, *urls], cwd=root, capture_output=True, check=False
    )
    assert done.returncode == -9, done.stderr.decode()


async def moved(store: Store, bank: Bank, target: str) -> bool:
    """Move the shard once the server has noticed that the mover before was killed."""
    while True:
        try:
            return await Move(nodes_of(store).nodes, what_moves(bank.module), SHARD, target).run()
        except CannotMove as cannot:
            if "by another process" not in str(cannot):
                raise
        await asyncio.sleep(0.05)


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_a_mover_that_is_killed_at_any_step_is_followed_by_one_that_goes_on() -> None:
    bank, history, over = Bank(), History(), asyncio.Event()
    with three() as settings:
        async with opened(settings, bank.module) as one, opened(settings, bank.module) as other:
            await fill(one, bank)
            clients = [asyncio.create_task(writer(one, bank, history, "w", over))]
            clients += [asyncio.create_task(reader(other, bank, history, over))]
            start = nodes_of(one).directory.nodes[SHARD]
            targets = [node for node in ("home", "b", "c") if node != start]
            moves = zip(
                ("copying", "fenced", "flipping", "dropping", "serving"), [*targets, start, *targets], strict=True
            )
            for step, target in moves:
                await asyncio.to_thread(kill_in, step, target, settings)
                if step in ("copying", "fenced", "flipping"):
                    elsewhere = next(n for n in ("home", "b", "c") if n != target)
                    with pytest.raises(CannotMove, match="finish that move first"):
                        await moved(other, bank, elsewhere)
                again = await moved(other, bank, target)
                assert again is (step != "serving")
                left = {node: await rows_on(one, node) for node in ("home", "b", "c")}
                assert left == {node: len(NUMBERS) if node == target else 0 for node in left}
            over.set()
            await asyncio.gather(*clients)
            async with other.reading() as ctx:
                rows = [await bank.accounts.get(ctx, (OWNER, number)) for number in NUMBERS]
            history.check({row.number: tuple(row.log.split()) for row in rows})


async def test_a_shard_is_moved_by_one_process_at_a_time() -> None:
    bank = Bank()
    with three() as settings:
        async with opened(settings, bank.module) as one, opened(settings, bank.module) as other:
            await fill(one, bank)
            start = nodes_of(one).directory.nodes[SHARD]
            target = next(node for node in ("home", "b", "c") if node != start)
            refused: list[CannotMove] = []
            second: list[asyncio.Task[bool]] = []

            def report(progress: Progress) -> None:
                if progress.step == "copying" and not second:
                    move = Move(nodes_of(other).nodes, what_moves(bank.module), SHARD, target)
                    second.append(asyncio.ensure_future(move.run()))

            assert await Move(nodes_of(one).nodes, what_moves(bank.module), SHARD, target, report).run()
            try:
                again = await second[0]
            except CannotMove as error:
                refused.append(error)
            else:
                assert not again  # it came after the first had ended
            assert await rows_on(one, target) == len(NUMBERS)


async def test_a_stale_worker_is_refused_by_the_node_that_gave_a_shard_up() -> None:
    bank = Bank()
    with three() as settings:
        async with opened(settings, bank.module) as stale, opened(settings, bank.module) as mover:
            await fill(stale, bank)
            old = nodes_of(stale).directory.nodes[SHARD]
            target = next(node for node in ("home", "b", "c") if node != old)
            await Move(nodes_of(mover).nodes, what_moves(bank.module), SHARD, target).run()
            assert nodes_of(stale).directory.nodes[SHARD] == old
            async with stale.writing() as ctx:
                await bank.accounts.update(ctx, Account(owner=OWNER, number=0, log="new", version=1))
            assert nodes_of(stale).directory.nodes[SHARD] == target
            async with mover.reading() as ctx:
                assert (await bank.accounts.get(ctx, (OWNER, 0))).log == "new"
            assert await rows_on(stale, old) == 0
