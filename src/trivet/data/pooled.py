"""Who is told what a pool of connections does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol

Refusal = Literal["timeout", "deadline", "queue", "unavailable"]
"""Why a unit of work got no connection: none was free in time, its own deadline came first, too many waited already, or
the server can not be reached."""


class PoolObserver(Protocol):
    """Counts what one pool does; must return quickly and never raise."""

    def acquired(self, seconds: float) -> None:
        """A unit of work got a connection, so many seconds after it wanted one."""

    def refused(self, why: Refusal) -> None:
        """A unit of work got none."""


class PoolsObserver(Protocol):
    """Is told which pools there are."""

    def pool(
        self, node: str, size: int, opened: Callable[[], int], used: Callable[[], int], waiting: Callable[[], int]
    ) -> PoolObserver:
        """Take note of a pool and return who counts what it does.

        Args:
            node: Whose connections they are, such as ``primary``.
            size: How many it has at most.
            opened: Returns how many exist or are being opened.
            used: Returns how many somebody uses.
            waiting: Returns how many units of work wait for one.
        """
        ...


class Uncounted:
    """Nobody counts."""

    def acquired(self, seconds: float) -> None:
        """Count nothing."""

    def refused(self, why: Refusal) -> None:
        """Count nothing."""


UNCOUNTED = Uncounted()
