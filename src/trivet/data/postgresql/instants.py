"""How instants cross the wire: as the server counts them, microseconds since the year 2000.

The driver's own way takes half as many instructions again, a seventh of all that it takes to read a page of rows with
two instants each; and it takes the last instant that Python has for infinity, and gives it back without an offset.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

import asyncpg

BEGINNING = datetime(2000, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
FIRST, LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
BEYOND = {-(2**63): FIRST, 2**63 - 1: LAST}
"""What the server has before and after all instants, ``-infinity`` and ``infinity``."""


async def agree_on_instants(driver: asyncpg.Connection) -> None:
    """Let a connection take and give instants in this way from now on; nothing is asked of the server."""
    await driver.set_type_codec("timestamptz", schema="pg_catalog", format="tuple", encoder=written, decoder=read)


def written(instant: date) -> tuple[int]:
    """Return an instant as it is sent; a day is its beginning, and what has no offset is local time."""
    if not isinstance(instant, datetime):
        instant = datetime.combine(instant, time.min)  # as the driver means it
    if instant.tzinfo is None:
        instant = instant.astimezone()
    return ((instant - BEGINNING) // MICROSECOND,)


def read(sent: tuple[int]) -> datetime:
    """Return an instant that was sent, in UTC.

    Raises:
        OverflowError: Python has no such instant.
    """
    (micros,) = sent
    try:
        return BEGINNING + MICROSECOND * micros
    except OverflowError:
        if micros in BEYOND:
            return BEYOND[micros]
        raise
