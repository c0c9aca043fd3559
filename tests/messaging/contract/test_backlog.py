"""What each subscriber has before it, as figures and as metrics."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from tests.messaging.contract.world import Faulty, Happened, Other, World
from tests.waiting import until
from trivet.core.module import Module
from trivet.data.database import Database
from trivet.messaging.backlog import Backlog, Counter, backlog
from trivet.messaging.metrics import BacklogMetrics
from trivet.messaging.retry import RetryPolicy
from trivet.telemetry.metrics import Registry, merge, render


def application() -> Module:
    shop = Module("shop")

    @shop.on(Happened)
    async def bill(ctx: Any, event: Happened) -> None:
        raise ValueError

    @shop.on(Other)
    async def note(ctx: Any, event: Other) -> None: ...

    return shop


def lines(metrics: Registry) -> list[str]:
    text = render(merge([("0", metrics.snapshot())]))
    return [line for line in text.splitlines() if line.startswith("trivet_outbox")]


async def test_the_backlog_is_counted_by_subscriber_and_state(database: Database) -> None:
    world = World(database, application())
    await world.create()
    await world.emit(Happened(thing="a"), Happened(thing="a"), Other(thing="b"))
    session = database.session(write=False)
    [bill, note] = await backlog(session)
    assert bill.oldest is not None
    assert note.oldest is not None
    assert bill.oldest <= note.oldest <= world.clock.now()
    assert (bill, note) == (
        Backlog(subscriber="shop.bill", waiting=2, oldest=bill.oldest),
        Backlog(subscriber="shop.note", waiting=1, oldest=note.oldest),
    )

    async def retried() -> bool:
        return world.observer.counts["retried"] > 0

    async with world.dispatching(retry=RetryPolicy(first=3600, longest=3600)):
        await until(retried)
    [bill] = await backlog(session)
    assert (bill.waiting, bill.retrying, bill.dead) == (1, 1, 0)


async def test_the_metrics_say_how_much_waits_for_how_long_and_what_was_given_up(database: Database) -> None:
    world = World(database, application())
    await world.create()
    metrics = Registry()
    counter = Counter([database], world.clock, BacklogMetrics(metrics, world.subscribers.ids))
    await counter.count()
    assert 'trivet_outbox_deliveries{subscriber="shop.bill",state="dead",worker="0"} 0' in lines(metrics)

    await world.emit(Happened(thing="a"))
    world.clock.ahead = timedelta(hours=1)
    await counter.count()
    assert 'trivet_outbox_deliveries{subscriber="shop.bill",state="waiting",worker="0"} 1' in lines(metrics)
    [age] = [float(line.split()[-1]) for line in lines(metrics) if 'oldest_seconds{subscriber="shop.bill"' in line]
    assert 3600 <= age < 7200

    async def buried() -> bool:
        return world.observer.counts["buried"] > 0

    async with world.dispatching(retry=RetryPolicy(attempts_max=1)):
        await until(buried)
    await counter.count()
    assert 'trivet_outbox_deliveries{subscriber="shop.bill",state="dead",worker="0"} 1' in lines(metrics)
    assert 'trivet_outbox_deliveries{subscriber="shop.bill",state="waiting",worker="0"} 0' in lines(metrics)
    assert 'trivet_outbox_oldest_seconds{subscriber="shop.bill",worker="0"} 0' in lines(metrics)


class Counted:
    """Knows when it was told."""

    def __init__(self) -> None:
        self.told = asyncio.Event()

    def backlog(self, found: Sequence[Backlog], now: datetime) -> None:
        self.told.set()


async def test_what_nobody_foresaw_is_told_once_and_counting_goes_on(database: Database) -> None:
    await World(database, application()).create()
    watcher, troubles = Counted(), list[Exception]()
    counting = asyncio.create_task(Counter([database], Faulty(3), watcher, troubles.append).run(every=0.01))
    async with asyncio.timeout(10):
        await watcher.told.wait()
    counting.cancel()
    assert [str(error) for error in troubles] == ["out of time"]
