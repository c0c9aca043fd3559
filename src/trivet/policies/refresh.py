"""Views that are made anew every so often: by one process at a time, whichever comes first when it is due.

Every process looks. One that finds a view due begins as a rebuild does (`trivet.policies.rebuild`), and looks again as
soon as it has the view for itself: where another one was faster, there is nothing left to do. Nobody holds a lease that
a dead process could keep: what a refresh holds ends with its transaction, and the old rows stay.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from trivet.core.backoff import full_jitter, spread
from trivet.data.database import Contention
from trivet.data.refreshed import refreshed
from trivet.data.view import View
from trivet.policies.rebuild import refresh
from trivet.runtime import Runtime

LOOK_SECONDS = 15.0
"""How long a process sleeps at most: another one may have ended in the middle of a refresh."""

FIRST_SECONDS, LONGEST_SECONDS = 1.0, 300.0
"""The longest pause after the first failure, and after many."""

EARLY = 0.1
"""Each process finds a view due up to this part of its period early, so that they do not all come at once."""


class Refresher:
    """Makes the views anew that are due.

    Args:
        runtime: What is open in this process.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._views: Sequence[View[Any, Any]] = [
            view for module in runtime.modules for view in module.views if view.every is not None
        ]
        self._failures: dict[str, int] = {}
        self._not_before: dict[str, datetime] = {}
        self._task: asyncio.Task[None] | None = None
        self._done = runtime.metrics.counter(
            "trivet_view_refreshes_total", "Refreshes of read models by how they ended.", ["view", "outcome"]
        )
        self._seconds = runtime.metrics.histogram(
            "trivet_view_refresh_seconds", "Time that a refresh of a read model took.", ["view"]
        )

    def start(self) -> None:
        """Begin to look, in the running event loop; an app without such views has nothing to do."""
        if self._views:
            self._task = asyncio.create_task(self._run(), name="trivet-refresher")

    async def stop(self) -> None:
        """Look no more; a refresh that goes on is undone, and made again by another process or later."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            try:
                pause = await self.look()
            except Exception as error:
                self._runtime.log.failure("views can not be looked at, trying again", error)
                pause = LOOK_SECONDS
            await asyncio.sleep(pause)

    async def look(self) -> float:
        """Make anew what is due, one view after the other, and return for how many seconds nothing will be."""
        session = self._runtime.open_database().session(write=False, reads="primary")
        try:
            last = await refreshed(session)
        finally:
            await session.close()
        pause = LOOK_SECONDS
        for view in self._views:
            due = self._due(view, last.get(view.id))
            if due <= self._runtime.clock.now():
                await self._refresh(view)
                due = self._due(view, self._runtime.clock.now())
            pause = min(pause, (due - self._runtime.clock.now()).total_seconds())
        return max(0.01, pause)

    def _due(self, view: View[Any, Any], last: datetime | None) -> datetime:
        """Return when a view is due: a period after it was made, a little earlier, and not soon after a failure."""
        assert view.every is not None
        now = self._runtime.clock.now()
        period = timedelta(seconds=spread(view.every.total_seconds(), EARLY))
        due = now if last is None else last + period
        return max(due, self._not_before.get(view.id, due))

    async def _refresh(self, view: View[Any, Any]) -> None:
        runtime = self._runtime
        assert view.every is not None
        began = runtime.clock.monotonic()
        try:
            done = await refresh(runtime, view, view.every * (1 - EARLY))
        except Contention:  # another process is at it
            self._not_before[view.id] = runtime.clock.now() + timedelta(seconds=full_jitter(1, 1.0, 1.0))
            return
        except Exception as error:
            failures = self._failures[view.id] = self._failures.get(view.id, 0) + 1
            pause = full_jitter(failures, FIRST_SECONDS, LONGEST_SECONDS)
            self._not_before[view.id] = runtime.clock.now() + timedelta(seconds=pause)
            self._done.bind(view.id, "failed").inc()
            runtime.log.failure("a view can not be made anew, trying again", error, view=view.id)
            return
        self._failures.pop(view.id, None)
        self._not_before.pop(view.id, None)
        if done is not None:
            self._done.bind(view.id, "done").inc()
            self._seconds.bind(view.id).observe(runtime.clock.monotonic() - began)
