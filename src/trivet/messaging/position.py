"""Where a reader of a stream stands in a database, and its text."""

from __future__ import annotations

import re

from trivet.core.error import InvalidArgument, OutOfRange
from trivet.core.shape import Struct

POSITION = re.compile(r"(\d{1,18})-(\d{1,17})(?:\.(\d{1,9}))?", re.ASCII)


class PositionUnknown(InvalidArgument):
    """This is not a position of a stream; begin without one."""


class PositionExpired(OutOfRange):
    """Events after this position may be gone; read the present state and begin without a position."""


class Position(Struct):
    """Where a reader stands: after an event, or within what a stream makes of it.

    Attributes:
        at: The last event that it is done with; the event that it is within, where `items` is given.
        time: When that event was emitted, or when nothing was behind it, in microseconds since 1970; it tells whether
            later ones may be gone.
        items: How many items that the stream makes of the event it has.
    """

    at: int
    time: int
    items: int | None = None

    def __str__(self) -> str:
        text = f"{self.at}-{self.time}"
        return text if self.items is None else f"{text}.{self.items}"


def position_of(text: str) -> Position:
    """Return a position from its text.

    Raises:
        PositionUnknown: It is none.
    """
    match = POSITION.fullmatch(text)
    if match is None:
        raise PositionUnknown()
    at, time, items = match.groups()
    return Position(at=int(at), time=int(time), items=None if items is None else int(items))
