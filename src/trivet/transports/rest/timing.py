"""``Server-Timing``: where the time of a request went, for the developer's tools of a browser. In development only.

What each part takes tells strangers things (whether a row exists, whether a cache had it), so production says nothing.
"""

from __future__ import annotations

from trivet.core.clock import Clock


class Timing:
    """The parts of one request, in order.

    Args:
        clock: Measures them.
        since: When the request arrived, on the monotonic clock.
    """

    __slots__ = ("_clock", "_last", "_parts")

    def __init__(self, clock: Clock, since: float) -> None:
        self._clock = clock
        self._last = since
        self._parts: dict[str, float] = {}

    def ends(self, part: str) -> None:
        """Say that a part ends here; it began where the one before ended."""
        now = self._clock.monotonic()
        self._parts[part] = self._parts.get(part, 0.0) + now - self._last
        self._last = now

    def field(self) -> tuple[bytes, bytes]:
        """Return the header field: milliseconds by part."""
        said = ", ".join(f"{part};dur={seconds * 1000:.2f}" for part, seconds in self._parts.items())
        return b"server-timing", said.encode()
