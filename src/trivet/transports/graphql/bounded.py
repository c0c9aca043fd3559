"""A cache that is bounded in entries and in weight."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Bounded(Generic[T]):
    """A cache that forgets what was not used for the longest time.

    Args:
        entries: How many it keeps.
        weight: How much they may weigh together.
    """

    def __init__(self, entries: int, weight: int) -> None:
        self._entries = entries
        self._weight = weight
        self._kept: OrderedDict[Any, tuple[T, int]] = OrderedDict()
        self.weighs = 0

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: Any) -> T | None:
        """Return what is kept under the key."""
        found = self._kept.get(key)
        if found is None:
            return None
        self._kept.move_to_end(key)
        return found[0]

    def put(self, key: Any, value: T, weight: int) -> None:
        """Keep something, and forget others for it."""
        old = self._kept.pop(key, None)
        self.weighs += weight - (old[1] if old is not None else 0)
        self._kept[key] = (value, weight)
        while self._kept and (len(self._kept) > self._entries or self.weighs > self._weight):
            _, (_, forgotten) = self._kept.popitem(last=False)
            self.weighs -= forgotten
