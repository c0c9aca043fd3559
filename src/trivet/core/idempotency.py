"""Idempotency keys: what a caller says so that a command takes effect once, however often it is sent.

The key is that of the IETF draft (draft-ietf-httpapi-idempotency-key-header): a quoted string or a bare token, the same
on every protocol. A transport reads it with :func:`key_of` and sets it on the call; what follows from it is the
policy's matter.
"""

from __future__ import annotations

import re

from trivet.core.call import Fields
from trivet.core.error import Conflict, InvalidArgument, Violation

LENGTH_MAX = 255
QUOTED = re.compile(rb'"((?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"')
BARE = re.compile(rb"[\x21\x23-\x2b\x2d-\x7e]+")


class IdempotencyKeyReused(InvalidArgument, status=422):
    """This idempotency key was used for another request; a new request needs a new key."""


class IdempotencyKeyInUse(Conflict):
    """A request with this idempotency key is being answered just now; ask again in a moment."""

    retry_after: float | None = 1


def key_of(value: bytes) -> str:
    """Return the key in a header field or in metadata.

    Args:
        value: At most 255 printable ASCII characters, bare (``8e03978e``) or quoted (``"8e03978e"``); the two are the
            same key.

    Raises:
        InvalidArgument: It is none.
    """
    text = value.strip(b" \t")
    quoted = QUOTED.fullmatch(text)
    if quoted is not None:
        key = re.sub(rb"\\(.)", rb"\1", quoted[1])
    elif BARE.fullmatch(text):
        key = text
    else:
        raise _wrong('must be printable ASCII, bare or in double quotes, and come once, such as "8e03978e"')
    if not 1 <= len(key) <= LENGTH_MAX:
        raise _wrong(f"must have 1 to {LENGTH_MAX} characters")
    return key.decode("ascii")


def refuse_key(fields: Fields) -> None:
    """Refuse a key where items come in: it would have to stand for all of them, and for what came of each.

    Raises:
        InvalidArgument: There is one.
    """
    if b"idempotency-key" in fields:
        raise _wrong("a stream has none: what its commands change is kept one by one; let its items have keys")


def _wrong(detail: str) -> InvalidArgument:
    return InvalidArgument(violations=(Violation(detail=detail, pointer="#/idempotency-key"),))
