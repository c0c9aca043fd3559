"""Page tokens: where a list goes on, signed, and bound to the list that it came from.

A token is base64url of a MAC and the order values of the last row that was answered. The MAC covers the values and the
context: listing, order and arguments. So a token that was cut, changed, signed by another key, or sent with another
filter is refused alike. Its values are no secret: whoever has the token has seen the row.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from typing import Any

import msgspec

from trivet.core.error import InvalidArgument, Violation

MAC_BYTES = 16
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
    payload = _encode(values)
    return _text(_mac(payload, context, key) + payload)


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
        data = base64.b64decode(token.encode("ascii") + b"=" * (-len(token) % 4), altchars=b"-_", validate=True)
        payload = data[MAC_BYTES:]
        if not hmac.compare_digest(data[:MAC_BYTES], _mac(payload, context, key)) or _text(data) != token:
            raise refused()  # the second: base64 writes the same bytes in several ways, and one of them is ours
        values: tuple[Any, ...] = msgspec.msgpack.decode(payload, type=types)
    except (UnicodeEncodeError, binascii.Error, msgspec.DecodeError) as malformed:  # decoded: the types have changed
        raise refused() from malformed
    return values


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


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


def _mac(payload: bytes, context: bytes, key: bytes) -> bytes:
    size = len(context).to_bytes(8, "big")
    return hmac.digest(key, PURPOSE + size + context + payload, hashlib.sha256)[:MAC_BYTES]
