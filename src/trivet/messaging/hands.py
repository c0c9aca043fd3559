"""Hands: how due deliveries are dealt out, so that quick handlers share a transaction and slow ones do not wait.

What is in one hand belongs to one subscriber and is handled one after the other. Deliveries of one queue (subscriber
and aggregate) are never in two hands. A delivery that was tried before has a hand of its own: whatever ended that
attempt, also the end of its whole process, must not happen to others again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated

from msgspec import Meta

from trivet.core.shape import Struct

MOST = 50
"""How many deliveries share a transaction at most. Each that writes stands on a savepoint, and from 64 of those on
PostgreSQL makes every other transaction look up on disk what they are."""


class Sharing(Struct):
    """How far deliveries to one handler share a transaction.

    Attributes:
        most: How many at most; 1 gives each a transaction of its own.
        seconds: After so long a transaction takes no further delivery and commits.
        patience: How long one handler may take while others wait for the same commit; whoever needs more is handled
            alone.
    """

    most: Annotated[int, Meta(ge=1, le=MOST)] = MOST
    seconds: Annotated[float, Meta(gt=0)] = 0.1
    patience: Annotated[float, Meta(gt=0)] = 0.25


class Near(Struct):
    """A delivery that is due.

    Attributes:
        id: Its row.
        subscriber: Who is to handle it.
        queue: What orders it among the subscriber's deliveries.
        attempts: How many attempts began.
    """

    id: int
    subscriber: str
    queue: str
    attempts: int


def deal(near: Sequence[Near], hands: int, size: Callable[[str], int]) -> list[list[Near]]:
    """Deal out what is due, in its order, each queue from its front; what fits in no hand is left for a later round.

    Args:
        near: What is due, the longest first.
        hands: How many there are.
        size: Returns how many deliveries of a subscriber go into one hand.
    """
    dealt: list[list[Near]] = []
    open_hand: dict[str, list[Near] | None] = {}
    hand_of: dict[tuple[str, str], list[Near] | None] = {}
    fronts = {queue: iter(those) for queue, those in _by_queue(near).items()}
    for place in near:
        queue = (place.subscriber, place.queue)
        each = next(fronts[queue])
        most = size(each.subscriber)
        if queue in hand_of:
            hand = hand_of[queue]
            if hand is None or len(hand) >= most:
                continue
        else:
            hand = None if each.attempts else open_hand.get(each.subscriber)
            if hand is None or len(hand) >= most:
                if len(dealt) == hands:
                    continue
                hand = []
                dealt.append(hand)
                if not each.attempts:
                    open_hand[each.subscriber] = hand
        if each.attempts and hand:
            continue  # it comes after others of its queue, and alone
        hand.append(each)
        hand_of[queue] = None if each.attempts else hand
    return dealt


def _by_queue(near: Sequence[Near]) -> dict[tuple[str, str], list[Near]]:
    queues: dict[tuple[str, str], list[Near]] = {}
    for each in sorted(near, key=lambda each: each.id):
        queues.setdefault((each.subscriber, each.queue), []).append(each)
    return queues


def next_size(size: int, seconds: float, sharing: Sharing) -> int:
    """Return how many deliveries share the next transaction: as many as are handled in its time, at most twice as many.

    Args:
        size: How many may share one now.
        seconds: How long each took.
        sharing: The limits.
    """
    fit = sharing.most if seconds <= 0 else int(min(sharing.most, sharing.seconds / seconds))
    return max(1, min(2 * size, fit))


class Pace:
    """How many deliveries of each subscriber share a transaction; each begins with one.

    Args:
        sharing: The limits.
    """

    def __init__(self, sharing: Sharing) -> None:
        self._sharing = sharing
        self._sizes: dict[str, int] = {}
        self._single: set[str] = set()

    def size(self, subscriber: str) -> int:
        """Return how many go into one hand."""
        return self._sizes.get(subscriber, 1)

    @property
    def largest(self) -> int:
        """How many go into one hand of whoever is quickest."""
        return max(self._sizes.values(), default=1)

    def handled(self, subscriber: str, count: int, seconds: float) -> None:
        """Take note of how long so many took, one after the other.

        What one took alone may be waiting for others; that is found out by letting two share a transaction.
        """
        if subscriber in self._single:
            return
        known = self._sizes.get(subscriber)
        if known is None and seconds < self._sharing.patience:
            self._sizes[subscriber] = min(2, self._sharing.most)
        else:
            self._sizes[subscriber] = next_size(known or 1, seconds / count, self._sharing)

    def apart(self, subscriber: str) -> None:
        """Take note that they could not be handled together; begin with one again."""
        self._sizes.pop(subscriber, None)

    def single(self, subscriber: str) -> None:
        """Take note that its handler waits for what is outside: never with the locks of others."""
        self._sizes.pop(subscriber, None)
        self._single.add(subscriber)
