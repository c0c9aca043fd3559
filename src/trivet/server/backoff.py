"""When a crashed worker is started again."""

from __future__ import annotations

from trivet.core.backoff import longest_pause

FIRST_SECONDS = 0.1
LAST_SECONDS = 30.0
HEALTHY_SECONDS = 60.0
"""A worker that served this long did not crash because of how it starts."""


def restart_delay(failures: int) -> float:
    """Return the seconds to wait before the next start.

    Args:
        failures: Crashes in a row, the last one included; at least 1.
    """
    return longest_pause(failures, FIRST_SECONDS, LAST_SECONDS)


def failures_after(failures: int, served_seconds: float) -> int:
    """Return the crashes in a row, after a worker that served for so long crashed."""
    return 1 if served_seconds >= HEALTHY_SECONDS else failures + 1
