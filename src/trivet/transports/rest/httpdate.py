"""Dates in header fields: written one way, read in all three (RFC 9110 section 5.6.7).

===================================  =====================================
``Sun, 06 Nov 1994 08:49:37 GMT``    how it is written today
``Sunday, 06-Nov-94 08:49:37 GMT``   RFC 850; two digits of a year
``Sun Nov  6 08:49:37 1994``         C's ``asctime``
===================================  =====================================
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

_DAY, _WEEKDAY, _MONTH = "|".join(DAYS), "|".join(WEEKDAYS), "|".join(MONTHS)
_TIME = r"(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})"
FORMS = tuple(
    re.compile(form.encode())
    for form in (
        rf"(?:{_DAY}), (?P<day>[0-9]{{2}}) (?P<month>{_MONTH}) (?P<year>[0-9]{{4}}) {_TIME} GMT",
        rf"(?:{_WEEKDAY}), (?P<day>[0-9]{{2}})-(?P<month>{_MONTH})-(?P<year>[0-9]{{2}}) {_TIME} GMT",
        rf"(?:{_DAY}) (?P<month>{_MONTH}) (?P<day>[0-9]{{2}}| [0-9]) {_TIME} (?P<year>[0-9]{{4}})",
    )
)


def written(instant: datetime) -> bytes:
    """Return an instant in UTC as a header field has it, in whole seconds."""
    day, month = DAYS[instant.weekday()], MONTHS[instant.month - 1]
    return (
        f"{day}, {instant.day:02d} {month} {instant.year:04d}"
        f" {instant.hour:02d}:{instant.minute:02d}:{instant.second:02d} GMT"
    ).encode()


def read(value: bytes, now: datetime) -> datetime | None:
    """Return the instant that a header field says, ``None`` where it is not a date.

    Args:
        value: The field.
        now: Tells the century of a two-digit year: one that seems more than 50 years ahead lies in the past.
    """
    match = next((found for form in FORMS if (found := form.fullmatch(value)) is not None), None)
    if match is None:
        return None
    year, second = int(match["year"]), int(match["second"])
    if len(match["year"]) == 2:
        year += now.year - now.year % 100
        if year > now.year + 50:
            year -= 100
    leap = second == 60  # which the grammar has, and Python has not
    month = MONTHS.index(match["month"].decode()) + 1
    try:
        instant = datetime(
            year, month, int(match["day"]), int(match["hour"]), int(match["minute"]), second - leap, tzinfo=UTC
        )
        return instant + timedelta(seconds=leap)
    except (ValueError, OverflowError):
        return None
