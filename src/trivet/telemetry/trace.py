"""W3C Trace Context: where a call stands in a distributed trace (https://www.w3.org/TR/trace-context/)."""

from __future__ import annotations

import os
import random
import re

from trivet.core.call import Fields, Trace

TRACEPARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-[^,]*)?")
"""A comma joins what came several times: such a parent is no parent."""

KEY = re.compile(r"[a-z][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13}")
VALUE = re.compile(r"[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]")
MAX_MEMBERS = 32
MAX_STATE = 512
"""Characters of ``tracestate`` that are carried on (section 3.3.1.5)."""

LONG_MEMBER = 128
"""A member longer than this is the first to go."""

SAMPLED, RANDOM = 1, 2
"""Trace flags: recorded by the caller; the trace's identifier is random (Level 2 section 3.2.2.5)."""


def trace_of(fields: Fields) -> Trace:
    """Return the trace that a request continues, or a new one.

    A malformed, repeated or all-zero ``traceparent`` is ignored together with ``tracestate`` (section 3.2.2.5 and
    4.3). A version after ours is read as far as we know it.
    """
    parent = fields.get(b"traceparent")
    if parent is not None:
        match = TRACEPARENT.fullmatch(parent)
        if match is not None and _valid(match):
            state, flags = fields.get(b"tracestate"), int(match[4], 16)
            return Trace(
                match[2].decode(),
                f"{_random.getrandbits(64) | 1 << 63:x}",
                match[3].decode(),
                bool(flags & SAMPLED),
                state_of(state) if state else "",
                random=bool(flags & RANDOM),
            )
    drawn = (_random.getrandbits(192) | NOT_ZERO).to_bytes(24).hex()  # half of what formatting an integer costs
    return Trace(drawn[16:], drawn[:16], None, False)


def state_of(value: bytes) -> str:
    """Return what is carried on of ``tracestate``: all of it where it is short, nothing of it where it is malformed.

    Of two members with one key the first one stays, which is the later one in time. What is too long loses its longest
    members first, then its last ones (section 3.3.1.5).
    """
    members: dict[str, str] = {}
    count = 0
    for text in value.decode("latin-1").split(","):
        member = text.strip(" \t")
        if not member:
            continue
        key, equals, said = member.partition("=")
        count += 1
        if count > MAX_MEMBERS or not (equals and KEY.fullmatch(key) and VALUE.fullmatch(said)):
            return ""
        members.setdefault(key, member)
    kept = list(members.values())
    length = sum(len(member) + 1 for member in kept) - 1
    for limit in (LONG_MEMBER, 0):
        for member in reversed(list(kept)):
            if length <= MAX_STATE:
                return ",".join(kept)
            if len(member) > limit:
                kept.remove(member)
                length -= len(member) + 1
    return ",".join(kept)


_random = random.Random(os.urandom(32))  # noqa: S311 - identifiers are unique, not secret; this spares system calls


NOT_ZERO = 1 << 191 | 1 << 127
"""The first bits of a span's and of a trace's identifier; the last seven bytes stay random, for samplers' sake."""


def _valid(match: re.Match[bytes]) -> bool:
    version, trace_id, span_id, _, more = match.groups()
    if version == b"ff" or (version == b"00" and more is not None):
        return False
    return trace_id.strip(b"0") != b"" and span_id.strip(b"0") != b""
