"""How long to wait before something is tried again: longer each time, and never together with others.

Full jitter: a pause is drawn from all of what it may last, so that what failed together is not tried again together
(https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/).
"""

from __future__ import annotations

import random

DOUBLINGS_MAX = 60
"""More would only overflow."""


def longest_pause(attempt: int, first: float, longest: float) -> float:
    """Return the bound of the pause after an attempt: it doubles with each one.

    Args:
        attempt: How many there were; the first bound is for one or none.
        first: Seconds, of the first bound.
        longest: Seconds that no bound exceeds.
    """
    return min(longest, first * 2.0 ** min(max(attempt - 1, 0), DOUBLINGS_MAX))


def full_jitter(attempt: int, first: float, longest: float) -> float:
    """Return the seconds to wait after an attempt, drawn from all up to `longest_pause`."""
    return random.random() * longest_pause(attempt, first, longest)  # noqa: S311 - spreads who tries again
