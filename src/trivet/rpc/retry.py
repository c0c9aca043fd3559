"""When a call is made once more: a pure decision, of what went wrong and of how much time and trust is left.

Repeating a call changes nothing more, since it only reads or has an idempotency key, by which the other process knows
it again; whether it helps depends on the error. Pauses grow and are drawn at random, so that callers do not come back
together; a budget keeps repetitions from adding to an overload (as in gRPC's retry throttling).
"""

from __future__ import annotations

from trivet.core.backoff import full_jitter
from trivet.core.error import Error, Unavailable
from trivet.core.idempotency import IdempotencyKeyInUse

ATTEMPTS = 3
FIRST_SECONDS = 0.05
LONGEST_SECONDS = 1.0


class Budget:
    """How far a server is trusted to answer the next time.

    A failure takes one token of ten, a success gives a tenth of one back; with half of them left nothing is repeated.
    """

    MOST = 10.0

    def __init__(self) -> None:
        self._tokens = self.MOST

    def failed(self) -> None:
        """Count a failure."""
        self._tokens = max(0.0, self._tokens - 1)

    def succeeded(self) -> None:
        """Count a success."""
        self._tokens = min(self.MOST, self._tokens + 0.1)

    @property
    def enough(self) -> bool:
        """Whether a call may be repeated."""
        return self._tokens > self.MOST / 2


def retryable(error: Error) -> bool:
    """Whether an error may be over in a moment."""
    return isinstance(error, Unavailable | IdempotencyKeyInUse)


def pause_of(error: Error, attempt: int, remaining: float, budget: Budget) -> float | None:
    """Return the seconds after which a call is made once more; ``None`` where it is not.

    Args:
        error: What the last attempt ended with.
        attempt: How many there were.
        remaining: Seconds that are left for the answer.
        budget: Of the server.
    """
    if not retryable(error) or attempt >= ATTEMPTS or not budget.enough:
        return None
    pause = full_jitter(attempt, FIRST_SECONDS, LONGEST_SECONDS) + (getattr(error, "retry_after", None) or 0.0)
    return pause if pause < remaining else None
