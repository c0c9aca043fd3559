"""JSON pointers (RFC 6901): where in an input something is wrong."""

from __future__ import annotations


def escape(token: str) -> str:
    """Escape a member's name for a JSON pointer (RFC 6901 section 3)."""
    return token.replace("~", "~0").replace("/", "~1")
