"""What to do after a handler failed, and when to look for work again: decisions, without a clock or a database."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from trivet.core.backoff import longest_pause
from trivet.core.shape import Struct

Seconds = Annotated[float, Meta(gt=0)]


class RetryPolicy(Struct):
    """How often and how soon a failed delivery is tried again.

    Attributes:
        attempts_max: After this many attempts the delivery is a dead letter.
        first: The longest pause after the first failure; it doubles with each further one.
        longest: What the pause never exceeds.
        contended: The longest pause after other writers were in the way, which is nobody's failure.
    """

    attempts_max: Annotated[int, Meta(ge=1)] = 12
    first: Seconds = 1.0
    longest: Seconds = 300.0
    contended: Seconds = 0.25


class Again(Struct):
    """Try again.

    Attributes:
        pause: Seconds to wait first.
        counts: Whether the attempt counts against `attempts_max`.
    """

    pause: float
    counts: bool = True


class GiveUp(Struct):
    """Make it a dead letter: nothing more happens until somebody replays it."""


def after_failure(policy: RetryPolicy, attempts: int, contended: bool, chance: float) -> Again | GiveUp:
    """Decide what follows a failed attempt.

    Pauses have full jitter, so that what failed together is not tried again together. Contention is not counted: a
    busy database must not turn good messages into dead letters.

    Args:
        policy: How often and how soon.
        attempts: How many attempts began, this one included.
        contended: Whether only other writers were in the way.
        chance: A random number in [0, 1).
    """
    if contended:
        return Again(pause=chance * policy.contended, counts=False)
    if attempts >= policy.attempts_max:
        return GiveUp()
    return Again(pause=chance * longest_pause(attempts, policy.first, policy.longest))


def idle(now: float, next_due: float | None, poll: float, chance: float) -> float:
    """Return for how many seconds to sleep before looking for due deliveries again.

    Never longer than a poll, whose jitter of up to a quarter keeps processes from asking at the same instant.

    Args:
        now: The present instant, in seconds.
        next_due: When the next delivery that is known is due.
        poll: How often to ask for what other processes committed.
        chance: A random number in [0, 1).
    """
    asked = poll * (1.0 - chance / 4)
    return asked if next_due is None else min(asked, max(0.0, next_due - now))
