"""The pool: bounded, first come first served, and nothing is lost whatever is cancelled and whenever."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from trivet.core.clock import Deadline, SystemClock
from trivet.core.error import DeadlineExceeded
from trivet.data.database import DatabaseUnavailable
from trivet.data.postgresql import pool as pools
from trivet.data.postgresql.pool import Pool, PoolOptions
from trivet.telemetry.metrics import Registry, merge, render
from trivet.telemetry.pools import PoolMetrics


class Wire:
    """A connection that remembers whether somebody broke the rules."""

    def __init__(self) -> None:
        self.closed = False
        self.clean = True
        self.busy = False
        self.fails = False

    async def tidy(self) -> None:
        assert not self.busy, "it was cleaned while somebody used it"
        await asyncio.sleep(0)
        if self.fails:
            raise ConnectionError("broken")
        self.clean = True

    async def probe(self) -> None:
        await asyncio.sleep(0)
        if self.fails:
            raise ConnectionError("broken")

    def terminate(self) -> None:
        self.closed = True

    @asynccontextmanager
    async def used(self) -> AsyncIterator[None]:
        assert not self.busy, "two use one connection"
        assert not self.closed, "a closed connection was handed out"
        assert self.clean, "an unclean connection was handed out"
        self.busy = True
        try:
            yield
        finally:
            self.busy = False


class Server:
    """Opens connections, or refuses to."""

    def __init__(self, pause: Callable[[], float] = lambda: 0.0) -> None:
        self.made: list[Wire] = []
        self.down = False
        self._pause = pause

    async def connect(self) -> Wire:
        await asyncio.sleep(self._pause())
        if self.down:
            raise DatabaseUnavailable.because("nobody listens there")
        self.made.append(Wire())
        return self.made[-1]

    @property
    def open(self) -> int:
        return sum(not wire.closed for wire in self.made)


def pool_of(server: Server, **options: Any) -> Pool[Wire]:
    return Pool(server.connect, PoolOptions(**options), "the server")


async def settled(pool: Pool[Wire]) -> None:
    """Let the pool finish what it does by itself."""
    while pool.figures.open != pool.figures.free:  # noqa: ASYNC110 - nobody waits for it, so nothing says so
        await asyncio.sleep(0.001)


async def patiently(pool: Pool[Wire]) -> Wire:
    """Take a connection, however often the pool says that it took too long."""
    while True:
        try:
            return await pool.take()
        except DatabaseUnavailable:
            continue


async def test_a_connection_is_opened_once_and_used_again() -> None:
    server = Server()
    pool = pool_of(server)
    for _ in range(5):
        pool.give_back(await pool.take())
    assert len(server.made) == 1


async def test_no_more_than_its_size_are_open_and_who_came_first_is_served_first() -> None:
    server = Server()
    pool = pool_of(server, size=2)
    held = [await pool.take(), await pool.take()]
    served: list[int] = []

    async def want(number: int) -> None:
        wire = await pool.take()
        served.append(number)
        await asyncio.sleep(0)
        pool.give_back(wire)

    tasks = []
    for number in range(20):
        tasks.append(asyncio.create_task(want(number)))
        await asyncio.sleep(0)
    assert pool.figures.waiting == 20
    for wire in held:
        pool.give_back(wire)
    await asyncio.gather(*tasks)
    assert served == list(range(20))
    assert server.open == 2


async def test_who_would_wait_behind_too_many_is_refused_at_once_and_told_to_retry() -> None:
    pool = pool_of(Server(), size=1, queue=1)
    held = await pool.take()
    waiting = asyncio.create_task(pool.take())
    await asyncio.sleep(0)
    with pytest.raises(DatabaseUnavailable, match="1 wait for one") as refused:
        await pool.take()
    assert refused.value.retry_after == 1
    pool.give_back(held)
    pool.give_back(await waiting)


async def test_who_waits_too_long_is_refused_and_told_what_to_do() -> None:
    pool = pool_of(Server(), size=1, timeout=0.01)
    held = await pool.take()
    with pytest.raises(DatabaseUnavailable, match="TRIVET_DATABASE__POOL_SIZE") as refused:
        await pool.take()
    assert refused.value.retry_after == 1
    assert pool.figures.waiting == 0
    pool.give_back(held)
    pool.give_back(await pool.take())


async def test_a_deadline_that_comes_first_is_what_ends_the_wait() -> None:
    pool = pool_of(Server(), size=1, timeout=60)
    await pool.take()
    clock = SystemClock()
    with pytest.raises(DeadlineExceeded):
        await pool.take(Deadline(clock.monotonic() + 0.01, clock))


async def test_an_unclean_connection_is_cleaned_by_nobody_who_waits_for_it() -> None:
    server = Server()
    pool = pool_of(server, size=1)
    wire = await pool.take()
    wire.clean = False
    pool.give_back(wire)  # does not wait
    again = await pool.take()
    assert again is wire
    assert again.clean


async def test_a_connection_that_can_not_be_cleaned_is_replaced() -> None:
    server = Server()
    pool = pool_of(server, size=1)
    wire = await pool.take()
    wire.clean, wire.fails = False, True
    pool.give_back(wire)
    other = await pool.take()
    assert other is not wire
    assert wire.closed


async def test_an_old_connection_is_replaced() -> None:
    server = Server()
    pool = pool_of(server, lifetime=0.001)
    wire = await pool.take()
    await asyncio.sleep(0.005)
    pool.give_back(wire)
    assert wire.closed
    assert await pool.take() is not wire


@pytest.mark.parametrize("works", [True, False])
async def test_a_connection_that_was_idle_for_long_is_asked_first(works: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "PROBE_SECONDS", 0.0)
    server = Server()
    pool = pool_of(server)
    wire = await pool.take()
    pool.give_back(wire)
    wire.fails = not works
    assert (await pool.take() is wire) is works


async def test_while_the_server_is_away_everybody_is_told_and_afterwards_all_is_well() -> None:
    server = Server()
    pool = pool_of(server, size=3)
    wires = [await pool.take() for _ in range(3)]
    server.down = True
    for wire in wires:
        wire.closed = True
        pool.give_back(wire)
    answers = await asyncio.gather(*(pool.take() for _ in range(10)), return_exceptions=True)
    assert {type(answer) for answer in answers} == {DatabaseUnavailable}
    server.down = False
    pool.give_back(await pool.take())
    assert pool.figures.open == pool.figures.free == 1


async def test_where_one_more_can_not_be_opened_the_open_ones_have_to_do() -> None:
    server = Server()
    pool = pool_of(server, size=5)
    wire = await pool.take()
    server.down = True
    waiting = asyncio.create_task(pool.take())
    await asyncio.sleep(0.01)
    assert not waiting.done()
    pool.give_back(wire)
    assert await waiting is wire


async def test_closing_waits_for_what_is_used_and_refuses_what_comes() -> None:
    server = Server()
    pool = pool_of(server, size=2)
    used, free = await pool.take(), await pool.take()
    pool.give_back(free)
    closing = asyncio.create_task(pool.close())
    await asyncio.sleep(0)
    assert free.closed
    assert not used.closed
    with pytest.raises(DatabaseUnavailable, match="closed"):
        await pool.take()
    pool.give_back(used)
    await closing
    assert server.open == 0


@pytest.mark.simulation
@pytest.mark.parametrize("seed", range(30))
async def test_whatever_is_cancelled_fails_or_breaks_no_connection_is_lost_or_shared(seed: int) -> None:
    chance = random.Random(seed)
    size = chance.randint(1, 4)
    server = Server(pause=lambda: chance.choice((0.0, 0.0, 0.001)))
    pool = pool_of(
        server, size=size, queue=chance.choice((2, 1000)), timeout=chance.choice((0.002, 1.0)), lifetime=0.05
    )

    async def customer() -> None:
        for _ in range(10):
            try:
                wire = await pool.take()
            except DatabaseUnavailable:
                continue
            try:
                async with wire.used():
                    assert server.open <= size
                    await asyncio.sleep(chance.choice((0.0, 0.0, 0.001)))
                    if chance.random() < 0.1:
                        wire.closed = True
                    elif chance.random() < 0.3:
                        wire.clean, wire.fails = False, chance.random() < 0.3
            finally:
                pool.give_back(wire)

    tasks = [asyncio.create_task(customer()) for _ in range(12)]
    while not all(task.done() for task in tasks):
        server.down = chance.random() < 0.1
        if chance.random() < 0.5:
            chance.choice(tasks).cancel()
        await asyncio.sleep(chance.choice((0.0, 0.0005)))
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(each) for each in ended} <= {type(None), asyncio.CancelledError}, ended
    server.down = False
    await settled(pool)
    assert pool.figures.waiting == 0
    assert pool.figures.free == server.open <= size
    async with asyncio.timeout(10):  # everything that the pool may have is to be had
        for wire in [await patiently(pool) for _ in range(size)]:
            pool.give_back(wire)
    await pool.close()
    assert server.open == 0


def lines(metrics: Registry) -> set[str]:
    text = render(merge([("0", metrics.snapshot())]))
    return {line for line in text.splitlines() if line.startswith("trivet_database_pool")}


async def test_metrics_say_what_is_in_use_who_waits_how_long_and_who_got_none() -> None:
    metrics, server = Registry(), Server()
    pool = pool_of(server, size=2, queue=1, timeout=0.02)
    observer = PoolMetrics(metrics)
    pool.observer = observer.pool(
        "primary",
        2,
        lambda: pool.figures.open,
        lambda: pool.figures.open - pool.figures.free,
        lambda: pool.figures.waiting,
    )
    held = [await pool.take(), await pool.take()]
    waiting = asyncio.create_task(pool.take())
    await asyncio.sleep(0)
    with pytest.raises(DatabaseUnavailable):
        await pool.take()  # one waits already
    labels = 'node="primary",worker="0"'
    assert lines(metrics) >= {
        f"trivet_database_pool_size{{{labels}}} 2",
        f"trivet_database_pool_in_use{{{labels}}} 2",
        f"trivet_database_pool_waiting{{{labels}}} 1",
        'trivet_database_pool_refused_total{node="primary",why="queue"} 1',
    }
    with pytest.raises(DatabaseUnavailable):
        await waiting
    with pytest.raises(DeadlineExceeded):
        await pool.take(Deadline(0.0, SystemClock()))
    for wire in held:
        pool.give_back(wire)
    pool.give_back(await pool.take())
    assert lines(metrics) >= {
        f"trivet_database_pool_open{{{labels}}} 2",
        f"trivet_database_pool_in_use{{{labels}}} 0",
        f"trivet_database_pool_waiting{{{labels}}} 0",
        'trivet_database_pool_refused_total{node="primary",why="timeout"} 1',
        'trivet_database_pool_refused_total{node="primary",why="deadline"} 1',
        'trivet_database_pool_acquire_seconds_bucket{node="primary",le="0"} 1',
        'trivet_database_pool_acquire_seconds_count{node="primary"} 3',
    }


async def test_metrics_count_those_for_whom_no_connection_could_be_opened() -> None:
    metrics, server = Registry(), Server()
    server.down = True
    pool = pool_of(server)
    pool.observer = PoolMetrics(metrics).pool("primary", 10, int, int, int)
    with pytest.raises(DatabaseUnavailable):
        await pool.take()
    assert 'trivet_database_pool_refused_total{node="primary",why="unavailable"} 1' in lines(metrics)
