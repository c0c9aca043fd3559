"""W3C Trace Context: where a call stands in a distributed trace (https://www.w3.org/TR/trace-context/)."""

from __future__ import annotations

import os
import random
import re

from trivet.core.call import Headers, Trace

TRACEPARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
MAX_STATE = 512
"""Bytes of ``tracestate`` that are carried on (section 3.3.1.5)."""


def trace_of(headers: Headers) -> Trace:
    """Return the trace that a request continues, or a new one.

    A malformed, repeated or all-zero ``traceparent`` is ignored together with ``tracestate`` (section 3.2.2.5 and
    4.3). A version after ours is read as far as we know it.
    """
    parent: bytes | None = None
    states: list[bytes] = []
    count = 0
    for name, value in headers:
        if name == b"traceparent":
            parent, count = value, count + 1
        elif name == b"tracestate":
            states.append(value)
    span_id = _identifier(64)
    if parent is not None and count == 1:
        match = TRACEPARENT.fullmatch(parent)
        if match is not None and _valid(match):
            state = b",".join(states)
            return Trace(
                match[2].decode(),
                span_id,
                match[3].decode(),
                bool(int(match[4], 16) & 1),
                state.decode("latin-1") if len(state) <= MAX_STATE else "",
            )
    return Trace(_identifier(128), span_id, None, False)


_random = random.Random(os.urandom(32))  # noqa: S311 - identifiers are unique, not secret; this spares system calls


def _identifier(bits: int) -> str:
    return f"{_random.getrandbits(bits) or 1:0{bits // 4}x}"


def _valid(match: re.Match[bytes]) -> bool:
    version, trace_id, span_id, _, more = match.groups()
    if version == b"ff" or (version == b"00" and more is not None):
        return False
    return trace_id.strip(b"0") != b"" and span_id.strip(b"0") != b""
