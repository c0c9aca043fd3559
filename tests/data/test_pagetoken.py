"""Page tokens come back as they were signed, and nothing else comes back at all."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from trivet.core.error import InvalidArgument
from trivet.data.pagetoken import context_of, read, sign

KEY = b"0" * 32
CONTEXT = context_of("shop.products.by_brand", "-create_time,-id", ("acme", None))
TYPES = tuple[datetime, UUID, Decimal, timedelta, str, int, float, bool]
values = st.tuples(
    st.datetimes(timezones=st.just(UTC)),
    st.uuids(),
    st.decimals(allow_nan=False, allow_infinity=False, places=4),
    st.timedeltas(),
    st.text(st.characters(exclude_categories=["Cs"])),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.booleans(),
)


@given(values)
def test_a_token_gives_back_what_was_signed(signed: tuple[Any, ...]) -> None:
    assert read(sign(signed, CONTEXT, KEY), TYPES, CONTEXT, KEY) == signed


@given(st.text(max_size=200) | st.binary(max_size=100).map(lambda data: base64.urlsafe_b64encode(data).decode()))
def test_garbage_is_refused(token: str) -> None:
    with pytest.raises(InvalidArgument):
        read(token, tuple[int], CONTEXT, KEY)


TOKEN = sign((7, "name"), CONTEXT, KEY)


@given(st.integers(0, len(TOKEN) - 1), st.characters(min_codepoint=33, max_codepoint=126))
def test_a_changed_token_is_refused(place: int, character: str) -> None:
    changed = TOKEN[:place] + character + TOKEN[place + 1 :]
    assume(changed != TOKEN)
    with pytest.raises(InvalidArgument):
        read(changed, tuple[int, str], CONTEXT, KEY)


@given(st.integers(0, len(TOKEN) - 1))
def test_a_cut_token_is_refused(length: int) -> None:
    with pytest.raises(InvalidArgument):
        read(TOKEN[:length], tuple[int, str], CONTEXT, KEY)


@pytest.mark.parametrize(
    ("context", "key", "types"),
    [
        pytest.param(context_of("other", "-create_time,-id", ("acme", None)), KEY, tuple[int, str], id="listing"),
        pytest.param(context_of("shop.products.by_brand", "id", ("acme", None)), KEY, tuple[int, str], id="order"),
        pytest.param(
            context_of("shop.products.by_brand", "-create_time,-id", ("acme",)), KEY, tuple[int, str], id="arguments"
        ),
        pytest.param(CONTEXT, b"1" * 32, tuple[int, str], id="key"),
        pytest.param(CONTEXT, KEY, tuple[UUID, str], id="types that changed since"),
    ],
)
def test_a_token_of_something_else_is_refused(context: bytes, key: bytes, types: Any) -> None:
    with pytest.raises(InvalidArgument) as refused:
        read(TOKEN, types, context, key)
    assert refused.value.violations[0].pointer == "#/page_token"


def test_sets_of_arguments_bind_whatever_their_order() -> None:
    names = [f"name-{number}" for number in range(50)]
    assert context_of("x", "id", [set(names)]) == context_of("x", "id", [frozenset(names[::-1])])
