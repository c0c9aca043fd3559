"""How old read models are, as a process finds out again and again."""

from __future__ import annotations

import asyncio

from tests.messaging.contract.world import Faulty, World
from trivet.data.database import Database
from trivet.messaging.freshness import Freshness


class Seen:
    """Knows when it was told."""

    def __init__(self) -> None:
        self.told = asyncio.Event()

    def age(self, view: str, seconds: float) -> None:
        self.told.set()


async def test_what_nobody_foresaw_is_told_once_and_looking_goes_on(database: Database) -> None:
    await World(database).create()
    watcher, troubles = Seen(), list[Exception]()
    freshness = Freshness({"shop.bills": ["shop.bill"]}, (), Faulty(6), watcher, troubled=troubles.append)
    looking = asyncio.create_task(freshness.run([database], every=0.01))
    async with asyncio.timeout(10):
        await watcher.told.wait()
    looking.cancel()
    assert [str(error) for error in troubles] == ["out of time"]
