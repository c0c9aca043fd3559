"""Waiting until what was committed has been handled."""

from __future__ import annotations

import asyncio

from trivet.app import Service
from trivet.messaging.deliveries import Deliveries

PAUSE_SECONDS = 0.005


async def settle(service: Service, timeout: float) -> None:
    """Return when nothing waits for delivery; dead letters no longer wait.

    Raises:
        TimeoutError: Something waits still: a handler fails again and again, or does not end.
    """
    runtime = service.runtime
    if runtime.database is None or not runtime.subscribers.ids:
        return
    deliveries = Deliveries(runtime.subscribers.ids)
    try:
        async with asyncio.timeout(timeout):
            while True:
                runtime.wake()
                session = runtime.database.session(write=False)
                try:
                    if await deliveries.next_due(session) is None:
                        return
                finally:
                    await session.close()
                await asyncio.sleep(PAUSE_SECONDS)
    except TimeoutError:
        raise TimeoutError(
            f"events or jobs still wait after {timeout:g} s: a handler fails each time (see the log) or does not end"
        ) from None
