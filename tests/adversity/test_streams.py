"""Streams over real sockets: resuming, ending, readers that break off, and readers that stop reading."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

import psutil
import pytest

from tests.adversity.client import ask
from tests.adversity.serving import serving
from tests.adversity.sse import PATIENCE_SECONDS, Broken, Refused, Stream
from tests.waiting import until
from trivet.testing import Served

pytestmark = pytest.mark.usefixtures("kind")

WATCH = "/v1/ticks:watch"
CLOCK = UUID(int=7)
LAST = 10**9
"""The number of the tick after which a test ends."""


def port_of(served: Served) -> int:
    return int(served.url.rpartition(":")[2])


def workers(served: Served) -> list[psutil.Process]:
    return [child for child in psutil.Process(served.process.pid).children() if child.status() != "zombie"]


def stream(served: Served, path: str = WATCH, **options: Any) -> Stream:
    return Stream(port_of(served), path, **options)


async def record(
    served: Served, *numbers: int, clock: UUID = CLOCK, filling: int = 0, others: int = 0, key: str | None = None
) -> None:
    """Store ticks, on a connection of its own; sent again with the same key, they are stored once.

    Raises:
        ConnectionError: The worker is gone; whether they are stored is not known.
        Busy: The same is being stored just now.
    """
    body = {"ticks": [{"clock": str(clock), "number": n} for n in numbers], "filling": filling, "others": others}
    fields = {} if key is None else {"Idempotency-Key": key}
    status, answer = await ask(port_of(served), "POST", "/v1/ticks:record", json.dumps(body).encode(), fields)
    if key is not None and status in (409, 503):
        raise Busy(answer)
    assert status == 200, answer


class Busy(Exception):
    """Somebody else is in the way; what was asked for was not done by this request."""


async def take(events: AsyncIterator[Any], count: int) -> list[int]:
    """Return the numbers of the next ticks."""
    return [json.loads((await anext(events)).data)["number"] for _ in range(count)]


async def in_flight(served: Served) -> float:
    """Return how many requests are being answered, streams included."""
    _, page = await ask(int(served.management_url.rpartition(":")[2]), "GET", "/metrics")
    lines = page.decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("trivet_requests_in_flight{"))


# -- positions


async def test_a_reader_that_saw_nothing_yet_misses_nothing_either() -> None:
    with serving() as served:
        async with stream(served) as first:
            with pytest.raises(TimeoutError):
                await anext(first.events(patience=0.3))
        assert first.parser.retry is not None
        assert 1000 <= first.parser.retry <= 3000
        await record(served, 0, 1)
        async with stream(served, after=first.parser.id) as second:
            assert await take(second.events(), 2) == [0, 1]


@pytest.mark.parametrize(
    ("position", "reason"),
    [
        ("nonsense", "POSITION_UNKNOWN"),
        ("1", "POSITION_UNKNOWN"),
        ("1-2-3", "POSITION_UNKNOWN"),
        ("1-2.", "POSITION_UNKNOWN"),
        ("-1-2", "POSITION_UNKNOWN"),
        ("9" * 19 + "-1", "POSITION_UNKNOWN"),
        ("1" * 4000, "POSITION_UNKNOWN"),
        ("\xb2-1", "POSITION_UNKNOWN"),
        ("1-1, 1-1", "POSITION_UNKNOWN"),
        ("1-1", "POSITION_EXPIRED"),
        ("1-1.1", "POSITION_EXPIRED"),
        ("999999-{now}", "POSITION_EXPIRED"),
        ("1-{now}.1", "POSITION_EXPIRED"),
    ],
)
async def test_a_position_that_can_not_be_continued_from_is_refused(position: str, reason: str, ticker: Served) -> None:
    await record(ticker, 0)
    with pytest.raises(Refused) as refused:
        async with stream(ticker, after=position.format(now=time.time_ns() // 1000)):
            pass
    assert refused.value.status == 400
    assert json.loads(refused.value.body)["reason"] == reason


async def test_an_event_that_became_two_items_is_resumed_between_them(ticker: Served) -> None:
    path = f"{WATCH}?twice=true&clock={UUID(int=41)}"
    async with stream(ticker, path) as first:
        events = first.events()
        await record(ticker, 0, 1, clock=UUID(int=41))
        assert await take(events, 3) == [0, 0, 1]
    async with stream(ticker, path, after=first.parser.id) as second:
        await record(ticker, 2, clock=UUID(int=41))
        assert await take(second.events(), 3) == [1, 2, 2]


async def test_the_position_moves_on_while_other_things_happen() -> None:
    with serving() as served:
        async with stream(served, "/v1/watch-briefly") as quiet:
            await record(served, others=300)
            assert [event async for event in quiet.events()] == []
        assert quiet.ended
        database = sqlite3.connect(Path(served.log).parent / "test.db")
        [(last,)] = database.execute("SELECT max(position) FROM trivet_outbox")
        assert int(quiet.parser.id.partition("-")[0]) == last >= 300


# -- the ends of a stream


@pytest.mark.parametrize("path", ["/v1/watch-briefly", "/v1/watch-young"])
async def test_an_idle_and_an_old_stream_end_in_order_and_are_continued(path: str, ticker: Served) -> None:
    async with stream(ticker, path) as first:
        await record(ticker, 100)
        numbers = [json.loads(event.data)["number"] async for event in first.events()]
    assert (numbers, first.ended) == ([100], True)
    await record(ticker, 101)
    async with stream(ticker, path, after=first.parser.id) as second:
        assert await take(second.events(), 1) == [101]


async def test_what_fails_is_an_event_that_tells_no_secret_and_the_stream_can_be_continued(ticker: Served) -> None:
    path = f"{WATCH}?fails=203&clock={UUID(int=42)}"
    async with stream(ticker, path) as first:
        await record(ticker, 201, 202, 203, 204, clock=UUID(int=42))
        events = [event async for event in first.events()]
    assert [event.name for event in events] == ["message", "message", "error"]
    assert json.loads(events[2].data)["reason"] == "INTERNAL"
    assert "sesame" not in events[2].data
    async with stream(ticker, f"{WATCH}?clock={UUID(int=42)}", after=first.parser.id) as second:
        assert await take(second.events(), 2) == [203, 204]


async def test_a_rolling_restart_ends_streams_in_order_and_their_readers_miss_nothing() -> None:
    with serving(workers=2, TRIVET_SERVER__DRAIN_TIMEOUT="30") as served:
        before = {process.pid for process in workers(served)}
        stop = asyncio.Event()
        written = 0

        async def write() -> None:
            nonlocal written
            while not stop.is_set():
                await record(served, written)
                written += 1

        async def read() -> tuple[list[int], int]:
            numbers: list[int] = []
            position, connections = start, 0
            while LAST not in numbers:
                connections += 1
                async with stream(served, after=position) as connection:
                    async for event in connection.events():
                        numbers.append(json.loads(event.data)["number"])
                        if numbers[-1] == LAST:
                            break
                    else:
                        assert connection.ended
                position = connection.parser.id
            return numbers[:-1], connections

        async with stream(served) as opening:
            with suppress(TimeoutError):
                await anext(opening.events(patience=0.3))
            start = opening.parser.id
        async with asyncio.TaskGroup() as group:
            writer = group.create_task(write())
            readers = [group.create_task(read()) for _ in range(3)]
            await asyncio.sleep(0.3)
            served.signal(signal.SIGHUP)
            await until(lambda: asyncio.to_thread(lambda: b"workers are replaced" in served.log.read_bytes()))
            await asyncio.sleep(0.3)
            stop.set()
            await writer
            await record(served, LAST)
        assert not before & {process.pid for process in workers(served)}
        for reader in readers:
            numbers, connections = reader.result()
            assert numbers == list(range(written))
            assert connections >= 2
        assert "cut off" not in served.log.read_text()


async def test_sigterm_ends_a_stream_in_order_without_waiting_for_its_reader() -> None:
    with serving() as served:
        async with stream(served) as connection:
            await record(served, 0)
            events = connection.events()
            assert await take(events, 1) == [0]
            served.signal(signal.SIGTERM)
            assert [event async for event in events] == []
            assert connection.ended
        assert await asyncio.to_thread(served.process.wait, PATIENCE_SECONDS) == 0
        assert "cut off" not in served.log.read_text()


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
async def test_every_event_is_seen_once_whatever_happens_to_readers_and_workers(seed: int) -> None:
    random = Random(seed)
    clocks = [UUID(int=n) for n in range(1, 4)]
    with serving(workers=2, TRIVET_SERVER__DRAIN_TIMEOUT="5") as served:
        stop = asyncio.Event()
        written = dict.fromkeys(clocks, 0)

        async def keep(*numbers: int, clock: UUID, others: int = 0) -> None:
            while True:  # the worker may be killed: what it did not answer is asked for again, and done once
                with suppress(ConnectionError, asyncio.IncompleteReadError, Busy):
                    await record(served, *numbers, clock=clock, others=others, key=f"{clock}.{numbers[0]}")
                    return
                await asyncio.sleep(0.05)

        async def write() -> None:
            while not stop.is_set():
                clock = random.choice(clocks)
                count = random.randint(1, 5)
                numbers = range(written[clock], written[clock] + count)
                written[clock] += count
                await keep(*numbers, clock=clock, others=random.choice((0, 0, 40)))
                await asyncio.sleep(random.choice((0, 0.01)))

        async def read(clock: UUID, twice: bool, start: str) -> None:
            seen: list[int] = []
            position = start
            while LAST not in seen:
                path = f"{WATCH}?clock={clock}&twice={str(twice).lower()}"
                connection = stream(served, path, after=position)
                leave = random.choice((1, 5, 50, 1000))
                with suppress(Broken, ConnectionError, asyncio.IncompleteReadError):
                    async with connection:
                        async for event in connection.events():
                            seen.append(json.loads(event.data)["number"])
                            leave -= 1
                            if leave == 0:
                                connection.reset()
                            if leave == 0 or LAST in seen:
                                break
                position = connection.parser.id
            assert seen[:-1] == [n // (1 + twice) for n in range(written[clock] * (1 + twice))]

        async def torment() -> None:
            for _ in range(5):
                await asyncio.sleep(random.uniform(0.2, 1.0))
                living = workers(served)
                if not living:
                    continue
                victim = random.choice(living)
                what = random.choice(("kill", "pause", "replace"))
                with suppress(psutil.NoSuchProcess):
                    if what == "kill":
                        victim.kill()
                    elif what == "pause":
                        victim.suspend()
                        await asyncio.sleep(0.5)
                        victim.resume()
                    else:
                        served.signal(signal.SIGHUP)
            stop.set()

        async with stream(served) as opening:
            with suppress(TimeoutError):
                await anext(opening.events(patience=0.3))
            start = opening.parser.id
        async with asyncio.TaskGroup() as group:
            for clock in clocks:
                group.create_task(read(clock, False, start))
                group.create_task(read(clock, True, start))
            writer = group.create_task(write())
            await torment()
            await writer
            for clock in clocks:
                await keep(LAST, clock=clock)
        assert min(written.values()) > 0


# -- readers that go away


async def test_a_reader_that_goes_away_is_noticed(ticker: Served) -> None:
    await until(lambda: _is(in_flight(ticker), 0))
    async with stream(ticker), stream(ticker) as rude:
        await until(lambda: _is(in_flight(ticker), 2))
        rude.reset()
        await until(lambda: _is(in_flight(ticker), 1))
    await until(lambda: _is(in_flight(ticker), 0))


async def _is(value: Awaitable[float], wanted: float) -> bool:
    return await value == wanted


async def test_idle_streams_hold_no_transaction_and_no_file(ticker: Served) -> None:
    [worker] = workers(ticker)
    await record(ticker, 0)
    files = {file.path for file in worker.open_files()}
    streams = [stream(ticker) for _ in range(20)]
    for each in streams:
        await each.__aenter__()
    try:
        database = sqlite3.connect(Path(ticker.log).parent / "test.db", timeout=PATIENCE_SECONDS)
        [(busy, _, _)] = database.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # waits for every open reader
        assert busy == 0
        assert {file.path for file in worker.open_files()} == files
    finally:
        for each in streams:
            await each.__aexit__()


async def test_compression_does_not_keep_events_back(ticker: Served) -> None:
    async with stream(ticker, headers={"Accept-Encoding": "zstd, br, gzip"}) as connection:
        events = connection.events()
        for number in range(3):
            await record(ticker, number)
            assert await take(events, 1) == [number]


async def test_head_says_what_get_would_say(ticker: Served) -> None:
    status, _ = await ask(port_of(ticker), "HEAD", WATCH)
    assert status == 200
    status, _ = await ask(port_of(ticker), "HEAD", WATCH, fields={"Last-Event-ID": "nonsense"})
    assert status == 400


# -- readers that stop reading

EVENT_BYTES = 20_000
EVENTS = 2_000
BOUND = 8 * 2**20
"""How much a worker may grow while readers that stopped have another 30 MB to come each."""


async def test_readers_that_stop_reading_cost_bounded_memory_and_miss_nothing() -> None:
    with serving(TRIVET_SERVER__SEND_TIMEOUT="600") as served:
        async with stream(served) as quick:
            numbers = quick.events()
            stopped = [stopped_reader(served) for _ in range(10)]
            sizes = []
            for first in range(0, EVENTS, 50):
                await record(served, *range(first, first + 50), filling=EVENT_BYTES)
                assert await take(numbers, 50) == list(range(first, first + 50))
                sizes.append(rss(served))
            assert max(sizes) - sizes[len(sizes) // 4] < BOUND
        received = b""
        tail = b'"number":1000,'
        while tail not in received:
            more = await asyncio.to_thread(stopped[0].recv, 2**20)
            assert more
            received = received[-64:] + more
        for each in stopped:
            each.close()
        await until(lambda: _is(in_flight(served), 0))


async def test_a_reader_that_takes_nothing_for_too_long_is_closed() -> None:
    with serving(TRIVET_SERVER__SEND_TIMEOUT="1") as served:
        stopped = stopped_reader(served)
        await until(lambda: _is(in_flight(served), 1))
        for first in range(0, 300, 50):
            await record(served, *range(first, first + 50), filling=EVENT_BYTES)
        await until(lambda: _is(in_flight(served), 0))
        assert not await asyncio.to_thread(read_to_the_end, stopped)


def read_to_the_end(connection: socket.socket) -> bool:
    """Read what is left, and return whether the connection ended in order."""
    with connection:
        try:
            while connection.recv(2**20):
                pass
        except ConnectionError:
            return False
    return True


def stopped_reader(served: Served) -> socket.socket:
    """Return a connection that asked for the stream, and reads nothing."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(PATIENCE_SECONDS)
    connection.connect(("127.0.0.1", port_of(served)))
    connection.sendall(f"GET {WATCH} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    return connection


def rss(served: Served) -> int:
    return sum(process.memory_info().rss for process in workers(served))


@pytest.fixture(scope="module")
def ticker(kind: str) -> Any:
    with serving() as served:
        yield served
