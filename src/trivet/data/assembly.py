"""Many statements that differ only in their conditions, put together from parts that are compiled once.

A listing has a statement for each combination of its optional arguments and of the forms of its rule. To compile each
of them takes SQLAlchemy half a millisecond, which an app with many listings would feel at its start. Their parts are
few: the frame (columns, order, limit) and one part for each condition; to join those is a matter of microseconds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from trivet.core.context import Read
from trivet.data.database import Dialect
from trivet.data.statement import Form, Statement, as_given, compiler
from trivet.data.where import Source

Part = tuple[str | Source, ...]
"""SQL text, and in the place of each value its source."""

HOLE = sa.text("\x1bconditions\x1b")
"""Stands in a frame where the conditions go."""


def part_of(clause: sa.ClauseElement, dialect: Dialect, sources: dict[str, Source]) -> Part:
    """Compile a clause into text and the sources of its values; constants become sources of their own."""
    compiled: Any = clause.compile(dialect=compiler(dialect))
    names: Sequence[str] = compiled.positiontup or ()
    if dialect == "sqlite":
        pieces = str(compiled).split("?")
        ordered = list(names)
    else:
        split = re.split(r"\$(\d+)", str(compiled))
        pieces, ordered = split[::2], [names[int(number) - 1] for number in split[1::2]]
    part: list[str | Source] = [pieces[0]]
    for name, text in zip(ordered, pieces[1:], strict=True):
        part += [sources.get(name) or _constant(compiled.params[name]), text]
    return tuple(part)


def filled(frame: Part, conditions: Iterable[Part]) -> Part:
    """Return a frame with all the conditions in its hole."""
    joined: list[str | Source] = []
    for condition in conditions:
        joined += [" AND (" if joined else "(", *condition, ")"]
    result: list[str | Source] = []
    for piece in frame:
        if isinstance(piece, str) and HOLE.text in piece:
            before, _, after = piece.partition(HOLE.text)
            result += [before, *(joined or ["1 = 1"]), after]
        else:
            result.append(piece)
    return tuple(result)


def statement_of(part: Part, dialect: Dialect, *, tenanted: bool) -> tuple[Statement, list[Source]]:
    """Return a part that is a whole statement, and the sources of its values in their order."""
    text: list[str] = []
    sources: list[Source] = []
    for piece in part:
        if isinstance(piece, str):
            text.append(piece)
        else:
            sources.append(piece)
            text.append("?" if dialect == "sqlite" else f"${len(sources)}")
    return Statement.ready(Form("".join(text), as_given, reads=True), dialect, tenanted=tenanted), sources


def _constant(value: Any) -> Source:
    def constant(ctx: Read, own: Sequence[Any]) -> Any:
        return value

    return constant
