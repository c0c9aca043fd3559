"""One driver connection, and the meter that stops its statements."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from trivet.core.clock import Deadline
from trivet.data.database import Row
from trivet.data.statement import Form

TICK = 1_000
"""Virtual machine steps between two reports of progress: some 20 µs."""

BUDGET = 25
"""Ticks that a statement may take in the event loop."""

UNLIMITED = 1 << 62


class Meter:
    """Hears of the progress of the statement that runs on one connection and says when to stop it."""

    __slots__ = ("deadline", "left", "stopped")

    def __init__(self) -> None:
        self.left = UNLIMITED
        self.deadline: Deadline | None = None
        self.stopped = False

    def __call__(self) -> bool:
        """Count a tick; ``True`` stops the statement."""
        self.left -= 1
        return self.stopped or self.left < 0 or (self.deadline is not None and self.deadline.remaining() <= 0)


class Connection:
    """A driver connection.

    It is used in the event loop and in threads, but never by two at a time; whoever holds it sees to that.

    Args:
        path: The file.
        write: Whether it may change anything.

    Raises:
        sqlite3.Error: The file can not be opened.
    """

    __slots__ = ("driver", "meter")

    def __init__(self, path: Path, *, write: bool) -> None:
        self.meter = Meter()
        self.driver = sqlite3.connect(
            path, timeout=0, isolation_level=None, check_same_thread=False, cached_statements=512
        )
        try:
            self.driver.execute("PRAGMA foreign_keys=ON")
            self.driver.execute("PRAGMA synchronous=FULL")
            if not write:
                self.driver.execute("PRAGMA query_only=ON")
            self.driver.set_progress_handler(self.meter, TICK)
        except BaseException:
            self.driver.close()
            raise

    def fetch(self, form: Form, values: Sequence[Any], ticks: int, deadline: Deadline | None) -> list[Row]:
        """Run a statement and return its rows; it is interrupted after `ticks` and at the deadline."""
        meter = self.meter
        meter.left, meter.deadline = ticks, deadline
        return self.driver.execute(form.sql, form.arrange(values)).fetchall()

    def execute(self, form: Form, values: Sequence[Any], deadline: Deadline | None) -> int:
        """Run a statement and return how many rows it changed; it is interrupted at the deadline."""
        meter = self.meter
        meter.left, meter.deadline = UNLIMITED, deadline
        return self.driver.execute(form.sql, form.arrange(values)).rowcount

    def execute_many(self, form: Form, values: Sequence[Sequence[Any]], deadline: Deadline | None) -> None:
        """Run a statement once for each sequence of values; each is interrupted at the deadline."""
        meter = self.meter
        meter.left, meter.deadline = UNLIMITED, deadline
        self.driver.executemany(form.sql, [form.arrange(each) for each in values])

    def load(self, form: Form, rows: Iterable[Row], deadline: Deadline | None) -> None:
        """Run a statement once for each row, which is taken when the one before is done; interrupted as the others."""
        meter = self.meter
        meter.left, meter.deadline = UNLIMITED, deadline
        self.driver.executemany(form.sql, map(form.arrange, rows))

    def begin_scan(
        self, cursor: sqlite3.Cursor, form: Form, values: Sequence[Any], size: int, deadline: Deadline | None
    ) -> list[Row]:
        """Begin to run a statement and return its first rows; it is interrupted at the deadline."""
        meter = self.meter
        meter.left, meter.deadline = UNLIMITED, deadline
        return cursor.execute(form.sql, form.arrange(values)).fetchmany(size)

    def go_on(self, cursor: sqlite3.Cursor, size: int, deadline: Deadline | None) -> list[Row]:
        """Return the next rows of a statement; it is interrupted at the deadline."""
        meter = self.meter
        meter.left, meter.deadline = UNLIMITED, deadline
        return cursor.fetchmany(size)

    def command(self, sql: str) -> None:
        """Run ``BEGIN``, ``COMMIT`` or ``ROLLBACK``; none of them is interrupted."""
        meter = self.meter
        meter.left, meter.deadline = UNLIMITED, None
        self.driver.execute(sql)

    def lent(self, deadline: Deadline | None) -> sqlite3.Connection:
        """Return the driver's connection for statements of somebody else, interrupted at the deadline only."""
        self.meter.left, self.meter.deadline = UNLIMITED, deadline
        return self.driver

    @property
    def over_budget(self) -> bool:
        """Whether the unlimited statement that ran last took longer than the event loop should wait."""
        return self.meter.left < UNLIMITED - BUDGET

    def close(self) -> None:
        """Close it; an open transaction is rolled back."""
        self.driver.close()
