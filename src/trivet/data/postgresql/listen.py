"""Waking other processes: LISTEN and NOTIFY on a connection of its own.

Nobody relies on it: what is not heard is found by the next look. So a lost connection is no error, and nothing is said
inside of the transactions that there is something to say about: NOTIFY in a transaction makes every commit wait for one
lock of the whole server. It is said after the commit, once for however many commits happened meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import asyncpg

from trivet.core.backoff import full_jitter
from trivet.data.database import DatabaseUnavailable
from trivet.data.postgresql.errors import BROKEN

CHANNEL = "trivet"
GATHER_SECONDS = 0.005
"""How long commits are gathered before they are made known."""

FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 5.0


class Listener:
    """Listens for other processes, and speaks to them.

    Args:
        connect: Opens a connection; raises `DatabaseUnavailable`.
        wake: Called when another process said something, or may have while nobody listened.
    """

    def __init__(self, connect: Callable[[], Awaitable[asyncpg.Connection]], wake: Callable[[], None]) -> None:
        self._connect = connect
        self._wake = wake
        self._something = asyncio.Event()
        self._told = False
        self._task = asyncio.get_running_loop().create_task(self._run(), name="trivet-listener")

    def tell(self) -> None:
        """Let other processes know, soon; cheap."""
        self._told = True
        self._something.set()

    async def close(self) -> None:
        """Stop listening."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        failures = 0
        while True:
            with suppress(DatabaseUnavailable, *BROKEN):
                driver = await self._connect()
                try:
                    await driver.add_listener(CHANNEL, self._heard)
                    driver.add_termination_listener(self._ended)
                    failures = 0
                    self._wake()
                    await self._speak(driver)
                finally:
                    driver.terminate()
            failures += 1
            await asyncio.sleep(full_jitter(failures, FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS))

    async def _speak(self, driver: asyncpg.Connection) -> None:
        """Say what there is to say until the connection ends."""
        while not driver.is_closed():
            await self._something.wait()
            self._something.clear()
            if self._told:
                await asyncio.sleep(GATHER_SECONDS)
                self._told = False
                await driver.execute(f"NOTIFY {CHANNEL}")

    def _heard(self, driver: asyncpg.Connection, pid: int, channel: str, payload: object) -> None:
        if pid != driver.get_server_pid():
            self._wake()

    def _ended(self, driver: Any) -> None:
        self._something.set()
