"""The backlog: what is still to be delivered, and what was given up, for each subscriber."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from functools import cache
from itertools import chain
from typing import TYPE_CHECKING, Any, Protocol

from trivet.core.clock import Clock
from trivet.core.error import Error
from trivet.core.shape import Struct
from trivet.data.database import Database, Session
from trivet.messaging.tables import instant, tables
from trivet.messaging.trouble import Trouble

if TYPE_CHECKING:
    from trivet.data.statement import Statement

EVERY_SECONDS = 15.0

SHARE = 20
"""Of the time of one connection, counting takes at most this part: what takes long is done less often."""


class Backlog(Struct):
    """What one subscriber has before it.

    Attributes:
        subscriber: The handler or operation.
        waiting: Deliveries that no attempt has failed for.
        retrying: Deliveries that failed and are tried again; each that is being handled just now is in one of the two.
        dead: Dead letters.
        oldest: When the oldest message was emitted that is not delivered, dead letters not counted.
    """

    subscriber: str
    waiting: int = 0
    retrying: int = 0
    dead: int = 0
    oldest: datetime | None = None


class Watcher(Protocol):
    """Is told what the backlog is; must return quickly and never raise."""

    def backlog(self, found: Sequence[Backlog], now: datetime) -> None:
        """This is what each subscriber has before it that has anything."""


async def backlog(session: Session) -> Sequence[Backlog]:
    """Return what each subscriber has before it, by name; those that have nothing are left out."""
    return [
        Backlog(
            subscriber=subscriber,
            waiting=waiting,
            retrying=retrying,
            dead=dead,
            oldest=None if oldest is None else instant(oldest),
        )
        for subscriber, waiting, retrying, dead, oldest in await session.fetch(_statement(), ())
    ]


class Counter:
    """Counts the backlog every quarter of a minute, or less often where counting takes long.

    Args:
        databases: The store; several where tables are sharded.
        clock: Time.
        watcher: Is told.
        troubled: Told, once while it stays the same, what nobody foresaw; counting goes on.
    """

    def __init__(
        self,
        databases: Sequence[Database],
        clock: Clock,
        watcher: Watcher,
        troubled: Callable[[Exception], None] = lambda error: None,
    ) -> None:
        self._databases = databases
        self._clock = clock
        self._watcher = watcher
        self._trouble = Trouble(troubled)

    async def run(self, every: float = EVERY_SECONDS) -> None:
        """Count every so many seconds until cancelled; what fails is tried again at the next turn."""
        while True:
            began = self._clock.monotonic()
            with self._trouble:
                await self.count()
            await asyncio.sleep(max(every, SHARE * (self._clock.monotonic() - began)))

    async def count(self) -> None:
        """Count once, what databases have that can be asked; where none can, nobody is told anything."""
        found: list[Sequence[Backlog]] = []
        for database in self._databases:
            session = database.session(write=False, reads="primary")
            with suppress(Error):  # of which the dispatcher, which asks the same store, speaks in the log
                try:
                    found.append(await backlog(session))
                finally:
                    await session.close()
        if found:
            self._watcher.backlog(together(list(chain.from_iterable(found))), self._clock.now())


def together(found: Sequence[Backlog]) -> Sequence[Backlog]:
    """Return one for each subscriber, of those that several databases have."""
    by_name: dict[str, Backlog] = {}
    for each in found:
        other = by_name.get(each.subscriber, Backlog(subscriber=each.subscriber))
        ages = [oldest for oldest in (each.oldest, other.oldest) if oldest is not None]
        by_name[each.subscriber] = Backlog(
            subscriber=each.subscriber,
            waiting=each.waiting + other.waiting,
            retrying=each.retrying + other.retrying,
            dead=each.dead + other.dead,
            oldest=min(ages, default=None),
        )
    return list(by_name.values())


@cache
def _statement() -> Statement:
    import sqlalchemy as sa

    from trivet.data.statement import Statement

    outbox, delivery = tables().outbox, tables().delivery
    d = delivery.c
    zero: sa.ColumnElement[int] = sa.literal_column("0")
    one: sa.ColumnElement[int] = sa.literal_column("1")
    alive = d.dead_time.is_(None)
    untried = sa.or_(d.attempts == zero, sa.and_(d.attempts == one, d.lease.is_not(None)))

    def count(*conditions: Any) -> sa.ColumnElement[int]:
        return sa.func.sum(sa.case((sa.and_(*conditions), one), else_=zero))

    counted = (
        sa.select(
            d.subscriber,
            count(alive, untried).label("waiting"),
            count(alive, sa.not_(untried)).label("retrying"),
            count(sa.not_(alive)).label("dead"),
            sa.func.min(sa.case((alive, d.position))).label("oldest"),
        )
        .group_by(d.subscriber)
        .subquery("counted")
    )
    c = counted.c
    return Statement(
        sa.select(c.subscriber, c.waiting, c.retrying, c.dead, outbox.c.create_time)
        .outerjoin_from(counted, outbox, outbox.c.position == c.oldest)
        .order_by(c.subscriber),
        (),
    )
