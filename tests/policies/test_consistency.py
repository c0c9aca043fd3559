"""Tokens of what a caller has seen: only this app makes them, and none makes a request fail that is one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trivet.core.consistency import FARTHEST, Mark, Marks
from trivet.core.error import InvalidArgument
from trivet.policies.consistency import read, write

KEY = b"k" * 32
MARKS = st.lists(
    st.builds(
        Mark,
        database=st.integers(-(2**63), 2**63 - 1),
        timeline=st.integers(1, 2**31 - 1),
        position=st.integers(0, FARTHEST),
        node=st.integers(0, 2**48),
    ),
    max_size=5,
).map(tuple)


@given(MARKS)
def test_a_token_says_what_was_seen(marks: Marks) -> None:
    assert read(write(marks, KEY), KEY) == marks


@given(MARKS, st.data())
def test_a_changed_token_says_nothing(marks: Marks, data: st.DataObject) -> None:
    token = bytearray(write(marks, KEY))
    place = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.sampled_from(b"ABCxyz019-_"))
    if token[place] != other:
        token[place] = other
        assert read(bytes(token), KEY) is None


@given(MARKS)
def test_a_token_of_another_key_says_nothing(marks: Marks) -> None:
    assert read(write(marks, b"x" * 32), KEY) is None


@pytest.mark.parametrize("token", [b"", b"short", b"a b" * 20, b"\xff" * 30, b"A" * 5000, b"AAAA, BBBB" * 5])
def test_what_has_not_the_form_of_a_token_is_refused(token: bytes) -> None:
    with pytest.raises(InvalidArgument):
        read(token, KEY)
