"""What became of deliveries, as numbers and lines."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from trivet.messaging.backlog import Backlog
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
        self._transactions = metrics.counter(
            "trivet_delivery_transactions_total",
            "Transactions of handlers; those that were parted held several deliveries and kept none of them.",
            ["subscriber", "outcome"],
        )
        self._lag = metrics.gauge(
            "trivet_delivery_lag_seconds", "How long the delivery that waits longest has been due."
        ).bind()

    def delivered(self, subscriber: str, seconds: float) -> None:
        """Count a handler that took effect."""
        self._deliveries.bind(subscriber, "delivered").inc()
        self._seconds.bind(subscriber).observe(seconds)

    def committed(self, subscriber: str, count: int) -> None:
        """Count a transaction; over `trivet_deliveries_total` that says how many deliveries share one."""
        self._transactions.bind(subscriber, "committed").inc()

    def parted(self, subscriber: str, error: BaseException | None) -> None:
        """Count a transaction of several deliveries of which nothing was kept."""
        self._transactions.bind(subscriber, "parted").inc()
        self._log.warning(
            "deliveries could not be committed together, each is tried alone", subscriber=subscriber, error=error
        )

    def retried(self, subscriber: str, attempts: int, error: BaseException) -> None:
        """Count a handler that failed and will be tried again."""
        self._deliveries.bind(subscriber, "retried").inc()
        self._log.warning("delivery failed, will be tried again", subscriber=subscriber, attempts=attempts, error=error)

    def buried(self, subscriber: str, attempts: int, error: BaseException) -> None:
        """Count a dead letter."""
        self._deliveries.bind(subscriber, "dead").inc()
        self._log.failure("delivery failed for the last time", error, subscriber=subscriber, attempts=attempts)

    def cancelled(self, subscriber: str) -> None:
        """Count a job that was cancelled while it ran."""
        self._deliveries.bind(subscriber, "cancelled").inc()

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


class ViewMetrics:
    """How old the rows of read models are, as a gauge: every worker looks at the same store, so take the maximum.

    Args:
        metrics: Where the numbers go.
    """

    def __init__(self, metrics: Registry) -> None:
        self._age = metrics.gauge(
            "trivet_view_age_seconds",
            "How long ago the oldest event came about that a read model lacks, or it was made.",
            ["view"],
        )

    def age(self, view: str, seconds: float) -> None:
        """Say how old the rows of one are."""
        self._age.bind(view).set(seconds)


class BacklogMetrics:
    """What each subscriber has before it, as gauges: every worker counts the same store, so take the maximum.

    Args:
        metrics: Where the numbers go.
        subscribers: Those that this process knows; they are there from the start, with 0.
    """

    def __init__(self, metrics: Registry, subscribers: Sequence[str]) -> None:
        self._count = metrics.gauge(
            "trivet_outbox_deliveries", "Deliveries that are not done, by how far they are.", ["subscriber", "state"]
        )
        self._oldest = metrics.gauge(
            "trivet_outbox_oldest_seconds", "Age of the oldest message that is not delivered.", ["subscriber"]
        )
        self._known = set(subscribers)

    def backlog(self, found: Sequence[Backlog], now: datetime) -> None:
        """Set the gauges; a subscriber that is not mentioned has nothing before it."""
        by_name = {each.subscriber: each for each in found}
        self._known |= set(by_name)
        for name in self._known:
            each = by_name.get(name) or Backlog(subscriber=name)
            for state, count in (("waiting", each.waiting), ("retrying", each.retrying), ("dead", each.dead)):
                self._count.bind(name, state).set(count)
            age = 0.0 if each.oldest is None else (now - each.oldest).total_seconds()
            self._oldest.bind(name).set(max(0.0, age))
