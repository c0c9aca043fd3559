"""The load: a closed loop over kept-alive connections, in a process of its own.

Every connection has one request in flight and sends the next when the answer is complete, so the server is always
busy and never overrun. The requests are encoded beforehand and of an answer only the status and ``Content-Length`` are
looked at: the driver must cost little beside what it drives.

The parent writes a `Load` as one line of JSON. The driver warms the server up, answers ``ready``, waits for a line,
measures, and answers with a `Result`. The parent reads the server's clocks on both sides of that.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import sys
import time
from array import array
from typing import cast

import msgspec
import uvloop

from benchmarks.figures import percentile
from trivet.core.shape import Struct

HOST = "127.0.0.1"
HEAD_END = b"\r\n\r\n"
LENGTH = b"\r\ncontent-length:"


class Shot(Struct):
    """A request as it goes over the wire, and the status that its answer must have."""

    wire: bytes
    status: int


class Load(Struct):
    """What to send, where to, and for how long."""

    port: int
    shots: list[Shot]
    connections: int
    warmup: float
    seconds: float


class Result(Struct):
    """What the clients saw.

    Attributes:
        requests: Answers that were complete and had the expected status; anything else fails the run.
        seconds: From the first request to the last answer.
        p50: Median latency in seconds.
        p99: Latency in seconds that one request in a hundred exceeds.
        received: Bytes of all answers.
    """

    requests: int
    seconds: float
    p50: float
    p99: float
    received: int


class UnexpectedAnswer(Exception):
    """A server did not answer as it was verified to do before the measurement."""


class Connection(asyncio.Protocol):
    """One kept-alive connection: sends, waits for the whole answer, sends again."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self._transport: asyncio.Transport
        self._head = b""
        self._missing = 0
        self._sent = 0.0
        self._status = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name

    def send(self) -> None:
        """Send the next request of all."""
        shot = next(self._clients.shots)
        self._status = b"%d" % shot.status
        self._sent = time.perf_counter()
        self._transport.write(shot.wire)

    def data_received(self, data: bytes) -> None:
        self._clients.received += len(data)
        if self._missing:
            self._missing -= len(data)
        else:
            self._head += data
            end = self._head.find(HEAD_END)
            if end < 0:
                return
            self._missing = end + len(HEAD_END) + self._length(end) - len(self._head)
            self._head = b""
        if self._missing == 0:
            self._clients.answered(self, time.perf_counter() - self._sent)
        elif self._missing < 0:
            self._clients.fail(UnexpectedAnswer("an answer is longer than its Content-Length"))

    def connection_lost(self, exc: Exception | None) -> None:
        self._clients.fail(UnexpectedAnswer(f"the server closed a kept-alive connection ({exc})"))

    def _length(self, end: int) -> int:
        status = self._head[9:12]
        if status != self._status:
            self._clients.fail(
                UnexpectedAnswer(f"status {status.decode()} instead of {self._status.decode()}: {self._head[-300:]!r}")
            )
        head = self._head[:end].lower()
        at = head.find(LENGTH)
        if at < 0:
            self._clients.fail(UnexpectedAnswer(f"an answer has no Content-Length: {head!r}"))
            return 0
        stop = head.find(b"\r", at + len(LENGTH))
        return int(head[at + len(LENGTH) : stop if stop > 0 else None])


class Clients:
    """All connections of a run, and what they saw."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self.shots = itertools.cycle(load.shots)
        self.received = 0
        self._latencies = array("d")
        self._running = False
        self._busy = 0
        self._done: asyncio.Future[None]
        self._connections: list[Connection] = []

    async def connect(self) -> None:
        """Open all connections."""
        loop = asyncio.get_running_loop()
        self._done = loop.create_future()
        for _ in range(self._load.connections):
            _, connection = await loop.create_connection(lambda: Connection(self), HOST, self._load.port)
            self._connections.append(connection)

    async def drive(self, seconds: float) -> Result:
        """Keep every connection busy for that long, then wait for what is in flight."""
        loop = asyncio.get_running_loop()
        if self._done.done():
            self._done.result()
        self._done = loop.create_future()
        self._latencies = array("d")
        self.received = 0
        self._running = True
        self._busy = len(self._connections)
        stop = loop.call_later(seconds, self._stop)
        began = time.perf_counter()
        for connection in self._connections:
            connection.send()
        try:
            await self._done
        finally:
            stop.cancel()
        elapsed = time.perf_counter() - began
        ordered = sorted(self._latencies)
        return Result(
            requests=len(ordered),
            seconds=elapsed,
            p50=percentile(ordered, 0.50),
            p99=percentile(ordered, 0.99),
            received=self.received,
        )

    def answered(self, connection: Connection, latency: float) -> None:
        """Count an answer and go on, or stop when the time is over."""
        self._latencies.append(latency)
        if self._running:
            connection.send()
            return
        self._busy -= 1
        if not self._busy and not self._done.done():
            self._done.set_result(None)

    def fail(self, error: Exception) -> None:
        """End the run with an error."""
        if not self._done.done():
            self._done.set_exception(error)

    def _stop(self) -> None:
        self._running = False


async def run(load: Load) -> None:
    """Warm up, say so, wait for the word, measure, say what was seen."""
    clients = Clients(load)
    await clients.connect()
    if load.warmup:
        await clients.drive(load.warmup)
    say(b"ready")
    await asyncio.to_thread(sys.stdin.buffer.readline)
    gc.collect()
    gc.disable()
    say(msgspec.json.encode(await clients.drive(load.seconds)))


def say(line: bytes) -> None:
    """Write a line to the parent."""
    sys.stdout.buffer.write(line + b"\n")
    sys.stdout.buffer.flush()


def main() -> None:
    """Do what the line on standard input says."""
    load = msgspec.json.decode(sys.stdin.buffer.readline(), type=Load)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run(load))
    except UnexpectedAnswer as failure:
        sys.exit(f"{failure}")


if __name__ == "__main__":
    main()
