"""Removing blobs that have expired."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from trivet.blobs.store import Blobs
from trivet.core.clock import Clock

EVERY_SECONDS = 600.0


async def pruned(
    blobs: Blobs, clock: Clock, troubled: Callable[[Exception], None], every: float = EVERY_SECONDS
) -> None:
    """Prune every so many seconds until cancelled; what fails is told and tried again at the next turn."""
    while True:
        await asyncio.sleep(every)
        try:
            await blobs.prune(clock.now())
        except Exception as error:  # told, and pruning goes on at the next turn
            troubled(error)
