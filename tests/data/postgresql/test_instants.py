"""Instants on the wire mean the same as the driver's own, and infinity has an offset."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta, timezone

import asyncpg
import pytest

from tests.postgres import empty_database
from trivet.data.postgresql.address import address_of
from trivet.settings import DatabaseSettings

LAST, FIRST = datetime.max.replace(tzinfo=UTC), datetime.min.replace(tzinfo=UTC)


@pytest.fixture
async def both() -> AsyncIterator[tuple[asyncpg.Connection, asyncpg.Connection]]:
    """A connection as the pool has it, and one as the driver has it."""
    with empty_database(17) as url:
        ours, theirs = await address_of(url, DatabaseSettings(), "test").connect(), await asyncpg.connect(url)
        try:
            yield ours, theirs
        finally:
            await ours.close()
            await theirs.close()


@pytest.mark.parametrize(
    "instant",
    [
        pytest.param(datetime(2026, 1, 1, 3, 4, 5, 678_901, tzinfo=timezone(timedelta(hours=2))), id="with an offset"),
        pytest.param(datetime(1999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), id="before the server's epoch"),
        pytest.param(datetime.fromisoformat("2026-06-01T12:00"), id="local time"),
        pytest.param(date(2026, 6, 1), id="a day"),
    ],
)
async def test_an_instant_is_sent_and_read_as_the_driver_does_it(
    both: tuple[asyncpg.Connection, asyncpg.Connection], instant: date
) -> None:
    ours, theirs = [await each.fetchval("SELECT $1::timestamptz", instant) for each in both]
    assert ours == theirs
    assert ours.tzinfo is UTC
    assert await both[0].fetchval("SELECT $1::timestamptz[]", [ours, None]) == [ours, None]


async def test_what_is_beyond_all_instants_is_the_last_or_the_first_one_in_utc(
    both: tuple[asyncpg.Connection, asyncpg.Connection],
) -> None:
    ours, _ = both
    found = await ours.fetchrow("SELECT 'infinity'::timestamptz, '-infinity'::timestamptz, $1::timestamptz", LAST)
    assert tuple(found) == (LAST, FIRST, LAST)
    assert await ours.fetchval("SELECT $1::timestamptz", FIRST) == FIRST
    with pytest.raises(OverflowError):
        await ours.fetchval("SELECT '20000-01-01'::timestamptz")


async def test_instants_are_copied_in(both: tuple[asyncpg.Connection, asyncpg.Connection]) -> None:
    ours, _ = both
    await ours.execute("BEGIN READ WRITE; CREATE TEMPORARY TABLE moments (at timestamptz)")
    await ours.copy_records_to_table("moments", records=[(LAST,), (FIRST,)])
    assert [tuple(row) for row in await ours.fetch("SELECT at FROM moments")] == [(LAST,), (FIRST,)]
