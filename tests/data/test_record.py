"""What callers wrote is remembered for as long as a replica may not have it."""

from __future__ import annotations

import pytest

from trivet.core.consistency import Mark
from trivet.data import record
from trivet.data.record import MARGIN_SECONDS, MemoryRecord

ANN, BOB = (None, "ann"), ("acme", "ann")


def at(position: int) -> tuple[Mark, ...]:
    return (Mark(database=1, timeline=1, position=position),)


class Time:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_change_is_remembered_longer_than_a_replica_may_be_behind() -> None:
    time = Time()
    kept = MemoryRecord(60, time)
    kept.note(ANN, at(5))
    assert (kept.of(ANN), kept.of(BOB)) == (at(5), ())
    time.now += 60 + MARGIN_SECONDS - 0.1
    assert kept.of(ANN) == at(5)
    kept.note(BOB, at(6))
    time.now += 0.2
    assert (kept.of(ANN), kept.of(BOB)) == ((), at(6))


def test_what_was_written_before_this_process_began_counts_for_everybody() -> None:
    time = Time()
    kept = MemoryRecord(60, time)
    kept.begin(at(5))
    kept.note(ANN, at(7))
    assert (kept.of(ANN), kept.of(BOB)) == (at(7), at(5))
    time.now += 60 + MARGIN_SECONDS
    assert kept.of(BOB) == ()


def test_more_callers_than_it_has_room_for_count_for_everybody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "REMEMBERED_MAX", 2)
    kept = MemoryRecord(60, Time())
    for number in range(4):
        kept.note((None, str(number)), at(number + 1))
    assert kept.of((None, "3")) == at(4)
    assert kept.of((None, "0")) == kept.of(BOB) == at(2)
