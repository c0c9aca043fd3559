"""Removes what nobody needs any more: delivered messages, ended jobs, deliveries that no version handles."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING
from uuid import UUID

from trivet.core.clock import Clock
from trivet.core.error import Unavailable
from trivet.core.shape import Struct
from trivet.data import keys
from trivet.data.database import Database, Session
from trivet.data.sharding.tables import statements as handled
from trivet.messaging import jobs
from trivet.messaging.brief import briefly
from trivet.messaging.deliveries import quoted
from trivet.messaging.jobs import JobAbandoned
from trivet.messaging.tables import OUTBOX, micros, tables

if TYPE_CHECKING:
    from trivet.data.postgresql.partitions import Partitions
    from trivet.data.statement import Statement

RETENTION = timedelta(days=7)
"""How long a message is kept after it was emitted, and a job after it ended; where messages go by the day, up to a day
longer."""

BATCH = 500
"""How many messages are looked at between two chances for other writers."""

EVERY_SECONDS = 600.0

ABANDONED = "nobody handled it: no running version has a handler of this name"


class Pruner:
    """Prunes once in ten minutes, in small transactions.

    Messages that a subscriber has not handled, and dead letters, stay however old they are. A delivery that waited all
    the time for a handler that this process does not have becomes a dead letter; a job fails with it.

    On PostgreSQL the messages of a day are dropped together by whoever owns their table; others remove them one by one.

    Args:
        database: The store.
        subscribers: The ids that this process knows.
        clock: Time.
        retention: How long to keep things.
        inbox: Whether there is an inbox.
        warn: Told once why messages are removed one by one where they could be dropped together.
        troubled: Told each time what nobody foresaw; pruning goes on.
    """

    def __init__(
        self,
        database: Database,
        subscribers: Sequence[str],
        clock: Clock,
        retention: timedelta = RETENTION,
        *,
        inbox: bool = False,
        warn: Callable[[str], None] = lambda why: None,
        troubled: Callable[[Exception], None] = lambda error: None,
    ) -> None:
        self._database = database
        self._sql = _statements(tuple(subscribers))
        self._clock = clock
        self._retention = retention
        self._inbox = inbox
        self._warn: Callable[[str], None] | None = warn
        self._troubled = troubled

    async def run(self, every: float = EVERY_SECONDS) -> None:
        """Prune every so many seconds until cancelled; what fails is tried again at the next turn."""
        while True:
            await asyncio.sleep(every)
            try:
                await self.prune()
            except Unavailable:
                continue  # of which the dispatcher, which asks the same store, speaks in the log
            except Exception as error:  # told, and pruning goes on at the next turn
                self._troubled(error)

    async def prune(self) -> None:
        """Remove what is too old."""
        before = self._clock.now() - self._retention
        await briefly(self._database, partial(self._tidy, before))
        if not await self._by_the_day(before):
            await self._one_by_one(before)

    async def _by_the_day(self, before: datetime) -> bool:
        """Drop the partitions that are old enough, and return whether there is nothing left to remove."""
        if self._database.dialect != "postgresql":
            return False
        obstacle = await _partitions(self._database).turn(self._clock.now(), before)
        if obstacle is not None and self._warn is not None:
            self._warn(f"{self._database}: old messages are removed one by one: {obstacle}")
            self._warn = None
        return obstacle is None

    async def _one_by_one(self, before: datetime) -> None:
        after = 0
        while (upto := await self._old(after, before)) is not None:
            await briefly(self._database, partial(self._remove, after, upto))
            after = upto

    async def _tidy(self, before: datetime, session: Session) -> None:
        await jobs.prune(session, before)
        await keys.prune(session, self._clock.now())
        if self._inbox:
            await session.execute(handled().prune, (micros(before),))
        await self._abandon(before, session)

    async def _abandon(self, before: datetime, session: Session) -> None:
        now = self._clock.now()
        values = (micros(now), ABANDONED, micros(before))
        for (id,) in await session.fetch(self._sql.abandon_jobs, values):
            await jobs.fail(session, UUID(id), JobAbandoned(), now)
        await session.execute(self._sql.abandon, values)

    async def _remove(self, after: int, upto: int, session: Session) -> None:
        await session.execute(self._sql.remove, (after, upto))

    async def _old(self, after: int, before: datetime) -> int | None:
        """Return the last position of the next batch that is old enough."""
        session = self._database.session(write=False, reads="primary")
        try:
            rows = await session.fetch(self._sql.ages, (after,))
        finally:
            await session.close()
        limit = micros(before)
        return max((position for position, time in rows if time < limit), default=None)


def _partitions(database: Database) -> Partitions:
    from trivet.data.postgresql.partitions import Partitions

    return Partitions(database, OUTBOX)


class _Statements(Struct):
    ages: Statement
    remove: Statement
    abandon: Statement
    abandon_jobs: Statement


def _statements(subscribers: tuple[str, ...]) -> _Statements:
    import sqlalchemy as sa

    from trivet.data.statement import Statement

    outbox, delivery, job = tables().all
    o, d = outbox.c, delivery.c
    abandon = (
        sa.update(delivery)
        .values(dead_time=sa.bindparam("now"), last_error=sa.bindparam("why"))
        .where(
            d.dead_time.is_(None),
            d.due < sa.bindparam("before"),
            *(d.subscriber != sa.literal_column(quoted(s)) for s in subscribers),
        )
    )
    abandoning = ("now", "why", "before")
    of_a_job = sa.exists().where(job.c.id == d.aggregate, job.c.operation == d.subscriber)
    window = (o.position > sa.bindparam("after"), o.position <= sa.bindparam("upto"))
    return _Statements(
        ages=Statement(
            sa.select(o.position, o.create_time)
            .where(o.position > sa.bindparam("after"))
            .order_by(o.position)
            .limit(BATCH),
            ("after",),
        ),
        remove=Statement(
            sa.delete(outbox).where(*window, o.position.not_in(sa.select(delivery.c.position))), ("after", "upto")
        ),
        abandon=Statement(abandon, abandoning),
        abandon_jobs=Statement(abandon.where(of_a_job).returning(d.aggregate), abandoning),
    )
