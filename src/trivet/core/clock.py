"""Time, identifiers and randomness: passed in everywhere, so that a simulation can own them."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from functools import partial
from typing import Protocol
from uuid import UUID

import msgspec


class Clock(Protocol):
    """Where time and identifiers come from."""

    def now(self) -> datetime:
        """Return the instant, in UTC."""
        ...

    def monotonic(self) -> float:
        """Return seconds that never go back; only differences mean anything."""
        ...

    def new_id(self, shard: int = 0) -> UUID:
        """Return a new UUIDv7 that carries the logical shard."""
        ...


class SystemClock:
    """The machine's clock and its random source."""

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last = 0

    now = staticmethod(partial(datetime.now, UTC))
    monotonic = staticmethod(time.monotonic)

    def new_id(self, shard: int = 0) -> UUID:
        """Return a UUIDv7 that is greater than every one this clock gave before."""
        nanoseconds = time.time_ns()
        if nanoseconds - self._last < STEP_NS:
            nanoseconds = self._last + STEP_NS
        self._last = nanoseconds
        return uuid7(nanoseconds, shard, int.from_bytes(os.urandom(7), "big"))


STEP_NS = 245
"""A little more than what one step of the 12-bit fraction of a millisecond stands for, in nanoseconds."""

SHARD_BITS = 9
"""Room for 480 logical shards, in the top bits of what follows the variant."""


def uuid7(nanoseconds: int, shard: int, random: int) -> UUID:
    """Lay out a UUIDv7 (RFC 9562 section 5.7, method 3 of section 6.2).

    Args:
        nanoseconds: Since the Unix epoch; 48 bits of milliseconds and 12 bits of their fraction are kept.
        shard: Logical shard, below 512.
        random: At least 53 random bits.
    """
    milliseconds, rest = divmod(nanoseconds, 1_000_000)
    fraction = (rest << 12) // 1_000_000
    value = (milliseconds & 0xFFFF_FFFF_FFFF) << 80 | 0x7 << 76 | fraction << 64 | 0b10 << 62
    return UUID(int=value | (shard & 0x1FF) << 53 | random & ((1 << 53) - 1))


def shard_of(identifier: UUID) -> int:
    """Return the logical shard that :func:`uuid7` laid into the identifier."""
    return identifier.int >> 53 & 0x1FF


class Deadline(msgspec.Struct, eq=False):
    """The instant by which an answer must exist, on the monotonic clock; made for every request, so in C."""

    at: float
    _clock: Clock

    def __repr__(self) -> str:
        return f"Deadline(remaining={self.remaining():.3f})"

    def remaining(self) -> float:
        """Return the seconds left, never below 0."""
        return max(0.0, self.at - self._clock.monotonic())

    def rings(self) -> bool:
        """Whether somebody cancels the running task at that instant, so that what it waits for needs no timer."""
        return False
