"""Dates in header fields, beside the standard library's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime
from time import asctime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trivet.transports.rest import httpdate
from trivet.transports.rest.httpdate import WEEKDAYS

NOW = datetime(2026, 11, 27, tzinfo=UTC)
INSTANTS = st.datetimes(timezones=st.just(UTC)).map(lambda instant: instant.replace(microsecond=0))


@given(INSTANTS)
def test_a_date_is_written_as_the_standard_library_does_and_read_again(instant: datetime) -> None:
    written = httpdate.written(instant)
    assert written.decode() == format_datetime(instant, usegmt=True)
    assert httpdate.read(written, NOW) == instant


@given(INSTANTS)
def test_the_two_old_forms_are_read(instant: datetime) -> None:
    assert httpdate.read(asctime(instant.timetuple()).encode(), NOW) == instant or instant.year < 1000


@given(st.integers(1977, 2076), INSTANTS)
def test_two_digits_of_a_year_are_within_half_a_century(year: int, instant: datetime) -> None:
    instant = instant.replace(year=year, day=min(instant.day, 28))
    written = instant.strftime(f"{WEEKDAYS[instant.weekday()]}, %d-%b-%y %H:%M:%S GMT").encode()
    assert httpdate.read(written, NOW) == instant


@given(st.text(max_size=40))
def test_nothing_else_is_a_date(text: str) -> None:
    read = httpdate.read(text.encode(), NOW)
    assert read is None or parsedate_to_datetime(text) is not None


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"0",
        b"2026-01-31T12:00:00Z",
        b"sat, 31 Jan 2026 12:00:00 GMT",
        b"Sat, 31 jan 2026 12:00:00 GMT",
        b"Sat, 31 Jan 2026 12:00:00 UTC",
        b"Sat, 31 Jan 2026 12:00:00",
        b"Sat, 1 Jan 2026 12:00:00 GMT",
        b"Sat, 31 Jan 26 12:00:00 GMT",
        b"Sat, 30 Feb 2026 12:00:00 GMT",
        b"Sat, 31 Jan 2026 24:00:00 GMT",
        b"Sat, 31 Jan 2026 12:00:61 GMT",
        b" Sat, 31 Jan 2026 12:00:00 GMT",
        b"Fri, 31 Dec 9999 23:59:60 GMT",
        b"Sat, 31 Jan 2026 12:00:00 GMT, Sat, 31 Jan 2026 12:00:00 GMT",
    ],
)
def test_what_is_almost_a_date_is_none(value: bytes) -> None:
    assert httpdate.read(value, NOW) is None


def test_a_leap_second_is_the_next_one() -> None:
    read = httpdate.read(b"Sat, 31 Dec 2016 23:59:60 GMT", NOW)
    assert read == datetime(2016, 12, 31, 23, 59, 59, tzinfo=UTC) + timedelta(seconds=1)
