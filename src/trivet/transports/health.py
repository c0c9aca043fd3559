"""Whether the process is alive (no dependency is asked) and ready (what serving needs answers)."""

from __future__ import annotations

import asyncio

from trivet.core.error import Unavailable
from trivet.runtime import Runtime

PING_AGE_SECONDS = 1.0
"""How long the answer of the database is believed."""

PING_SECONDS = 2.0
"""How long the database may take to answer."""


class Health:
    """Answers orchestrators and load balancers.

    Args:
        runtime: What is open while the process runs.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._asked_at = float("-inf")
        self._reachable = False
        self._asking = asyncio.Lock()

    async def waiting_for(self) -> tuple[str, ...]:
        """Return what keeps the process from serving; nothing when it is ready."""
        runtime = self._runtime
        if runtime.draining:
            return ("draining",)
        if not runtime.ready:
            return ("start",)
        return () if await self._database() else ("database",)

    def forget(self) -> None:
        """Ask the database again the next time."""
        self._asked_at = float("-inf")

    async def _database(self) -> bool:
        database = self._runtime.database
        if database is None:
            return True
        async with self._asking:
            if self._runtime.clock.monotonic() - self._asked_at >= PING_AGE_SECONDS:
                try:
                    async with asyncio.timeout(PING_SECONDS):
                        await database.ping()
                    self._reachable = True
                except (Unavailable, TimeoutError):
                    self._reachable = False
                self._asked_at = self._runtime.clock.monotonic()
        return self._reachable
