"""Trivet: the table of the products cases, and an event with one handler, for what happens below the transports."""

from __future__ import annotations

import asyncio

from benchmarks.apps.trivet_products import catalog
from trivet import App, Event, Module, Write

happenings = Module("happenings", owner="benchmarks")


class Happened(Event):
    """Something happened."""

    number: int


class Tally:
    """How many events were handled, and a word when it is enough."""

    def __init__(self) -> None:
        self.handled = 0
        self._wanted = 0
        self._enough: asyncio.Future[None]

    def expect(self, count: int) -> asyncio.Future[None]:
        """Return what is done when that many more were handled."""
        self._wanted = self.handled + count
        self._enough = asyncio.get_running_loop().create_future()
        return self._enough

    def count(self) -> None:
        """Count one."""
        self.handled += 1
        if self.handled == self._wanted:
            self._enough.set_result(None)


tally = Tally()


@happenings.on(Happened)
async def notice(ctx: Write, event: Happened) -> None:
    """Count it."""
    tally.count()


app = App("data", modules=[catalog, happenings])
