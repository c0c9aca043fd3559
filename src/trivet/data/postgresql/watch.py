"""Looking at a server: what it is, and how far it has come.

One connection of its own, one statement at a time. Whoever wants to know where the server stands waits for a look that
begins after that, and everybody who waits shares it; so what a look costs is divided by how many want one. When nobody
does, it looks a few times a second, and finds out soon that a server is gone or says nothing any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import asyncpg

from trivet.core.backoff import full_jitter
from trivet.core.shape import Struct
from trivet.data.database import DatabaseUnavailable
from trivet.data.postgresql.errors import BROKEN

LOOK_SECONDS = 0.25
"""How often it looks when nobody asks."""

SILENT_SECONDS = 1.0
"""A server that takes longer to say where it stands is as good as gone."""

FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 1.0

LOOK = """
SELECT
    standby,
    CASE
        WHEN standby THEN pg_last_wal_replay_lsn()
        WHEN current_setting('synchronous_commit') = 'off' THEN pg_current_wal_insert_lsn()
        ELSE pg_current_wal_flush_lsn()
    END,
    CASE WHEN standby THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END,
    CASE
        WHEN standby THEN greatest(
            (SELECT timeline_id FROM pg_control_checkpoint()),
            (SELECT min_recovery_end_timeline FROM pg_control_recovery()),
            (SELECT received_tli FROM pg_stat_wal_receiver)
        )
        ELSE ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::integer
    END,
    (SELECT system_identifier FROM pg_control_system()),
    (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint
FROM (SELECT pg_is_in_recovery() AS standby) AS role
"""
"""Of a standby the timeline is that of its newest restart point or of what it receives, whatever this user may see: it
may be too low for a while after a promotion, never too high."""


class Sight(Struct):
    """What a look showed.

    Attributes:
        standby: Whether the server replays what another one writes.
        position: Up to here everything that was committed is there; as far as a standby has replayed.
        end: What was written by then ends here, whether it is safe on disk yet or not.
        timeline: Of its history.
        system: Identifies the cluster that it is or was copied from.
        started: When the server started, as a number that tells this start from others.
        at: When the look began, on the clock of the event loop.
    """

    standby: bool
    position: int
    end: int
    timeline: int
    system: int
    started: int
    at: float


async def look(driver: asyncpg.Connection) -> Sight:
    """Return where the server at the other end stands."""
    at = asyncio.get_running_loop().time()
    (row,) = await driver.fetch(LOOK, timeout=SILENT_SECONDS)
    standby, position, end, timeline, system, started = row
    return Sight(
        standby=standby,
        position=position or 0,
        end=end or 0,
        timeline=timeline,
        system=system,
        started=started,
        at=at,
    )


class Watch:
    """Watches one server.

    Args:
        connect: Opens a connection; raises `DatabaseUnavailable`.
        seen: Told what each look showed.
        lost: Told why there is none any more.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[asyncpg.Connection]],
        seen: Callable[[Sight], None],
        lost: Callable[[str], None],
    ) -> None:
        self._connect = connect
        self._seen = seen
        self._lost = lost
        self._asked = asyncio.Event()
        self._waiting: list[asyncio.Future[Sight]] = []
        self._task = asyncio.get_running_loop().create_task(self._run(), name="trivet-watch")

    async def ask(self, seconds: float) -> Sight | None:
        """Return what a look shows that begins after this call, or ``None`` when there is none in time."""
        waiter: asyncio.Future[Sight] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        self._asked.set()
        try:
            async with asyncio.timeout(seconds):
                return await waiter
        except TimeoutError:
            return None

    async def close(self) -> None:
        """Stop watching."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        failures = 0
        while True:
            try:
                async with asyncio.timeout(SILENT_SECONDS):
                    driver = await self._connect()
                try:
                    while True:
                        await self._look(driver)
                        failures = 0
                        await self._rest()
                finally:
                    driver.terminate()
            except TimeoutError:
                self._lost(f"it says nothing for {SILENT_SECONDS:g} s")
            except (DatabaseUnavailable, *BROKEN) as error:
                self._lost(str(error.args[0]) if error.args else type(error).__name__)
            failures += 1
            await asyncio.sleep(full_jitter(failures, FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS))

    async def _look(self, driver: asyncpg.Connection) -> None:
        waiting, self._waiting = self._waiting, []
        try:
            sight = await look(driver)
        except BaseException:
            self._waiting = waiting + self._waiting  # the next connection may be in time
            raise
        self._seen(sight)
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(sight)

    async def _rest(self) -> None:
        """Wait until somebody asks, or for as long as one looks away."""
        if not self._waiting:
            self._asked.clear()
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._asked.wait()
            except TimeoutError:
                pass
