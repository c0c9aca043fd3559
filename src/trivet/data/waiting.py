"""Finishing what was begun: a cancellation is heard, and raised once the work is done."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

R = TypeVar("R")


async def uninterrupted(work: Coroutine[Any, Any, R]) -> R:
    """Run a coroutine to its end; a cancellation is raised only after that."""
    task = asyncio.ensure_future(work)
    cancelled = await until_done(task)
    if cancelled is not None:
        task.exception()
        raise cancelled
    return task.result()


async def until_done(future: asyncio.Future[Any]) -> asyncio.CancelledError | None:
    """Wait for a future, whatever happens meanwhile, and return the cancellation that was asked for."""
    cancelled: asyncio.CancelledError | None = None
    while not future.done():
        try:
            await asyncio.wait((future,))
        except asyncio.CancelledError as error:
            cancelled = error
    return cancelled
