"""Clients that mean no good, in any number, and what a server is measured by beside them.

Each hardship is a coroutine that takes the port and how many connections to use, and returns when it was had. Some
hundreds fit into a test and ten thousand into the soak; nothing else differs.
"""

from __future__ import annotations

import asyncio
import resource
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import psutil

from tests.adversity.client import ask
from trivet.testing import Served

PATIENCE_SECONDS = 60
AT_ONCE = 200
"""How many connections are being made at the same time; the backlog of a listener is no subject here."""

GOOD = b"GET /v1/ticks:count?size=2 HTTP/1.1\r\nHost: x\r\n\r\n"
Hardship = Callable[[int, int], Awaitable[None]]

ADDRESSES = [f"127.0.0.{n}" for n in range(2, 6)]
"""Where connections come from: one address has too few ports for all of them and those just closed."""


class Connection:
    """One connection of a client without manners."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    def reset(self) -> None:
        """Break the connection without a word (RST)."""
        sock: socket.socket = self.writer.get_extra_info("socket")
        with suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.writer.transport.abort()

    async def rest(self) -> bytes:
        """Return what still comes until the server closes."""
        received = b""
        with suppress(ConnectionError):
            while more := await self.reader.read(65536):
                received = (received + more)[-65536:]
        self.writer.close()
        return received


async def connect(port: int, number: int = 0) -> Connection:
    """Open a connection; from one of a few addresses."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        local = (ADDRESSES[number % len(ADDRESSES)], 0)
        return Connection(*await asyncio.open_connection("127.0.0.1", port, local_addr=local))


async def each(count: int, do: Callable[[int], Awaitable[None]], at_once: int = AT_ONCE) -> None:
    """Do something so many times, some at once."""
    turns = asyncio.Semaphore(at_once)

    async def one(number: int) -> None:
        async with turns:
            await do(number)

    async with asyncio.TaskGroup() as group:
        for number in range(count):
            group.create_task(one(number))


# -- hardships


async def silent(port: int, count: int) -> None:
    """Connect and say nothing, until the server closes."""
    connections: list[Connection] = []

    async def open_one(number: int) -> None:
        connections.append(await connect(port, number))

    await each(count, open_one)
    assert len(connections) == count
    await asyncio.gather(*(connection.rest() for connection in connections))


