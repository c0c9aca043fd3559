"""Validators: how an answer says which state of its resource it shows. Which kind an operation has is decided at start.

- What a table keeps, returned as it is kept, is told apart by the row's version: nothing is read twice, and nothing
  is hashed. The tag also holds a digest of the contract, since another release may show the same row differently.
- Everything else that is read (lists, what was expanded, shapes without a version) is told apart by its bytes.
- What changed something and answers with the row as it is now says the new version.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from trivet.contracts.model import ApiOperation
from trivet.contracts.result import Form
from trivet.core.declaration import Kind
from trivet.core.precondition import has_update_time
from trivet.core.typeinfo import fields_of

DIGEST_HEX = 32
CONTRACT_HEX = 8


class State(NamedTuple):
    """Which state of a resource an answer shows.

    Attributes:
        tag: Its entity tag, without the quotes and the coding.
        modified: When it changed last, if that is kept.
    """

    tag: str
    modified: datetime | None = None


StateOf = Callable[[Any], State]
"""Tells the state from a row."""


def row_state(op: ApiOperation, plans: Mapping[Any, Any]) -> StateOf | None:
    """Return what tells the state of an operation's result by its version; ``None`` where no row stands behind it."""
    shape = op.result.shape
    if op.result.form is not Form.OBJECT or op.operation.kind not in (Kind.QUERY, Kind.COMMAND) or shape is None:
        return None
    if not any(table.shape is shape and plan.versioned for table, plan in plans.items()):
        return None
    contract = fingerprint(op.module.version, shape)
    if not has_update_time(shape):
        return lambda row: State(f"{row.version}-{contract}")
    return lambda row: State(f"{row.version}-{contract}", row.update_time)


def body_state(body: bytes, row: State | None = None) -> State:
    """Return the state of an answer that is told by its bytes, with the version of the row in front where it has one.

    When a composed answer changed last is not kept: what it is composed of has times of its own.
    """
    digest = hashlib.sha256(body).hexdigest()[:DIGEST_HEX]
    return State(digest if row is None else f"{row.tag.partition('-')[0]}-{digest}")


def fingerprint(version: str, shape: type[msgspec.Struct]) -> str:
    """Return a short digest of a contract's version and of the fields that a shape has, the same in every process."""
    said = f"{version} {' '.join(names_of(shape, set()))}"
    return hashlib.sha256(said.encode()).hexdigest()[:CONTRACT_HEX]


def names_of(shape: Any, seen: set[Any]) -> Iterator[str]:
    """Yield the names of a shape's fields and, below each, those of the shapes in it."""
    if shape in seen:
        return
    seen.add(shape)
    for field in fields_of(shape):
        yield field.encode_name
        yield from _inside(field.type, seen)


def _inside(annotation: Any, seen: set[Any]) -> Iterator[str]:
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        yield "("
        yield from names_of(annotation, seen)
        yield ")"
    for part in getattr(annotation, "__args__", ()):
        yield from _inside(part, seen)
