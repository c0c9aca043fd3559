"""What holds when there are several processes, and when one of them dies."""

from __future__ import annotations

import asyncio
import sys
from collections import defaultdict
from datetime import timedelta
from pathlib import Path

from tests.messaging.contract import child
from tests.messaging.contract.world import Happened, World, drained
from trivet.data.database import Database


async def start(url: str, directory: Path, mode: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.messaging.contract.child", url, str(directory), mode),
        stdout=asyncio.subprocess.PIPE,
    )


async def test_a_process_killed_inside_a_handler_leaves_exactly_one_effect(
    url: str, database: Database, tmp_path: Path
) -> None:
    world = World(database, child.shop)
    await world.create()
    await world.emit(Happened(thing="a", number=1), Happened(thing="a", number=2))
    victim = await start(url, tmp_path, "die")
    try:
        assert victim.stdout is not None
        assert await victim.stdout.readline() == b"inside\n"
    finally:
        victim.kill()
        await victim.communicate()
    assert await world.effects() == []
    world.clock.ahead = timedelta(hours=1)  # the lease of the dead ends
    async with world.dispatching():
        await drained(world)
    assert await world.effects() == [("shop.bill", "a", 1), ("shop.bill", "a", 2)]


async def test_two_processes_share_the_work_in_order(url: str, database: Database, tmp_path: Path) -> None:
    world = World(database, child.shop)
    await world.create()
    await world.emit(*(Happened(thing=f"t{n % 10}", number=n) for n in range(200)))
    pair = [await start(url, tmp_path, "share") for _ in range(2)]
    counts = [int((await process.communicate())[0]) for process in pair]
    assert sum(counts) == 200
    assert min(counts) > 0
    order: dict[str, list[int]] = defaultdict(list)
    for _, thing, number in await world.effects():
        order[thing].append(number)
    assert order == {f"t{rest}": list(range(rest, 200, 10)) for rest in range(10)}
