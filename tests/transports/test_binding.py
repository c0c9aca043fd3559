"""Query binding: what one value writes, the other reads; what is not canonical is refused."""

from __future__ import annotations

import enum
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal, NewType
from urllib.parse import quote_plus, urlencode
from uuid import UUID

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from msgspec import Meta

from trivet.core.error import InvalidArgument
from trivet.core.value import MAX_SAFE_INTEGER
from trivet.transports.rest.query import words_of
from trivet.transports.rest.words import Unreadable, reader_of

Key = NewType("Key", UUID)


class Colour(enum.Enum):
    RED = "red"
    BLUE = "light blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


VALUES: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (str, st.text(st.characters(exclude_categories=["Cs"]))),
    (int, st.integers(-MAX_SAFE_INTEGER, MAX_SAFE_INTEGER)),
    (Annotated[int, Meta(ge=3, lt=9)], st.integers(3, 8)),
    (bool, st.booleans()),
    (float, st.floats(allow_nan=False, allow_infinity=False)),
    (Decimal, st.decimals(-(10**9), 10**9, places=3)),
    (Key, st.uuids()),
    (date, st.dates()),
    (datetime, st.datetimes(timezones=st.just(UTC))),
    (time, st.times()),
    (timedelta, st.timedeltas(timedelta(0), timedelta(days=999))),
    (Colour, st.sampled_from(Colour)),
    (Level, st.sampled_from(Level)),
    (Literal["a", "b c"], st.sampled_from(["a", "b c"])),
    (int | None, st.integers(0, 9)),
]


def word(value: Any) -> str:
    plain = msgspec.to_builtins(value)
    return str(plain).lower() if isinstance(plain, bool) else str(plain)


@given(st.data())
def test_every_value_is_read_from_what_it_is_written_as(data: st.DataObject) -> None:
    annotation, values = data.draw(st.sampled_from(VALUES))
    value = data.draw(values)
    query = f"x={quote_plus(word(value))}".encode()
    assert reader_of(annotation)(words_of(query)["x"][0]) == value


@given(st.lists(st.tuples(st.text(st.characters(exclude_categories=["Cs"])), st.text("aé&=+%# "))))
def test_words_come_back_from_any_encoding(pairs: list[tuple[str, str]]) -> None:
    found = words_of(urlencode(pairs).encode())
    expected: dict[str, list[str]] = {}
    for name, value in pairs:
        expected.setdefault(name, []).append(value)
    assert found == expected


@given(st.binary())
def test_any_query_is_read_or_refused(query: bytes) -> None:
    try:
        words_of(query)
    except InvalidArgument as refused:
        assert refused.violations  # noqa: PT017 - either outcome is right


@pytest.mark.parametrize("annotation", [annotation for annotation, _ in VALUES if annotation is not str], ids=str)
@given(text=st.text(max_size=20))
def test_any_word_is_read_or_unreadable(annotation: Any, text: str) -> None:
    try:
        value = reader_of(annotation)(text)
    except Unreadable as unreadable:
        assert str(unreadable)  # noqa: PT017 - either outcome is right
        return
    assert value is not None


@given(st.text("0123456789+-_eE. ٣", min_size=1, max_size=6))
def test_an_integer_has_one_spelling(text: str) -> None:
    try:
        value = reader_of(int)(text)
    except Unreadable:
        return
    assert str(value) == text


@given(st.text("truefalsTRUE10yn", max_size=5))
def test_a_boolean_is_true_or_false(text: str) -> None:
    assume(text not in ("true", "false"))
    with pytest.raises(Unreadable):
        reader_of(bool)(text)


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (int, "-0"),
        (int, "1.0"),
        (int, str(MAX_SAFE_INTEGER + 1)),
        (int, "9" * 5000),
        (float, "inf"),
        (float, "1e999"),
        (float, ".5"),
        (Decimal, "1e3"),
        (Decimal, "1" * 19),
        (UUID, "{00000000-0000-0000-0000-000000000001}"),
        (UUID, "0" * 32),
        (datetime, "2026-01-31T12:00:00"),
        (datetime, "2026-01-31"),
        (Colour, "RED"),
        (Level, "LOW"),
        (Annotated[str, Meta(max_length=2)], "abc"),
    ],
)
def test_these_are_unreadable(annotation: Any, text: str) -> None:
    with pytest.raises(Unreadable):
        reader_of(annotation)(text)
