"""Trouble in a loop that goes on: it is told once while it stays the same."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType


class Trouble:
    """The context of each turn of a loop, which no exception ends.

    What a turn ends with is told, unless the turn before ended with the same. Cancellation is no trouble and goes on.

    Args:
        tell: Told what was raised; must not raise.
    """

    def __init__(self, tell: Callable[[Exception], None]) -> None:
        self._tell = tell
        self._told = ""

    def __enter__(self) -> None:
        """Begin a turn."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        """End a turn, and return whether what it ended with is dealt with."""
        before, self._told = self._told, "" if error is None else f"{type(error).__name__}: {error}"
        if not isinstance(error, Exception):
            return False
        if self._told != before:
            self._tell(error)
        return True
