"""Entity tags: what tells one state of a thing from another, one coding of it from another, and lists of them.

A tag of ours reads ``"7-5f1c03aa-gzip"``: the version of the row, a digest of what else decides the bytes (the contract
and its version, or the bytes themselves where they are composed of several rows), and the content-coding. A list has no
row, so its tag begins with the digest. Whoever changes something with ``If-Match`` is compared by the version alone:
to have read it compressed, or with something expanded in it, makes no difference.
"""

from __future__ import annotations

import re

from trivet.contracts.fields import TAGS_MAX
from trivet.core.error import InvalidArgument, Violation
from trivet.core.precondition import ANY

OPAQUE = rb'"[\x21\x23-\x7e\x80-\xff]*"'
MEMBER = re.compile(rb"[ \t]*+(?:(W/)?+(" + OPAQUE + rb"))?+[ \t]*+(?:,|$)")  # possessive: no backtracking, so linear
OURS = re.compile(rb'"([0-9]{1,19})-[0-9a-f]+(?:-[a-z]+)?"')

Tag = tuple[bool, bytes]
"""Whether it is weak, and the opaque part with its quotes."""


def tags_of(value: bytes) -> list[Tag] | None:
    """Return the members of a list of entity tags, ``None`` where it is no such list (RFC 9110 section 8.8.3).

    Empty members count for nothing (section 5.6.1.2).
    """
    found: list[Tag] = []
    position = 0
    while position < len(value):
        match = MEMBER.match(value, position)
        if match is None or match.end() == position:
            return None
        if match[2] is not None:
            found.append((match[1] is not None, match[2]))
        position = match.end()
    return found


def strong(value: bytes, field: str) -> frozenset[str]:
    """Return the marks of ``If-Match``: a weak tag matches nothing (section 8.8.3.2).

    Raises:
        InvalidArgument: It is no list of entity tags. Nothing is changed on a condition that nobody understands.
    """
    if value.strip() == b"*":
        return frozenset((ANY,))
    return frozenset(tag.decode("latin-1") for weak, tag in _listed(value, field) if not weak)


def weak(value: bytes, field: str) -> frozenset[str]:
    """Return the marks of ``If-None-Match``: weak or strong is the same.

    Raises:
        InvalidArgument: It is no list of entity tags.
    """
    if value.strip() == b"*":
        return frozenset((ANY,))
    return frozenset(tag.decode("latin-1") for _, tag in _listed(value, field))


def versions(marks: frozenset[str]) -> frozenset[str]:
    """Return the versions of rows that marks name; a mark that is none of ours names nothing."""
    matched = (OURS.fullmatch(mark.encode("latin-1")) for mark in marks)
    named = frozenset(match[1].decode() for match in matched if match is not None)
    return named | {ANY} if ANY in marks else named


def _listed(value: bytes, field: str) -> list[Tag]:
    tags = tags_of(value) if len(value) <= TAGS_MAX else None
    if tags is None:
        example = '"7-5f1c03aa", with its quotes'
        detail = (
            f"{field}: not * and not a list of entity tags, at most {TAGS_MAX} characters of them, such as {example}"
        )
        raise InvalidArgument(violations=(Violation(detail=detail, pointer=f"#/{field.lower()}"),))
    return tags
