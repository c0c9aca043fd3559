"""A progress bar on a terminal; silent anywhere else."""

from __future__ import annotations

import sys
import time
from typing import TextIO

WIDTH = 28


class Progress:
    """How far a run is, on one line that is rewritten.

    Args:
        total: Steps until the end.
        stream: Where to draw; only a terminal is drawn on.
    """

    def __init__(self, total: int, stream: TextIO | None = None) -> None:
        self.total = total
        self.done = 0
        self._stream = stream or sys.stderr
        self._draws = self._stream.isatty()
        self._began = time.monotonic()

    def doing(self, what: str) -> None:
        """Say what happens now."""
        if self._draws:
            self._stream.write(f"\r{bar(self.done, self.total)} {self._left():>9} {what[:60]}\x1b[K")
            self._stream.flush()

    def step(self, what: str = "") -> None:
        """Count one step as done."""
        self.done = min(self.done + 1, self.total)
        self.doing(what)

    def close(self) -> None:
        """Leave the line."""
        if self._draws:
            self._stream.write("\r\x1b[K")
            self._stream.flush()

    def _left(self) -> str:
        if not self.done:
            return ""
        seconds = (time.monotonic() - self._began) / self.done * (self.total - self.done)
        return f"{seconds // 60:.0f}:{seconds % 60:02.0f} left"


def bar(done: int, total: int) -> str:
    """Return ``[#####.....]  50 %`` for a share of the work."""
    share = done / total if total else 1.0
    full = int(share * WIDTH)
    return f"[{'#' * full}{'.' * (WIDTH - full)}] {share:4.0%}"
