"""Which replica a reader gets, decided from what was last seen of each."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trivet.core.consistency import FARTHEST, Mark
from trivet.data.postgresql.replica import FRESH_SECONDS, Candidate, Course, choose, node_of, unfit, wrong
from trivet.data.postgresql.watch import Sight, Watch

WAIT = 0.1


@st.composite
def candidates(draw: st.DrawFn) -> list[Candidate]:
    return [
        Candidate(
            index=index,
            node=draw(st.sampled_from([1, 3, 5])),
            timeline=draw(st.integers(1, 3)),
            position=draw(st.integers(0, 10)),
            behind=draw(st.sampled_from([0.0, 0.05, 2.0])),
            age=draw(st.sampled_from([0.0, 0.2])),
        )
        for index in range(draw(st.integers(0, 3)))
    ]


MARKS = st.builds(
    Mark,
    database=st.just(1),
    timeline=st.integers(1, 3),
    position=st.integers(0, 10) | st.just(FARTHEST),
    node=st.sampled_from([0, 0, 1, 3]),
)


@given(candidates(), MARKS, st.integers(1, 3))
def test_only_replicas_that_show_what_was_seen_are_ready(several: list[Candidate], mark: Mark, timeline: int) -> None:
    choice = choose(several, mark, timeline, WAIT)
    for index in choice.ready:
        one = several[index]
        assert one.position >= mark.position
        assert one.timeline == mark.timeline == timeline
        assert mark.node in (0, one.node)


@given(candidates(), MARKS, st.integers(1, 3))
def test_a_replica_that_could_serve_is_not_passed_by(several: list[Candidate], mark: Mark, timeline: int) -> None:
    could = {
        one.index
        for one in several
        if mark.timeline == one.timeline == timeline and one.position >= mark.position and mark.node in (0, one.node)
    }
    assert set(choose(several, mark, timeline, WAIT).ready) == could


@given(candidates(), MARKS, st.integers(1, 3))
def test_nobody_waits_for_a_replica_that_is_known_to_be_late(
    several: list[Candidate], mark: Mark, timeline: int
) -> None:
    choice = choose(several, mark, timeline, WAIT)
    assert all(several[index].behind <= WAIT or several[index].age > FRESH_SECONDS for index in choice.hopeful)
    assert not (choice.ready and choice.hopeful)
    assert choice.ready or choice.why


def test_who_has_seen_nothing_reads_anywhere() -> None:
    several = [Candidate(index=i, node=i, timeline=1, position=i, behind=0.0, age=0.0) for i in range(3)]
    assert choose(several, None, 1, WAIT).ready == (0, 1, 2)
    assert choose([], None, 1, WAIT).why == "no replica"


@given(st.lists(st.tuples(st.floats(0.001, 3), st.integers(0, 50)), min_size=1, max_size=60), st.integers(0, 1500))
def test_behind_is_the_time_since_the_primary_went_on(steps: list[tuple[float, int]], position: int) -> None:
    course, now, end = Course(10_000), 0.0, 0
    passed: list[float] = []
    for pause, more in steps:
        now += pause
        end += more
        course.note(now, end)
        if end > position:
            passed.append(now)
    behind = course.behind(now + 1, position)
    assert course.end == end
    if passed:  # as finely as it is remembered
        assert now + 1 - passed[0] <= behind + 1e-6 <= now + 1 - passed[0] + 0.03
    else:
        assert behind == 0.0


@given(
    st.lists(st.tuples(st.floats(0.001, 5), st.integers(0, 3), st.booleans()), min_size=1, max_size=20),
    st.integers(0, 40),
)
def test_a_replica_is_never_said_to_be_complete_up_to_a_later_time_than_it_is(
    steps: list[tuple[float, int, bool]], position: int
) -> None:
    """The primary goes on at each step; not each of them is looked at."""
    course, now, end = Course(10_000), 0.0, 0
    gone, looked = math.inf, -math.inf
    for pause, more, looks in steps:
        now += pause
        end += more
        if end > position:
            gone = min(gone, now)
        if looks:
            looked = now
            course.note(now, end)
    complete = course.complete(position)
    assert complete < gone
    if looked < gone:  # as finely as it was looked
        assert complete == looked


def test_what_is_long_ago_is_forgotten() -> None:
    course = Course(10)
    for second in range(1000):
        course.note(float(second), second)
    assert 10 <= course.behind(999.0, 0) <= 25


def sight(standby: bool = True, timeline: int = 1, system: int = 7, started: int = 1, position: int = 1) -> Sight:
    return Sight(standby=standby, position=position, end=1, timeline=timeline, system=system, started=started, at=0.0)


def test_what_is_no_replica_is_told_with_what_to_do() -> None:
    primary = sight(standby=False, timeline=2)
    assert "another cluster" in wrong(sight(system=8), primary)
    assert "if it was promoted" in wrong(sight(standby=False), primary)
    assert not wrong(sight(), primary)
    assert "follows timeline 1 and the primary is on 2" in unfit(sight(), primary)
    assert not unfit(sight(timeline=2), primary)


def test_a_server_that_was_started_anew_is_another_node() -> None:
    first = node_of("a:5432", sight())
    assert first == node_of("a:5432", sight(position=9))
    assert first != node_of("a:5432", sight(started=2))
    assert first != node_of("b:5432", sight())
    assert first != 0


@pytest.mark.parametrize(
    "error", [asyncpg.InternalClientError("another operation is in progress"), ConnectionResetError(), TimeoutError()]
)
async def test_a_watch_goes_on_whatever_a_connection_that_breaks_raises(error: Exception) -> None:
    lost: list[str] = []
    again = asyncio.Event()

    class Broken:
        async def fetch(self, *_: object, **__: object) -> None:
            raise error

        def terminate(self) -> None:
            pass

    async def connect() -> Any:
        if lost:
            again.set()
        return Broken()

    watch = Watch(connect, lambda _: None, lost.append)
    async with asyncio.timeout(60):
        await again.wait()
    await watch.close()
    assert lost
