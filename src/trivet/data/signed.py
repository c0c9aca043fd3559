"""Tokens that only this app makes: base64url of a MAC and what it covers. What they hold is no secret."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

MAC_BYTES = 16


class NotOurs(Exception):
    """The token was cut or changed, or another key signed it."""


def seal(payload: bytes, purpose: bytes, key: bytes) -> str:
    """Return the token of a payload.

    Args:
        payload: What it holds.
        purpose: What it is for, and all else that it is bound to.
        key: Signs it.
    """
    return _text(_mac(payload, purpose, key) + payload)


def unseal(token: str, purpose: bytes, key: bytes) -> bytes:
    """Return what a token holds.

    Raises:
        NotOurs: It was not made with this purpose and this key.
    """
    try:
        data = base64.b64decode(token.encode("ascii") + b"=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except (UnicodeEncodeError, binascii.Error) as malformed:
        raise NotOurs from malformed
    payload = data[MAC_BYTES:]
    if not hmac.compare_digest(data[:MAC_BYTES], _mac(payload, purpose, key)) or _text(data) != token:
        raise NotOurs  # the second: base64 writes the same bytes in several ways, and one of them is ours
    return payload


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _mac(payload: bytes, purpose: bytes, key: bytes) -> bytes:
    return hmac.digest(key, purpose + payload, hashlib.sha256)[:MAC_BYTES]
