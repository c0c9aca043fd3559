"""Page tokens: where a list goes on, signed, and bound to the list that it came from.

A token is base64url of a MAC and the order values of the last row that was answered. The MAC covers the values and the
context: listing, order and arguments. So a token that was cut, changed, signed by another key, or sent with another
filter is refused alike. Its values are no secret: whoever has the token has seen the row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from trivet.core.error import InvalidArgument, Violation
from trivet.data.signed import NotOurs, seal, unseal

PURPOSE = b"trivet.page.1\0"
"""Keeps these signatures apart from any other use of the key."""

_encode = msgspec.msgpack.Encoder(order="deterministic").encode


def context_of(listing: str, order: str, arguments: Sequence[Any]) -> bytes:
    """Return what a token is bound to.

    Args:
        listing: Names the listing in the app.
        order: Its order.
        arguments: The caller's arguments, as the listing takes them.
    """
    return _encode((listing, order, arguments))


def sign(values: Sequence[Any], context: bytes, key: bytes) -> str:
    """Return the token for a list that goes on after these order values."""
    return seal(_encode(values), _purpose(context), key)


def read(token: str, types: Any, context: bytes, key: bytes) -> tuple[Any, ...]:
    """Return the order values of a token.

    Args:
        token: What the caller sent.
        types: ``tuple[...]`` of the types of the order values.
        context: What it has to be bound to.
        key: What it has to be signed with.

    Raises:
        InvalidArgument: It is not a token of this list with these arguments.
    """
    try:
        values: tuple[Any, ...] = msgspec.msgpack.decode(unseal(token, _purpose(context), key), type=types)
    except (NotOurs, msgspec.DecodeError) as wrong:  # decoded: the types have changed
        raise refused() from wrong
    return values


def refused() -> InvalidArgument:
    """Return the one answer to every token that does not fit."""
    return InvalidArgument(
        violations=(
            Violation(
                detail="is not a token of this list with these arguments; start again without it", pointer=POINTER
            ),
        )
    )


POINTER = "#/page_token"


def _purpose(context: bytes) -> bytes:
    return PURPOSE + len(context).to_bytes(8, "big") + context
