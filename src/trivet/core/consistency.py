"""What a caller has seen of databases that have several copies, so that it never sees less afterwards.

A `Mark` is a place in the history of one database: whoever reads at a node that has come so far sees all that happened
before. A caller that wrote has the mark of its commit; one that read from a replica has the mark it came with, and the
replica at which it stays. `Marks` are those of several databases, one for each.

Where rows are on several nodes, the directory that says which is on which has a mark as well: who has seen a row at its
new node is not to be sent back to the old one by a process that does not know yet.
"""

from __future__ import annotations

from trivet.core.shape import Struct

FARTHEST = 2**64 - 1
"""A position that no replica ever reaches: how far a caller has seen is not known, and only the primary will do."""

MARKED_MAX = 64
"""So many databases of one app may have replicas at most: that bounds what its callers carry."""

DIRECTORY = 0
"""What marks call the directory of shards; its positions are its versions. No cluster has this number."""


class Mark(Struct, array_like=True):
    """A place in the history of a database.

    Attributes:
        database: Identifies the database and all of its copies.
        timeline: Of the history; a promoted replica begins a new one.
        position: How far.
        node: The copy at which the caller stays, because it may have seen more there than `position` says; 0 for any.
    """

    database: int
    timeline: int
    position: int
    node: int = 0


Marks = tuple[Mark, ...]
"""At most one for each database."""


class Witness:
    """What the caller of one request has seen; calls that belong to the request share it.

    Args:
        marks: What it had seen before; ``None`` where that is not known, so that only a primary will do.
        keeps: Whether the caller keeps account itself, and has to be told what it has seen by now.

    Attributes:
        wrote: Whether it has changed anything by now.
    """

    __slots__ = ("keeps", "marks", "wrote")

    def __init__(self, marks: Marks | None, keeps: bool) -> None:
        self.marks = marks
        self.keeps = keeps
        self.wrote = False

    def see(self, seen: Marks, since: Marks | None, wrote: bool) -> None:
        """Note what one unit of work has seen.

        Args:
            seen: By that unit of work; databases that it did not use may be absent.
            since: The marks with which it began.
            wrote: Whether it changed anything.
        """
        if not seen:
            return
        known = self.marks or ()
        if self.marks is since:  # or else another one ran at the same time
            databases = {mark.database for mark in seen}
            known = tuple(mark for mark in known if mark.database not in databases)
        self.marks = both(known, seen)
        self.wrote = self.wrote or wrote


def both(one: Marks, other: Marks) -> Marks:
    """Return the marks of a caller that has seen both."""
    found = {mark.database: mark for mark in one}
    for mark in other:
        known = found.get(mark.database)
        found[mark.database] = mark if known is None else joined(known, mark)
    return tuple(found.values())


def joined(one: Mark, other: Mark) -> Mark:
    """Return the mark of a caller that has seen both in one database, in whichever order."""
    if FARTHEST in (one.position, other.position):
        return Mark(database=one.database, timeline=max(one.timeline, other.timeline), position=FARTHEST)
    if one.timeline != other.timeline:
        return max(one, other, key=lambda mark: mark.timeline)
    if one.node == other.node:
        return max(one, other, key=lambda mark: mark.position)
    return Mark(database=one.database, timeline=one.timeline, position=FARTHEST)
