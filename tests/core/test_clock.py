"""Identifiers are ordered by time and carry their shard."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trivet.core.clock import Deadline, SystemClock, shard_of, uuid7


@given(st.integers(0, 2**63), st.integers(0, 479), st.integers(0, 2**56 - 1))
def test_an_identifier_is_a_version_7_uuid_that_carries_its_shard(nanoseconds: int, shard: int, random: int) -> None:
    identifier = uuid7(nanoseconds, shard, random)
    assert identifier.version == 7
    assert identifier.variant == "specified in RFC 4122"
    assert shard_of(identifier) == shard
    assert identifier.int >> 80 == nanoseconds // 1_000_000 & 0xFFFF_FFFF_FFFF


def test_one_clock_never_gives_an_identifier_that_is_not_greater() -> None:
    clock = SystemClock()
    identifiers = [clock.new_id() for _ in range(5_000)]
    assert identifiers == sorted(set(identifiers))


def test_a_deadline_counts_down_to_zero_and_stays_there() -> None:
    class Stopped(SystemClock):
        at = 10.0

        def monotonic(self) -> float:
            return self.at

    clock = Stopped()
    deadline = Deadline(12.5, clock)
    assert deadline.remaining() == 2.5
    clock.at = 99
    assert deadline.remaining() == 0
