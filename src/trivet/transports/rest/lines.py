"""Items that come in over REST: JSON, each on a line of its own (https://github.com/ndjson/ndjson-spec)."""

from __future__ import annotations

from trivet.contracts.problem import BodyTooLarge


class Lines:
    """Takes a body apart into lines; a `Split`. Empty lines are passed over, the last one needs no end.

    Args:
        limit: Bytes that a line may have.
    """

    __slots__ = ("_at", "_data", "_ended", "_limit", "_searched")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._data = bytearray()
        self._at = 0
        self._searched = 0
        self._ended = False

    def feed(self, piece: bytes) -> None:
        """Add what came."""
        del self._data[: self._at]
        self._searched = len(self._data)  # nothing could be taken: there is no end of a line in it
        self._at = 0
        self._data += piece

    def end(self) -> None:
        """Note that nothing more comes."""
        self._ended = True

    def take(self) -> bytes | None:
        """Return the next line, ``None`` where it is not there yet.

        Raises:
            BodyTooLarge: It is larger than `limit`.
        """
        data = self._data
        while True:
            end = data.find(b"\n", max(self._at, self._searched))
            if end < 0 and self._ended and self._at < len(data):
                end = len(data)
            if (len(data) if end < 0 else end) - self._at > self._limit:
                raise BodyTooLarge(limit=self._limit)
            if end < 0:
                return None
            line = bytes(memoryview(data)[self._at : end]).strip(b" \t\r")
            self._at = end + 1
            if line:
                return line
