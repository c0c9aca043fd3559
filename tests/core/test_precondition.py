"""The decision about preconditions, against a slow transcription of RFC 9110 section 13.2.2, step by step."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from trivet.core.precondition import ANY, Current, Precondition, Verdict, decide

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
MARKS = st.sampled_from(["a", "b", "c"])
DATES = st.none() | st.integers(-2, 2).map(lambda seconds: NOON + timedelta(seconds=seconds))
LISTS = st.none() | st.just(frozenset((ANY,))) | st.frozensets(MARKS, max_size=3)


def transcribed(
    method: str, fields: dict[str, frozenset[str] | datetime], marks: frozenset[str] | None, modified: datetime | None
) -> int:
    """Return 200, 304 or 412, in the words of the RFC; `marks` of ``None`` is no current representation."""

    def listed(name: str) -> bool:
        value = fields[name]
        assert isinstance(value, frozenset)
        if "*" in value:
            return marks is not None  # "if the origin server has a current representation for the target resource"
        return any(mark in (marks or frozenset()) for mark in value)

    def if_unmodified_since() -> bool:
        date = fields["If-Unmodified-Since"]
        assert isinstance(date, datetime)
        return modified is None or modified <= date  # "earlier than or equal to the date provided"

    def if_modified_since() -> bool:
        date = fields["If-Modified-Since"]
        assert isinstance(date, datetime)
        return modified is None or not modified <= date

    # 1. When recipient is the origin server and If-Match is present, evaluate the If-Match precondition:
    if "If-Match" in fields:
        if not listed("If-Match"):
            return 412
        # if true, continue to step 3
    # 2. When If-Match is not present and If-Unmodified-Since is present, evaluate it:
    elif "If-Unmodified-Since" in fields and not if_unmodified_since():
        return 412
    # 3. When If-None-Match is present, evaluate it:
    if "If-None-Match" in fields:
        if listed("If-None-Match"):
            return 304 if method in ("GET", "HEAD") else 412
    # 4. When the method is GET or HEAD, If-None-Match is not present, and If-Modified-Since is present:
    elif method in ("GET", "HEAD") and "If-Modified-Since" in fields and not if_modified_since():
        return 304
    # 5. Range is not served.  6. Otherwise, perform the requested method.
    return 200


@given(
    st.sampled_from(["GET", "HEAD", "PATCH", "DELETE", "POST"]),
    LISTS,
    LISTS,
    DATES,
    DATES,
    st.none() | st.frozensets(MARKS, max_size=2),
    DATES,
)
def test_every_combination_is_decided_as_the_rfc_says(
    method: str,
    match: frozenset[str] | None,
    none_match: frozenset[str] | None,
    unmodified: datetime | None,
    modified_since: datetime | None,
    marks: frozenset[str] | None,
    modified: datetime | None,
) -> None:
    named = {
        "If-Match": match,
        "If-None-Match": none_match,
        "If-Unmodified-Since": unmodified,
        "If-Modified-Since": modified_since,
    }
    current = None if marks is None else Current(marks=marks, modified=modified)
    precondition = Precondition(
        match=match, none_match=none_match, unmodified_since=unmodified, modified_since=modified_since
    )
    fields = {name: value for name, value in named.items() if value is not None}
    expected = transcribed(method, fields, marks, None if marks is None else modified)
    verdict = decide(precondition, current, reads=method in ("GET", "HEAD"))
    assert verdict is {200: Verdict.HOLDS, 304: Verdict.UNCHANGED, 412: Verdict.FAILS}[expected]
