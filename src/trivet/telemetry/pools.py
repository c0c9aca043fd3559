"""Pools of connections as numbers."""

from __future__ import annotations

from collections.abc import Callable

from trivet.telemetry.metrics import Registry

WAIT_SECONDS = (0.0, 0.0001, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Bounds for the time until a connection is had; the first one counts those that did not wait at all."""


class PoolCounter:
    """Counts what one pool does.

    Args:
        metrics: Where the numbers go.
        node: Whose connections they are.
    """

    def __init__(self, metrics: Registry, node: str) -> None:
        self._node = node
        self._seconds = metrics.histogram(
            "trivet_database_pool_acquire_seconds",
            "Time until a unit of work had a connection, for those that got one.",
            ["node"],
            WAIT_SECONDS,
        ).bind(node)
        self._refused = metrics.counter(
            "trivet_database_pool_refused_total", "Units of work that got no connection, by why.", ["node", "why"]
        )
        for why in ("timeout", "deadline", "queue", "unavailable"):
            self._refused.bind(node, why)

    def acquired(self, seconds: float) -> None:
        """Count a unit of work that got a connection, so long after it wanted one."""
        self._seconds.observe(seconds)

    def refused(self, why: str) -> None:
        """Count a unit of work that got no connection."""
        self._refused.bind(self._node, why).inc()


class PoolMetrics:
    """Shows every pool of this process.

    Args:
        metrics: Where the numbers go.
    """

    def __init__(self, metrics: Registry) -> None:
        self._metrics = metrics

    def pool(
        self, node: str, size: int, opened: Callable[[], int], used: Callable[[], int], waiting: Callable[[], int]
    ) -> PoolCounter:
        """Show a pool, and return who counts what it does."""
        for name, help, read in (
            ("size", "Connections that the pool has at most.", lambda: size),
            ("open", "Connections that exist or are being opened.", opened),
            ("in_use", "Connections that somebody uses.", used),
            ("waiting", "Units of work that wait for a connection.", waiting),
        ):
            self._metrics.gauge(f"trivet_database_pool_{name}", help, ["node"]).bind(node).watch(read)
        return PoolCounter(self._metrics, node)
