"""The conditions of a request: from ``If-Match`` and its relatives to a `Precondition`.

Read once, after the gate: what a caller without the right to ask says is never looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from trivet.core.error import InvalidArgument
from trivet.core.precondition import Precondition
from trivet.transports.rest import entitytag, httpdate

FIELDS = frozenset((b"if-match", b"if-none-match", b"if-unmodified-since", b"if-modified-since"))
"""``If-Range`` is not among them: without ranges there is nothing that it could make conditional (section 13.1.5)."""


def for_reading(fields: Mapping[bytes, bytes], now: datetime) -> Precondition | None:
    """Return what a ``GET`` or ``HEAD`` takes for granted; its marks are entity tags with their quotes.

    A list of tags in ``If-None-Match`` that can not be read is passed over: the whole answer is never wrong. A date
    that can not be read is passed over as well (sections 13.1.3 and 13.1.4).

    Raises:
        InvalidArgument: ``If-Match`` is no list of entity tags.
    """
    if FIELDS.isdisjoint(fields):
        return None
    match, none_match = fields.get(b"if-match"), fields.get(b"if-none-match")
    try:
        held = entitytag.weak(none_match, "If-None-Match") if none_match is not None else None
    except InvalidArgument:
        held = None
    return Precondition(
        match=entitytag.strong(match, "If-Match") if match is not None else None,
        none_match=held,
        unmodified_since=_date(fields.get(b"if-unmodified-since"), now),
        modified_since=_date(fields.get(b"if-modified-since"), now),
    )


def for_change(fields: Mapping[bytes, bytes], now: datetime) -> Precondition | None:
    """Return what a request that changes something takes for granted; its marks are versions of rows.

    ``If-Modified-Since`` means nothing here (section 13.1.3).

    Raises:
        InvalidArgument: A field that is to hold entity tags does not: the change must not be made by mistake.
    """
    if FIELDS.isdisjoint(fields):
        return None
    match, none_match = fields.get(b"if-match"), fields.get(b"if-none-match")
    return Precondition(
        match=entitytag.versions(entitytag.strong(match, "If-Match")) if match is not None else None,
        none_match=(
            entitytag.versions(entitytag.weak(none_match, "If-None-Match")) if none_match is not None else None
        ),
        unmodified_since=_date(fields.get(b"if-unmodified-since"), now),
    )


def _date(value: bytes | None, now: datetime) -> datetime | None:
    return httpdate.read(value, now) if value is not None else None
