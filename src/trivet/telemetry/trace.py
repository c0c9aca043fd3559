"""W3C Trace Context: where a call stands in a distributed trace (https://www.w3.org/TR/trace-context/)."""

from __future__ import annotations

import os
import random
import re

from trivet.core.call import Fields, Trace

TRACEPARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-[^,]*)?")
"""A comma joins what came several times: such a parent is no parent."""

MAX_STATE = 512
"""Bytes of ``tracestate`` that are carried on (section 3.3.1.5)."""


def trace_of(fields: Fields) -> Trace:
    """Return the trace that a request continues, or a new one.

    A malformed, repeated or all-zero ``traceparent`` is ignored together with ``tracestate`` (section 3.2.2.5 and
    4.3). A version after ours is read as far as we know it.
    """
    parent = fields.get(b"traceparent")
    if parent is not None:
        match = TRACEPARENT.fullmatch(parent)
        if match is not None and _valid(match):
            state = fields.get(b"tracestate", b"")
            return Trace(
                match[2].decode(),
                _identifiers()[:16],
                match[3].decode(),
                bool(int(match[4], 16) & 1),
                state.decode("latin-1") if len(state) <= MAX_STATE else "",
            )
    drawn = _identifiers()
    return Trace(drawn[16:], drawn[:16], None, False)


_random = random.Random(os.urandom(32))  # noqa: S311 - identifiers are unique, not secret; this spares system calls


NOT_ZERO = 1 << 191 | 1 << 127
"""The first bit of each identifier; the last seven bytes of a trace's stay random, for samplers that count on it."""


def _identifiers() -> str:
    """Return 24 random bytes in hexadecimal digits: a span's identifier, then a trace's, neither of them zero."""
    return f"{_random.getrandbits(192) | NOT_ZERO:x}"


def _valid(match: re.Match[bytes]) -> bool:
    version, trace_id, span_id, _, more = match.groups()
    if version == b"ff" or (version == b"00" and more is not None):
        return False
    return trace_id.strip(b"0") != b"" and span_id.strip(b"0") != b""
