"""Waiting for what tells nobody that it has become true: another process, a thread, a server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from inspect import isawaitable
from typing import Any

PATIENCE_SECONDS = 60
PAUSE_SECONDS = 0.02


async def until(true: Callable[[], Any]) -> Any:
    """Return what a function returns, or what it returns to wait for, as soon as that is true."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            result = true()
            if isawaitable(result):
                result = await result
            if result:
                return result
            await asyncio.sleep(PAUSE_SECONDS)


def eventually(true: Callable[[], Any]) -> Any:
    """Return what a function returns as soon as that is true."""
    limit = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < limit:
        if result := true():
            return result
        time.sleep(PAUSE_SECONDS)
    raise AssertionError("it never became true")
