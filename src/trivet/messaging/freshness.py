"""How old the rows of read models are: since when their subscribers have an event before them, or they were made.

Each process looks once a second, or less often where looking takes long, and remembers the instant up to which
everything that was committed is in the view: that of the oldest event which is not, or else that of the look itself.
What a replica shows is as old as the replica, and so is what a look says of it: the last one that was over by then.
A dead letter counts: the view lacks what it says, until it is replayed or the view is rebuilt.

Where tables are sharded, each database has such an instant, and the earliest of them is the view's. One that can not be
asked keeps the instant of the last look at it, so the view gets older until it can.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Protocol

from trivet.core.clock import Clock
from trivet.core.error import Error
from trivet.core.shape import Struct
from trivet.data.database import Database
from trivet.data.refreshed import refreshed
from trivet.messaging.deliveries import quoted
from trivet.messaging.tables import instant, tables
from trivet.messaging.trouble import Trouble

if TYPE_CHECKING:
    from trivet.data.statement import Statement

EVERY_SECONDS = 1.0

SHARE = 20
"""Of the time of one connection, looking takes at most this part."""


class Watcher(Protocol):
    """Is told how old each view is; must return quickly and never raise."""

    def age(self, view: str, seconds: float) -> None:
        """This is how old the rows of a view are just now."""


class _Look(Struct):
    """What was seen of a view.

    Attributes:
        over: When the look was over.
        complete: Everything that was committed until then was in the view.
    """

    over: datetime
    complete: datetime


class Freshness:
    """Knows since when each view may lack something.

    Args:
        views: The subscribers of each view that an app has, by its name.
        scheduled: Those that are made anew every so often.
        clock: Time.
        watcher: Is told.
        keep: Seconds for which looks are remembered: as far as replicas may be behind.
        troubled: Told, once while it stays the same, what nobody foresaw; looking goes on.
    """

    def __init__(
        self,
        views: Mapping[str, Sequence[str]],
        scheduled: Collection[str],
        clock: Clock,
        watcher: Watcher,
        keep: float = 0.0,
        troubled: Callable[[Exception], None] = lambda error: None,
    ) -> None:
        self.views = dict(views)
        self._scheduled = scheduled
        self._clock = clock
        self._watcher = watcher
        self._complete: dict[str, dict[Database, datetime]] = {view: {} for view in views}
        self._databases: Sequence[Database] = ()
        self._keep = timedelta(seconds=keep)
        self._trouble = Trouble(troubled)
        self._looks: dict[str, deque[_Look]] = {view: deque() for view in views}
        self._subscribers = tuple(sorted({each for subscribers in views.values() for each in subscribers}))

    def age(self, view: str, behind: float = 0.0) -> float | None:
        """Return for at most how many seconds a view has lacked anything; ``None`` where that is not known.

        It is what was seen at the last look, grown by the time since.

        Args:
            view: Which one.
            behind: Seconds by which the copy that is read is behind its primary, at most.
        """
        now = self._clock.now()
        since = self._since_behind(view, now, behind) if behind else self._since(view)
        return None if since is None else max(0.0, (now - since).total_seconds())

    async def run(self, databases: Sequence[Database], every: float = EVERY_SECONDS) -> None:
        """Look until cancelled; what fails is tried again at the next turn.

        Args:
            databases: Those that events wait in; the first has the views.
            every: Seconds between two looks, at least.
        """
        while True:
            began = self._clock.monotonic()
            # of what is an Error the dispatcher, which asks the same store, speaks in the log
            with self._trouble, suppress(Error):
                await self.look(databases)
            await asyncio.sleep(max(every, SHARE * (self._clock.monotonic() - began)))

    async def look(self, databases: Sequence[Database]) -> dict[str, float]:
        """Look once, and return for how many seconds each view has lacked something.

        Raises:
            Error: A database can not be asked; what the others say is known.
        """
        self._databases = databases
        looks = [self._look(database, has_views=database is databases[0]) for database in databases]
        outcomes = await asyncio.gather(*looks, return_exceptions=True)
        failed = next((each for each in outcomes if isinstance(each, BaseException)), None)
        lacking = {view for each in outcomes if not isinstance(each, BaseException) for view in each}
        now = self._clock.now()
        found: dict[str, float] = {}
        for view in self.views:
            since = self._since(view)
            if since is not None:
                old = failed is not None or view in lacking
                found[view] = max(0.0, (now - since).total_seconds()) if old else 0.0
                self._watcher.age(view, found[view])
                self._remember(view, _Look(over=now, complete=since))
        if failed is not None:
            raise failed
        return found

    async def _look(self, database: Database, *, has_views: bool) -> set[str]:
        """Look at one database, and return the views that lack something that is there."""
        began = self._clock.now()
        session = database.session(write=False, reads="primary")
        try:
            made = await refreshed(session) if self._scheduled and has_views else {}
            oldest: dict[str, int] = (
                dict(await session.fetch(_oldest(self._subscribers), ())) if self._subscribers else {}
            )
        finally:
            await session.close()
        lacking = {view: at for view, at in made.items() if view in self._scheduled}
        for view, subscribers in self.views.items():
            waiting = [instant(oldest[each]) for each in subscribers if each in oldest]
            if waiting:
                lacking[view] = min(waiting)
            if view in lacking or view not in self._scheduled:
                self._complete[view][database] = lacking.get(view, began)
        return set(lacking)

    def _since(self, view: str) -> datetime | None:
        """Return up to which instant everything is in a view, ``None`` where a database was never looked at."""
        known = self._complete[view]
        wanted = self._databases[:1] if view in self._scheduled else self._databases
        if not wanted or not all(database in known for database in wanted):
            return None
        return min(known.values())

    def _since_behind(self, view: str, now: datetime, behind: float) -> datetime | None:
        """Return the same for a copy of the first database that is so many seconds behind."""
        if math.isinf(behind):
            return None
        shown = now - timedelta(seconds=behind)
        return next((look.complete for look in reversed(self._looks[view]) if look.over <= shown), None)

    def _remember(self, view: str, look: _Look) -> None:
        looks = self._looks[view]
        looks.append(look)
        while len(looks) > 1 and looks[1].over <= look.over - self._keep:
            looks.popleft()


@cache
def _oldest(subscribers: tuple[str, ...]) -> Statement:
    """Return what finds when the oldest event came about that each of them has before it, dead letters included."""
    import sqlalchemy as sa

    from trivet.data.statement import Statement

    outbox, delivery = tables().outbox, tables().delivery
    d = delivery.c
    first = (
        sa.select(d.subscriber, sa.func.min(d.position).label("position"))
        .where(d.subscriber.in_([sa.literal_column(quoted(each)) for each in subscribers]))
        .group_by(d.subscriber)
        .subquery("first")
    )
    return Statement(
        sa.select(first.c.subscriber, outbox.c.create_time).join_from(
            first, outbox, outbox.c.position == first.c.position
        ),
        (),
    )
