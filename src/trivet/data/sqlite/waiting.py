"""Waiting for locks, for other processes and for threads: bounded, fair, and clean under cancellation."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVar

from trivet.core.backoff import full_jitter
from trivet.core.clock import Deadline
from trivet.core.error import DeadlineExceeded, Error
from trivet.data.sqlite.connection import Connection
from trivet.data.sqlite.errors import busy
from trivet.data.waiting import until_done

R = TypeVar("R")

PATIENCE_SECONDS = 5.0
"""How long to wait for others where no deadline says it."""

FIRST_PAUSE_SECONDS = 0.001
LONGEST_PAUSE_SECONDS = 0.05


async def acquire(lock: asyncio.Lock | asyncio.Semaphore, deadline: Deadline | None, otherwise: Error) -> None:
    """Acquire in the order of arrival.

    Raises:
        DeadlineExceeded: The deadline passed first.
        Error: `otherwise`: there is no deadline, and patience ran out.
    """
    if not lock.locked():
        await lock.acquire()  # does not suspend
        return
    try:
        async with asyncio.timeout(PATIENCE_SECONDS if deadline is None else deadline.remaining()):
            await lock.acquire()
    except TimeoutError as late:
        raise (otherwise if deadline is None else DeadlineExceeded()) from late


async def patiently(attempt: Callable[[], R], deadline: Deadline | None) -> R:
    """Repeat what another process is in the way of, with growing, jittered pauses, until the deadline.

    Raises:
        sqlite3.OperationalError: It was still in the way at the end.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + (PATIENCE_SECONDS if deadline is None else deadline.remaining())
    attempts = 0
    while True:
        try:
            return attempt()
        except sqlite3.OperationalError as error:
            if not busy(error) or loop.time() >= end:
                raise
        attempts += 1
        pause = full_jitter(attempts, FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS)
        await asyncio.sleep(min(pause, max(0.0, end - loop.time())))


async def in_thread(executor: Executor, connection: Connection, function: Callable[[], R]) -> R:
    """Run a function on the connection in a thread; a cancellation stops its statement and waits until it stopped."""
    future = asyncio.get_running_loop().run_in_executor(executor, function)
    try:
        await asyncio.wait((future,))
    except asyncio.CancelledError:
        connection.meter.stopped = True
        await until_done(future)
        connection.meter.stopped = False
        future.exception()  # it was told to stop: how it ended interests nobody
        raise
    return future.result()


async def to_the_end(executor: Executor, function: Callable[[], R]) -> R:
    """Run a function in a thread; a cancellation is raised only after the function ended."""
    future = asyncio.get_running_loop().run_in_executor(executor, function)
    cancelled = await until_done(future)
    if cancelled is not None:
        future.exception()
        raise cancelled
    return future.result()
