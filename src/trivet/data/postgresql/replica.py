"""A replica as this process sees it, and the choice between several: decided by what was last seen, without I/O."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Sequence

from trivet.core.consistency import FARTHEST, Mark
from trivet.core.shape import Struct
from trivet.data.postgresql.watch import Sight

GRAIN_SECONDS = 0.02
"""How finely it is remembered when the primary was where."""

FRESH_SECONDS = 0.02
"""A replica that was late when it was looked at longer ago may have come far enough by now."""

NEVER = float("-inf")

SETTINGS = "TRIVET_DATABASE__REPLICAS (of a shard: TRIVET_DATABASE__SHARD_REPLICAS)"

TIMELINE_HINT = "grant pg_read_all_stats to its user, so that a replica that follows a new primary is known at once"


class Course:
    """Where a primary was when: by that a replica is so many seconds behind, whatever its own clock says.

    Args:
        seconds: How far back it is remembered.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._times: list[float] = []
        self._ends: list[int] = []
        self._before: list[float] = []
        self._looked = NEVER

    @property
    def end(self) -> int:
        """The last position that is known."""
        return self._ends[-1] if self._ends else 0

    def note(self, now: float, end: int) -> None:
        """Remember where the primary is."""
        before, self._looked = self._looked, now
        if end <= self.end:
            return
        if self._times and now - self._times[-1] < GRAIN_SECONDS:
            self._ends[-1] = end
            return
        self._times.append(now)
        self._ends.append(end)
        self._before.append(before)
        if self._times[0] < now - 2 * self._seconds:
            keep = bisect_right(self._times, now - self._seconds)
            del self._times[:keep], self._ends[:keep], self._before[:keep]

    def behind(self, now: float, position: int) -> float:
        """Return the seconds since the primary was at a position and went on."""
        passed = bisect_right(self._ends, position)
        return max(0.0, now - self._times[passed]) if passed < len(self._times) else 0.0

    def complete(self, position: int) -> float:
        """Return when the primary was last seen not to have gone beyond a position: all until then is there."""
        passed = bisect_right(self._ends, position)
        return self._before[passed] if passed < len(self._before) else self._looked

    def forget(self) -> None:
        """Begin anew: the primary is another one."""
        self._times.clear()
        self._ends.clear()
        self._before.clear()
        self._looked = NEVER


class Candidate(Struct):
    """A replica that can be used, for the choice.

    Attributes:
        index: Which one.
        node: Identifies this start of it.
        timeline: Of its history.
        position: As far as it has come.
        behind: Seconds since the primary was there, when it was looked at.
        age: Seconds since it was looked at.
    """

    index: int
    node: int
    timeline: int
    position: int
    behind: float
    age: float


class Choice(Struct):
    """Where to read.

    Attributes:
        ready: Replicas that have come far enough.
        hopeful: Replicas that may have, or will in a moment, the one that has come farthest first.
        why: What the primary is for, where there is neither.
    """

    ready: tuple[int, ...] = ()
    hopeful: tuple[int, ...] = ()
    why: str = ""


def choose(candidates: Sequence[Candidate], mark: Mark | None, timeline: int, wait: float) -> Choice:
    """Return where a caller may read that has seen `mark`.

    Args:
        candidates: Replicas that can be used.
        mark: What it has seen of this database; ``None`` for nothing.
        timeline: Of the primary.
        wait: Seconds that it would wait for a replica.
    """
    if not candidates:
        return Choice(why="no replica")
    if mark is None:
        return Choice(ready=tuple(each.index for each in candidates))
    if mark.position == FARTHEST or mark.timeline != timeline:
        return Choice(why="behind")
    fit = [
        each
        for each in candidates
        if each.timeline == timeline and (mark.node == 0 or (mark.node == each.node and each.position))
    ]
    ready = tuple(each.index for each in fit if each.position >= mark.position)
    if ready:
        return Choice(ready=ready)
    open_to = (each for each in fit if each.behind <= wait or each.age > FRESH_SECONDS)
    near = sorted(open_to, key=lambda each: -each.position)
    return Choice(hopeful=tuple(each.index for each in near), why="behind")


def wrong(sight: Sight, primary: Sight) -> str:
    """Return why a server is no replica of the primary at all, and what to do; empty where it is one.

    Args:
        sight: What it says about itself.
        primary: What the primary last said.
    """
    if sight.system != primary.system:
        return (
            "it is a replica of another cluster: make it anew from this primary (pg_basebackup), "
            f"or take it out of {SETTINGS}"
        )
    if not sight.standby:
        return (
            "it is a primary, no replica: if it was promoted, name it as the primary, "
            f"and in {SETTINGS} only what follows it"
        )
    return ""


def unfit(sight: Sight, primary: Sight) -> str:
    """Return why a server can not be read in place of the primary just now, and what to do; empty where it can."""
    if not primary.standby and sight.timeline < primary.timeline:
        return (
            f"it follows timeline {sight.timeline} and the primary is on {primary.timeline}: "
            f"let it follow the new primary; {TIMELINE_HINT}"
        )
    return wrong(sight, primary)


def identity_of(name: str, sight: Sight) -> int:
    """Return what marks call a database; several of one app may be in one cluster, or in clusters that began as one.

    Args:
        name: Of the database among those of the app; empty where it is the only one.
        sight: What its server says about itself.
    """
    return _number(f"{name}/{sight.system}") if name else sight.system


def alias_of(name: str) -> int:
    """Return what marks call a database of that name while its server has not been seen: whichever it will be."""
    return _number(f"{name}/")


def _number(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") | 1


def node_of(address: str, sight: Sight) -> int:
    """Return what identifies this start of a server, the same in every process."""
    name = f"{address}/{sight.system}/{sight.started}".encode()
    return int.from_bytes(hashlib.blake2b(name, digest_size=6).digest(), "big") | 1
