"""Short transactions of the broker's own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from trivet.core.backoff import full_jitter
from trivet.data.database import Contention, Database, Session

R = TypeVar("R")

ATTEMPTS = 4
FIRST_SECONDS, LONGEST_SECONDS = 0.1, 0.4


async def briefly(database: Database, body: Callable[[Session], Awaitable[R]]) -> R:
    """Run the body in one transaction and commit; when other writers are in the way, a few times.

    Raises:
        Contention: They were in the way each time.
    """
    attempt = 1
    while True:
        session = database.session(write=True)
        try:
            result = await body(session)
            await session.commit()
            return result
        except Contention:
            if attempt == ATTEMPTS:
                raise
        finally:
            await session.close()
        await asyncio.sleep(full_jitter(attempt, FIRST_SECONDS, LONGEST_SECONDS))
        attempt += 1
