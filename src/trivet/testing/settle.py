"""Waiting until what was committed has been handled."""

from __future__ import annotations

import asyncio

from trivet.app import Service
from trivet.data.database import Database
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
    deliveries = Deliveries(runtime.subscribers.ids, runtime.database.dialect)
    try:
        async with asyncio.timeout(timeout):
            while True:
                runtime.wake()
                if not [store for store in runtime.stores if await _waits(deliveries, store)]:
                    return
                await asyncio.sleep(PAUSE_SECONDS)
    except TimeoutError:
        raise TimeoutError(
            f"events or jobs still wait after {timeout:g} s: a handler fails each time (see the log) or does not end"
        ) from None


async def _waits(deliveries: Deliveries, store: Database) -> bool:
    session = store.session(write=False)
    try:
        return await deliveries.next_due(session) is not None
    finally:
        await session.close()
