"""What callers wrote lately that keep no account of it themselves."""

from __future__ import annotations

from collections.abc import Callable

from trivet.core.consistency import Marks, both

REMEMBERED_MAX = 100_000
"""Callers whose changes are remembered one by one; what the ones before them wrote counts for everybody."""

MARGIN_SECONDS = 5.0
"""How much longer a change is remembered than a replica may be behind."""

Who = tuple[str | None, str]
"""Tenant and subject of a caller; those without credentials are one."""


class MemoryRecord:
    """What callers wrote lately, in the memory of this process.

    Args:
        behind: Seconds that a replica may be behind; for longer than that a change is remembered.
        monotonic: The time.
    """

    def __init__(self, behind: float, monotonic: Callable[[], float]) -> None:
        self._seconds = behind + MARGIN_SECONDS
        self._monotonic = monotonic
        self._of: dict[Who, tuple[float, Marks]] = {}  # the ones that changed something longest ago are first
        self._everybody: tuple[float, Marks] = (0.0, ())

    def begin(self, marks: Marks) -> None:
        """Remember for everybody what was written before this process began to remember."""
        self._everybody = (self._monotonic() + self._seconds, marks)

    def note(self, who: Who, marks: Marks) -> None:
        """Remember what a caller has seen after it changed something."""
        now = self._monotonic()
        self._of.pop(who, None)
        self._of[who] = (now + self._seconds, marks)
        while self._of:
            oldest = next(iter(self._of))
            until, seen = self._of[oldest]
            if until > now and len(self._of) <= REMEMBERED_MAX:
                return
            del self._of[oldest]
            if until > now:
                self._everybody = (max(until, self._everybody[0]), both(self._everybody[1], seen))

    def of(self, who: Who) -> Marks:
        """Return what a caller has to see."""
        now = self._monotonic()
        until, marks = self._of.get(who, (0.0, ()))
        own = marks if until > now else ()
        until, marks = self._everybody
        return both(own, marks) if until > now else own
