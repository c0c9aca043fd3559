"""What a caller takes for granted about the thing that it reads or changes, and whether it holds.

Two people read version 3 and both change it: the second change would undo the first without anybody noticing. A caller
that names the version which it saw is told instead. The rules are those of RFC 9110 section 13, whatever the protocol:
a transport turns what it was sent into a `Precondition`, and :func:`decide` is the whole decision.
"""

from __future__ import annotations

import enum
from datetime import datetime
from typing import Any

from trivet.core.error import FailedPrecondition
from trivet.core.shape import Struct
from trivet.core.typeinfo import fields_of

ANY = "*"
"""Stands for every mark: the thing exists, whatever it looks like."""


class Precondition(Struct):
    """What must hold. Marks are compared for equality; what they are is the transport's matter.

    Attributes:
        match: The current mark is one of these (``If-Match``).
        none_match: The current mark is none of these (``If-None-Match``).
        unmodified_since: Nothing changed after that instant (``If-Unmodified-Since``).
        modified_since: Something changed after that instant (``If-Modified-Since``).
    """

    match: frozenset[str] | None = None
    none_match: frozenset[str] | None = None
    unmodified_since: datetime | None = None
    modified_since: datetime | None = None


class Current(Struct):
    """What the thing is now.

    Attributes:
        marks: Of its current state: none where nothing tells two states apart, several where one state has several
            forms.
        modified: When it changed last, in whole seconds; ``None`` where that is not kept.
    """

    marks: frozenset[str] = frozenset()
    modified: datetime | None = None


class Verdict(enum.Enum):
    """What becomes of the request."""

    HOLDS = "holds"
    UNCHANGED = "unchanged"
    FAILS = "fails"


def decide(given: Precondition, current: Current | None, *, reads: bool) -> Verdict:
    """Decide in the order of RFC 9110 section 13.2.2.

    Args:
        given: What the caller takes for granted.
        current: What there is; ``None`` for nothing.
        reads: Whether the request only reads, and so can be told that nothing changed.

    Returns:
        `UNCHANGED` only for a request that reads.
    """
    modified = current.modified if current is not None else None
    if given.match is not None:
        if not matches(given.match, current):
            return Verdict.FAILS
    elif given.unmodified_since is not None and modified is not None and modified > given.unmodified_since:
        return Verdict.FAILS
    if given.none_match is not None:
        if matches(given.none_match, current):
            return Verdict.UNCHANGED if reads else Verdict.FAILS
    elif reads and given.modified_since is not None and modified is not None and modified <= given.modified_since:
        return Verdict.UNCHANGED
    return Verdict.HOLDS


def matches(marks: frozenset[str], current: Current | None) -> bool:
    """Whether one of the marks is the current one."""
    return current is not None and (ANY in marks or not marks.isdisjoint(current.marks))


def has_update_time(shape: Any) -> bool:
    """Whether a shape says when its thing changed last: in a field ``update_time`` that is always there."""
    return "update_time" in shape.__struct_fields__ and any(
        field.name == "update_time" and field.type is datetime for field in fields_of(shape)
    )


class PreconditionFailed(FailedPrecondition, status=412):
    """It is not what the caller took it for any more; read it again."""


class PreconditionRequired(FailedPrecondition, status=428):
    """This change must say which version it is made from."""
