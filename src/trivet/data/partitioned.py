"""A table in partitions of its rows' numbers: what is old goes with its partition, not row by row.

A partition has room for more numbers than are ever given out in a day, and rows are only ever added to one of them: the
one that the sequence is in. A new day begins with a new partition, which is committed first, and then with the sequence
being moved to where it starts. So whoever adds a row looks at no clock and finds its partition whatever happened: when
nobody began a new day for long, the last one goes on. There is no partition for what fits nowhere, because nothing can.

A partition that was left is *closed*, and its comment says since when: every row in it was numbered before. Once that
is long enough ago it is dropped. Rows of it that are still needed, if they are few, come to stand in a small partition
in its place, in the same transaction, together with what is left of the days before; where they are many it stays as it
is. So there are never many partitions, which every statement would lock.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from trivet.core.shape import Struct

WIDTH = 10**11
"""How many numbers a partition has; with one a day, numbers stay below 2^53 for 246 years."""


class Numbered(Struct):
    """A table whose key is a number from a sequence, in partitions of it.

    Attributes:
        schema: Where it is.
        name: What it is called there; a partition is called the same, with its own number behind.
        key: The column with the number.
        time: The column that says how old a row is, in microseconds since 1970.
        needed: What still needs rows: a query of their numbers, between ``$1`` and below ``$2``.
    """

    schema: str
    name: str
    key: str
    time: str
    needed: str

    def place(self, number: int | None = None) -> str:
        """Return how statements name the table, or one of its partitions."""
        return f"{self.schema}.{self.name}" + ("" if number is None else f"_{number}")

    @property
    def first(self) -> str:
        """The statement that makes the first partition of a table that has none."""
        return f"CREATE TABLE {self.place(0)} PARTITION OF {self.place()} FOR VALUES FROM (MINVALUE) TO ({WIDTH})"


class Partition(Struct):
    """One partition.

    Attributes:
        number: Which one.
        closed: Since when nothing is added to it, as far as that was recorded.
    """

    number: int
    closed: datetime | None = None


class State(Struct):
    """Where a table stands.

    Attributes:
        current: The number of the partition that rows are added to.
        begun: How old the first row of that one is; ``None`` where it has none.
        partitions: All that there are.
    """

    current: int
    begun: datetime | None
    partitions: tuple[Partition, ...]


class Make(Struct):
    """Make a partition."""

    number: int


class Enter(Struct):
    """Let rows be added to a partition that exists from now on."""

    number: int


class Close(Struct):
    """Record that nothing is added to a partition any more."""

    number: int


class Drop(Struct):
    """Drop a partition, but for what is still needed of it."""

    number: int


Step = Make | Enter | Close | Drop


def next_step(state: State, now: datetime, before: datetime, passed: Sequence[int] = ()) -> Step | None:
    """Return what is to be done next, ``None`` where nothing is.

    Args:
        state: Where the table stands.
        now: The present instant; days are UTC's.
        before: What was closed earlier than that is old enough.
        passed: Partitions that can not be dropped just now.
    """
    left = sorted((each for each in state.partitions if each.number < state.current), key=lambda each: each.number)
    for each in left:
        if each.closed is None:
            return Close(number=each.number)
    if state.begun is not None and state.begun.astimezone(UTC).date() < now.astimezone(UTC).date():
        number = state.current + 1
        return Enter(number=number) if any(each.number == number for each in state.partitions) else Make(number=number)
    for each in left:
        if each.closed is not None and each.closed < before and each.number not in passed:
            return Drop(number=each.number)
    return None
