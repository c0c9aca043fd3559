"""The metrics of all workers as one: live ones are asked, those that ended keep counting."""

from __future__ import annotations

from trivet.telemetry.metrics import ENCODER, Registry, merge, render


class Fleet:
    """Adds up what workers measured.

    Counters and histograms never go back: what a worker counted before it ended is kept, as of its last report.

    Args:
        own: The supervisor's registry.
    """

    def __init__(self, own: Registry) -> None:
        self._own = own
        self._live: dict[int, tuple[str, bytes]] = {}
        self._gone = b""

    def report(self, pid: int, name: str, snapshot: bytes) -> None:
        """Take a worker's latest snapshot."""
        if snapshot:
            self._live[pid] = (name, snapshot)

    def ended(self, pid: int) -> None:
        """Keep what a worker counted."""
        _, snapshot = self._live.pop(pid, ("", b""))
        if snapshot:
            gone = [self._gone, snapshot] if self._gone else [snapshot]
            self._gone = ENCODER.encode(merge((), gone))

    def text(self) -> str:
        """Return everything in the Prometheus text format."""
        live = [*self._live.values(), ("supervisor", self._own.snapshot())]
        return render(merge(live, [self._gone] if self._gone else ()))
