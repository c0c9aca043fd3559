"""What became of deliveries, as numbers and lines."""

from __future__ import annotations

from trivet.telemetry.log import Logger
from trivet.telemetry.metrics import Registry


class DeliveryMetrics:
    """Counts deliveries by subscriber and outcome, and says in the log what failed.

    Args:
        metrics: Where the numbers go.
        log: Where the lines go.
    """

    def __init__(self, metrics: Registry, log: Logger) -> None:
        self._log = log
        self._deliveries = metrics.counter(
            "trivet_deliveries_total", "Deliveries of messages by what became of them.", ["subscriber", "outcome"]
        )
        self._seconds = metrics.histogram(
            "trivet_delivery_seconds", "Time that a handler took for one delivery.", ["subscriber"]
        )
        self._lag = metrics.gauge(
            "trivet_delivery_lag_seconds", "How long the delivery that waits longest has been due."
        ).bind()

    def delivered(self, subscriber: str, seconds: float) -> None:
        """Count a handler that took effect."""
        self._deliveries.bind(subscriber, "delivered").inc()
        self._seconds.bind(subscriber).observe(seconds)

    def retried(self, subscriber: str, attempts: int, error: BaseException) -> None:
        """Count a handler that failed and will be tried again."""
        self._deliveries.bind(subscriber, "retried").inc()
        self._log.warning("delivery failed, will be tried again", subscriber=subscriber, attempts=attempts, error=error)

    def buried(self, subscriber: str, attempts: int, error: BaseException) -> None:
        """Count a dead letter."""
        self._deliveries.bind(subscriber, "dead").inc()
        self._log.failure("delivery failed for the last time", error, subscriber=subscriber, attempts=attempts)

    def lost(self, subscriber: str) -> None:
        """Count a handler whose lease ended before it did."""
        self._deliveries.bind(subscriber, "lost").inc()
        self._log.warning("a handler outlived its lease, its changes were rolled back", subscriber=subscriber)

    def lag(self, seconds: float) -> None:
        """Say how long the oldest delivery has been due."""
        self._lag.set(seconds)

    def troubled(self, error: BaseException) -> None:
        """Say that the store could not be asked."""
        self._log.failure("deliveries can not be looked for, trying again", error)
