"""How long to wait, and how long things last: longer with each attempt, and never together with others.

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
    return spread(longest_pause(attempt, first, longest), 1)


def spread(longest: float, part: float) -> float:
    """Return a length of time, drawn so that what began together does not end together.

    Args:
        longest: Seconds at most.
        part: How much of them may be left out, from 0 to 1.
    """
    return longest * (1 - part * random.random())  # noqa: S311 - spreads what would coincide, protects nothing
