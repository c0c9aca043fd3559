"""A process of its own that delivers: ``python -m tests.messaging.contract.child URL DIRECTORY MODE``.

``die``: writes its effect, says so, and waits to be killed. ``crash``: delivers, until the third handler of a shared
transaction says so and waits to be killed. ``share``: does not begin before a second process has
something to do as well, then delivers until nothing is left.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path
from typing import Any

from tests.messaging.contract.world import Happened, SimpleRunner, SimpleTransaction, World, drained
from tests.waiting import until
from trivet.core.module import Module
from trivet.data.catalog import open_database
from trivet.data.database import Database
from trivet.messaging.hands import Sharing

shop = Module("shop")
crashing: dict[str, bool] = {}


@shop.on(Happened)
async def bill(ctx: Any, event: Happened) -> None:
    await ctx.record(event.thing, event.number)
    if crashing:
        print("inside", flush=True)
        await asyncio.Event().wait()


class Crashing(SimpleRunner):
    """Stands still inside of a shared transaction, together with the whole process."""

    def transaction(self, *, shared: bool) -> SimpleTransaction:
        return Third(self._database, shared)


class Third(SimpleTransaction):
    """Stands still in its third handler."""

    count = 0

    async def handle(self, *args: Any) -> None:
        await super().handle(*args)
        self.count += 1
        if self.count == 3:
            print("inside a shared one", flush=True)
            time.sleep(600)


class Together(SimpleRunner):
    """Runs the first handler only when another process has begun its first one as well."""

    def __init__(self, database: Database, directory: Path) -> None:
        super().__init__(database)
        self._directory = directory

    def transaction(self, *, shared: bool) -> SimpleTransaction:
        return Waiting(self._database, shared, self._directory)


class Waiting(SimpleTransaction):
    """Waits, before it handles anything, for the other process."""

    def __init__(self, database: Database, shared: bool, directory: Path) -> None:
        super().__init__(database, shared)
        self._directory = directory

    async def handle(self, *args: Any) -> None:
        (self._directory / f"{os.getpid()}.here").touch()

        async def both_here() -> bool:
            return len(list(self._directory.glob("*.here"))) == 2

        await until(both_here)
        await super().handle(*args)


async def main(url: str, directory: Path, mode: str) -> None:
    database = open_database(url)
    await database.open()
    world = World(database, shop)
    if mode == "die":
        crashing["now"] = True
        async with world.dispatching():
            await asyncio.Event().wait()
    if mode == "crash":
        async with world.dispatching(Crashing(database), sharing=Sharing(seconds=60, patience=60)):
            await asyncio.Event().wait()
    async with world.dispatching(Together(database, directory), concurrency=2):
        await drained(world)
    print(world.observer.counts["delivered"], flush=True)
    await database.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), sys.argv[3]))
