"""The key of the IETF draft: a quoted string or a bare token, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trivet.core.error import InvalidArgument
from trivet.core.idempotency import key_of

PRINTABLE = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=255)


@pytest.mark.parametrize(
    ("value", "key"),
    [
        (b"8e03978e-40d5-43dd-bc93-6894a57f9324", "8e03978e-40d5-43dd-bc93-6894a57f9324"),
        (b'"8e03978e-40d5-43dd-bc93-6894a57f9324"', "8e03978e-40d5-43dd-bc93-6894a57f9324"),
        (b' "a b, c" ', "a b, c"),
        (rb'"say \"hi\" \\"', r'say "hi" \ '.strip()),
        (b"a=b;c", "a=b;c"),
    ],
)
def test_quoted_and_bare_are_the_same_key(value: bytes, key: str) -> None:
    assert key_of(value) == key


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b'""',
        b"a b",
        b"a,b",
        b'"a", "b"',
        b'"a',
        b'a"',
        b"\xc3\xa9",
        b"a\x00",
        rb'"\a"',
        b"x" * 256,
        b'"' + b"x" * 256 + b'"',
    ],
)
def test_anything_else_is_refused(value: bytes) -> None:
    with pytest.raises(InvalidArgument):
        key_of(value)


@given(PRINTABLE)
def test_every_printable_text_can_be_a_key(text: str) -> None:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    assert key_of(f'"{escaped}"'.encode()) == text


@given(st.binary(max_size=300))
def test_garbage_is_refused_or_read_but_never_an_accident(value: bytes) -> None:
    try:
        key = key_of(value)
    except InvalidArgument:
        return
    assert 1 <= len(key) <= 255
    assert key.isascii()
    assert key.isprintable()
