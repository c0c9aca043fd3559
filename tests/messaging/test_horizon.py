"""The horizon: whatever order transactions begin, write and end in, who reads up to it skips nothing."""

from __future__ import annotations

import random

import pytest

from trivet.messaging.horizon import MARKS_MAX, Horizon


class Server:
    """Transaction ids, positions and commits as PostgreSQL gives them: an id first, then positions, an end at last."""

    def __init__(self) -> None:
        self.next_xid = 100
        self.next_position = 1
        self.running: dict[int, list[int]] = {}
        self.committed: set[int] = set()

    def begin(self) -> int:
        self.next_xid += 1
        self.running[self.next_xid] = []
        return self.next_xid

    def insert(self, xid: int) -> None:
        self.running[xid].append(self.next_position)
        self.next_position += 1

    def end(self, xid: int, commit: bool) -> None:
        positions = self.running.pop(xid)
        if commit:
            self.committed.update(positions)

    @property
    def xmin(self) -> int:
        return min(self.running, default=self.next_xid + 1)


@pytest.mark.simulation
@pytest.mark.parametrize("seed", range(200))
def test_nothing_is_committed_below_what_was_settled(seed: int) -> None:
    chance = random.Random(seed)
    server, horizon = Server(), Horizon("postgresql")
    read = 0
    seen: list[int] = []
    looking: int | None = None
    for _ in range(300):
        match chance.randrange(6):
            case 0:
                server.begin()
            case 1 | 2 if server.running:
                server.insert(chance.choice(list(server.running)))
            case 3 if server.running:
                server.end(chance.choice(list(server.running)), chance.random() < 0.9)
            case 4:
                if looking is None:  # a look has two steps, and anything may happen in between
                    looking = server.next_position - 1
                else:
                    xid = server.begin()
                    server.end(xid, True)
                    horizon.mark(looking, xid, 0)
                    looking = None
            case 5:
                horizon.passed(server.xmin)
                if horizon.settled is not None and horizon.settled > read:
                    seen += sorted(p for p in server.committed if read < p <= horizon.settled)
                    read = horizon.settled
    for xid in list(server.running):
        server.end(xid, True)
    horizon.mark(server.next_position - 1, server.begin(), 0)
    horizon.passed(server.next_xid + 1)
    assert horizon.settled == server.next_position - 1
    seen += sorted(p for p in server.committed if read < p <= horizon.settled)
    assert seen == sorted(server.committed)


def test_behind_a_long_transaction_marks_do_not_pile_up() -> None:
    horizon = Horizon("postgresql")
    for number in range(2 * MARKS_MAX):
        horizon.mark(number, number, number)
    horizon.passed(2 * MARKS_MAX)
    assert horizon.settled == 2 * MARKS_MAX - 1
    assert f"waiting={0}" in repr(horizon)


def test_two_looks_at_the_same_time_never_take_back_what_was_settled() -> None:
    horizon = Horizon("postgresql")
    horizon.mark(6, 101, 60)
    horizon.mark(5, 100, 50)  # asked for earlier, answered later
    horizon.passed(102)
    assert (horizon.settled, horizon.as_of) == (6, 60)


def test_what_waits_behind_the_horizon_is_not_older_than_it_says() -> None:
    horizon = Horizon("postgresql")
    horizon.mark(5, 100, 50)
    horizon.passed(101)
    horizon.mark(6, 102, 60)
    horizon.passed(101)  # somebody still writes
    assert (horizon.settled, horizon.as_of) == (5, 50)
