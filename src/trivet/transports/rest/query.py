"""The query of a URL as names and words: percent-decoded UTF-8, ``+`` for a space, in the order of arrival."""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from trivet.core.error import InvalidArgument, Violation

NOT_AN_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")


def words_of(query: bytes) -> dict[str, list[str]]:
    """Return the words of each parameter; empty pieces between ``&`` say nothing.

    Raises:
        InvalidArgument: It is not percent-encoded UTF-8.
    """
    found: dict[str, list[str]] = {}
    for piece in query.split(b"&"):
        if piece:
            name, _, word = piece.partition(b"=")
            found.setdefault(_text(name), []).append(_text(word))
    return found


def _text(raw: bytes) -> str:
    if b"+" in raw:
        raw = raw.replace(b"+", b" ")
    try:
        if b"%" not in raw:
            return raw.decode()
        if not NOT_AN_ESCAPE.search(raw):
            return unquote_to_bytes(raw).decode()
    except UnicodeDecodeError:
        pass
    shown = raw.decode("ascii", "replace")
    violation = Violation(detail=f"{shown[:40]!r} is not percent-encoded UTF-8")
    raise InvalidArgument(detail="The query can not be read.", violations=(violation,))