async def kept(port: int, count: int) -> None:
    """Send one good request, and keep the connection until the server closes it."""
    connections: list[Connection] = []

    async def open_one(number: int) -> None:
        connection = await connect(port, number)
        connection.send(GOOD)
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert (await connection.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        connections.append(connection)

    await each(count, open_one)
    await asyncio.gather(*(connection.rest() for connection in connections))


async def slow_heads(port: int, count: int) -> None:
    """Send a head byte by byte, and never finish it."""

    async def one(number: int) -> None:
        connection = await connect(port, number)
        answer = asyncio.ensure_future(connection.rest())
        for byte in b"GET /v1/ticks:count HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 10_000:
            connection.send(bytes([byte]))
            done, _ = await asyncio.wait({answer}, timeout=0.2)
            if done:
                break
        assert answer.done()
        assert answer.result()[:12] in (b"", b"HTTP/1.1 408"), answer.result()[:200]

    await each(count, one, at_once=count)


async def slow_bodies(port: int, count: int) -> None:
    """Send a body byte by byte: slower than the operation may take."""

    async def one(number: int) -> None:
        connection = await connect(port, number)
        head = (
            "POST /v1/ticks:record HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 10000\r\n"
        )
        connection.send(f"{head}\r\n".encode())
        answer = asyncio.ensure_future(connection.rest())
        for _ in range(10_000):
            connection.send(b" ")
            done, _ = await asyncio.wait({answer}, timeout=0.2)
            if done:
                break
        assert answer.done()
        assert answer.result()[:12] in (b"", b"HTTP/1.1 408", b"HTTP/1.1 504"), answer.result()[:200]

    await each(count, one, at_once=count)


async def slow_readers(port: int, count: int) -> None:
    """Ask for a megabyte and take nothing of it, until the server gives up."""
    loop = asyncio.get_running_loop()
    sockets: list[socket.socket] = []
    try:
        for _ in range(count):
            sock = socket.socket()
            sockets.append(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.setblocking(False)
            await loop.sock_connect(sock, ("127.0.0.1", port))
            await loop.sock_sendall(sock, GOOD.replace(b"size=2", b"size=1000000"))
        mine = {sock.getsockname()[1] for sock in sockets}
        async with asyncio.timeout(PATIENCE_SECONDS):
            while mine & await asyncio.to_thread(connected, port):  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.2)
    finally:
        for sock in sockets:
            sock.close()


def connected(port: int) -> set[int]:
    """Return the ports of clients that a server on this port is connected with; only the kernel knows them all.

    A server that gives up a client that has no room says nothing to it: there is nothing that the client would take.
    """
    found = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, state = line.split()[:4]
        if int(local.rpartition(":")[2], 16) == port and state == "01":
            found.add(int(remote.rpartition(":")[2], 16))
    return found


async def churn(port: int, count: int) -> None:
    """Connect, ask, and close: before, while or after the answer comes."""

    async def one(number: int) -> None:
        connection = await connect(port, number)
        if number % 4:
            connection.send(GOOD)
        if number % 4 > 1:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await connection.reader.readuntil(b"\r\n\r\n")
        connection.writer.close()

    await each(count, one)


async def resets(port: int, count: int) -> None:
    """Connect and break the connection: before a request, within one, after one, while a stream runs."""
    pieces = (b"", GOOD[:20], GOOD, GOOD * 20, GOOD.replace(b"ticks:count?size=2", b"ticks:watch"))

    async def one(number: int) -> None:
        connection = await connect(port, number)
        connection.send(pieces[number % len(pieces)])
        if number % 2:
            await asyncio.sleep(0.01)
        connection.reset()

    await each(count, one)


HEAD = b"GET /v1/ticks:count HTTP/1.1\r\nHost: x\r\n"
POST = b"POST /v1/ticks:record HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
TOO_MUCH: dict[str, tuple[bytes, bytes, int]] = {
    "a URL": (b"GET /", b"a" * 16_384, 100),
    "a field": (HEAD + b"X: ", b"a" * 16_384, 100),
    "many fields": (HEAD, b"X: a\r\n" * 2_000, 100),
    "a declared body": (POST + b"Content-Length: 10000000000\r\n\r\n", b" " * 16_384, 1_000),
    "a chunked body": (POST + b"Transfer-Encoding: chunked\r\n\r\n", b"4000\r\n" + b" " * 16_384 + b"\r\n", 1_000),
    "a chunk": (POST + b"Transfer-Encoding: chunked\r\n\r\nfffffff\r\n", b" " * 16_384, 1_000),
    "chunk extensions": (POST + b"Transfer-Encoding: chunked\r\n\r\n1;", b"a" * 16_384, 100),
    "trailers": (POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\n \r\n0\r\n", b"X: a\r\n" * 2_000, 100),
    "empty lines": (b"", b"\r\n" * 8_192, 100),
    "a pipeline": (b"", GOOD * 300, 10),
}
"""What is sent first, what again and again, and how often: far more than anybody may send."""


async def oversize(port: int, count: int) -> None:
    """Send too much of everything, for as long as the server takes it."""
    kinds = list(TOO_MUCH.values())

    async def one(number: int) -> None:
        first, more, times = kinds[number % len(kinds)]
        connection = await connect(port, number)
        answer = asyncio.ensure_future(connection.rest())
        connection.send(first)
        with suppress(ConnectionError):
            for _ in range(times):
                if answer.done() or connection.writer.is_closing():
                    break
                connection.send(more)
                await connection.writer.drain()
        connection.writer.close()
        answer.cancel()
        with suppress(asyncio.CancelledError):
            await answer

    await each(count, one, at_once=20)


@asynccontextmanager
async def crowd(served: Served, count: int, first: bytes = b"") -> AsyncIterator[None]:
    """Be connected so many times at once, and say nothing, or nothing after a first request."""
    loop = asyncio.get_running_loop()
    port = int(served.url.rpartition(":")[2])
    before = size_of(served).descriptors
    sockets: list[socket.socket] = []

    async def open_one(number: int) -> None:
        sock = socket.socket()
        sockets.append(sock)
        sock.setblocking(False)
        sock.bind((ADDRESSES[number % len(ADDRESSES)], 0))
        async with asyncio.timeout(PATIENCE_SECONDS):
            await loop.sock_connect(sock, ("127.0.0.1", port))
            if first:
                await loop.sock_sendall(sock, first)
                assert (await loop.sock_recv(sock, 4096)).startswith(b"HTTP/1.1 200")

    allow_descriptors(count)
    try:
        missing = count
        async with asyncio.timeout(2 * PATIENCE_SECONDS):
            while missing > 0:  # on a slow machine the first ones are closed before the last ones are open
                await each(missing, open_one, at_once=50)
                await asyncio.sleep(0.1)  # until the last ones are accepted
                missing = before + count - (await asyncio.to_thread(size_of, served)).descriptors
        yield
    finally:
        for sock in sockets:
            sock.close()


def allow_descriptors(count: int) -> None:
    """Let this process open so many connections, twice over, as far as the system lets it."""
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * count + 1_000
    if most != resource.RLIM_INFINITY:
        wanted = min(wanted, most)
    if now != resource.RLIM_INFINITY and now < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


# -- what a server is measured by


class Size(NamedTuple):
    """What a server uses: the memory of all its processes, and the descriptors of its workers."""

    rss: int
    descriptors: int


def workers(served: Served) -> list[psutil.Process]:
    """Return the workers of a server."""
    return [child for child in psutil.Process(served.process.pid).children() if child.status() != "zombie"]


def size_of(served: Served) -> Size:
    """Return what a server uses just now."""
    found = workers(served)
    all_of_them = [psutil.Process(served.process.pid), *found]
    return Size(sum(one.memory_info().rss for one in all_of_them), sum(one.num_fds() for one in found))


async def reaped(served: Served, before: Size) -> None:
    """Return when no more descriptors are open than before."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while size_of(served).descriptors > before.descriptors:  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.05)


class Beside:
    """A client with manners, beside all that: it fails when it is not answered.

    Attributes:
        answers: How many it got.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self.answers = 0

    async def __aenter__(self) -> Beside:
        self._asking = asyncio.create_task(self._ask())
        return self

    async def __aexit__(self, *raised: object) -> None:
        if self._asking.done():
            self._asking.result()
        self._asking.cancel()
        with suppress(asyncio.CancelledError):
            await self._asking

    async def _ask(self) -> None:
        while True:
            status, body = await ask(self._port, "GET", "/v1/ticks:count?size=3")
            assert (status, body) == (200, b'{"value":"xxx"}'), (status, body)
            self.answers += 1
            await asyncio.sleep(0.02)
