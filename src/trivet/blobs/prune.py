"""Removing blobs that have expired."""

from __future__ import annotations

import asyncio

from trivet.blobs.store import Blobs
from trivet.core.clock import Clock

EVERY_SECONDS = 600.0


async def pruned(blobs: Blobs, clock: Clock) -> None:
    """Prune once in ten minutes until cancelled; what fails is tried again at the next turn."""
    while True:
        await asyncio.sleep(EVERY_SECONDS)
        try:
            await blobs.prune(clock.now())
        except OSError:
            continue
