"""Where a database with replicas is read, as numbers and lines."""

from __future__ import annotations

from trivet.telemetry.log import Logger
from trivet.telemetry.metrics import CounterChild, Registry


class DatabaseMetrics:
    """Counts units of work by the node that they read, and says in the log which servers come and go.

    Args:
        metrics: Where the numbers go.
        log: Where the lines go.
    """

    def __init__(self, metrics: Registry, log: Logger) -> None:
        self._metrics = metrics
        self._log = log
        self._reads: dict[tuple[str, str], CounterChild] = {}
        self._absent: set[str] = set()

    def read(self, node: str, why: str) -> None:
        """Count a unit of work that reads."""
        child = self._reads.get((node, why))
        if child is None:
            child = self._reads[node, why] = self._metrics.counter(
                "trivet_database_reads_total",
                "Units of work that read, by the node at which they began and why they are there.",
                ["node", "why"],
            ).bind(node, why)
        child.inc()

    def moved(self, node: str) -> None:
        """Count a unit of work that a replica let down, and that went on at the primary."""
        self._metrics.counter(
            "trivet_database_moved_total", "Units of work that a replica let down and the primary took over.", ["node"]
        ).bind(node).inc()

    def up(self, node: str) -> None:
        """Say that a replica can be used from now on."""
        self._usable(node, 1)
        self._log.info("replica is used", replica=node)

    def down(self, node: str, why: str) -> None:
        """Say that a replica can not be used from now on."""
        self._usable(node, 0)
        self._log.warning("replica is not used", replica=node, why=why)

    def lag(self, node: str, seconds: float, size: int) -> None:
        """Say how far a replica is behind."""
        self._metrics.gauge(
            "trivet_database_replica_lag_seconds", "Seconds since the primary was where the replica is.", ["replica"]
        ).bind(node).set(seconds)
        self._metrics.gauge(
            "trivet_database_replica_lag_bytes", "Bytes of the log that the replica is behind the primary.", ["replica"]
        ).bind(node).set(size)

    def absent(self, node: str, why: str) -> None:
        """Say that a database of shards can not be used yet, since this process began."""
        self._absence(node, 1)
        self._absent.add(node)
        self._log.error("shards are refused until their database can be used", node=node, why=why)

    def present(self, node: str) -> None:
        """Say that a database of shards is used from now on."""
        self._absence(node, 0)
        if node in self._absent:
            self._absent.remove(node)
            self._log.info("shards are served, their database is used", node=node)

    def _absence(self, node: str, value: float) -> None:
        self._metrics.gauge(
            "trivet_database_absent", "Whether a database of shards could not be used yet since the start.", ["node"]
        ).bind(node).set(value)

    def _usable(self, node: str, value: float) -> None:
        self._metrics.gauge(
            "trivet_database_replica_up", "Whether the replica answers, and is one of this primary.", ["replica"]
        ).bind(node).set(value)
