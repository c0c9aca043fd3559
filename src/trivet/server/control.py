"""What supervisor and worker say to each other, over a socket pair: a length and a message in msgpack.

The socket is also how each knows of the other's death: it ends with the process, however that dies.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any, Generic, TypeVar

import msgspec

from trivet.core.shape import Struct
from trivet.server.loading import Target

LENGTH = 4
MESSAGE_BYTES_MAX = 256 * 1024 * 1024


class Embedding(Struct):
    """What a worker must be told whose interpreter is embedded in Envoy.

    Attributes:
        executable: ``sys.executable`` of the supervisor, and so on.
        base_prefix: ``sys.base_prefix``; differs from ``sys.prefix`` in a virtual environment.
        base_exec_prefix: ``sys.base_exec_prefix``.
        path: ``sys.path``.
        environ: Variables that only Envoy was to see, as they were before; ``None`` for one that was not there.
        descriptors: What Envoy has open that child processes must not get.
        ports: Where Envoy listens.
        admin: The socket of Envoy's own administration.
        websockets: The socket that Envoy passes WebSockets on to.
        supervisor: Process id of the supervisor.
        directory: Where this run's sockets are; removed by whoever ends last.
        memory: The file of the memory that Envoy shares with its successor; removed likewise.
    """

    executable: str
    base_prefix: str
    base_exec_prefix: str
    path: tuple[str, ...]
    environ: dict[str, str | None]
    descriptors: tuple[int, ...]
    ports: tuple[int, ...]
    admin: str
    websockets: str
    supervisor: int
    directory: str
    memory: str


class Order(Struct):
    """What a worker is to do.

    Attributes:
        target: The application.
        control: Descriptor of the socket to the supervisor.
        name: Names the worker in logs and metrics.
        sockets: Descriptors of the listening sockets, where the supervisor holds them.
        certificate: File with the server's key and certificate, for a worker that serves TLS itself.
        client_ca: File with the authorities whose client certificates it accepts.
        embedding: For a worker that is Envoy.
    """

    target: Target
    control: int
    name: str
    sockets: tuple[int, ...] = ()
    certificate: str = ""
    client_ca: str = ""
    embedding: Embedding | None = None


class Ready(Struct, tag=True):
    """The worker serves.

    Attributes:
        sources: Directories of the user's code that it loaded.
    """

    sources: tuple[str, ...] = ()


class Failed(Struct, tag=True):
    """The worker can not serve, and ends.

    Attributes:
        reason: Why, for people.
        sources: Directories of the user's code that it got to.
    """

    reason: str
    sources: tuple[str, ...] = ()


class Report(Struct, tag=True):
    """How a worker is.

    Attributes:
        number: That of the question; 0 for the last one, without a question.
        metrics: A snapshot of its registry, empty where it has none.
        ready: What its own ``/readyz`` says; ``None`` when that was not asked.
        cut_off: Requests that were cut off at the end.
    """

    number: int
    metrics: bytes = b""
    ready: bool | None = None
    cut_off: int = 0


class Ask(Struct, tag=True):
    """The supervisor wants a report.

    Attributes:
        number: Repeated in the report.
        health: Whether readiness is wanted too.
    """

    number: int
    health: bool = False


class Drain(Struct, tag=True):
    """The worker is to end in order.

    Attributes:
        wait: Seconds in which it still accepts connections while it says that it is not ready.
        idle: Seconds for which it then keeps connections that have no request.
        timeout: Seconds that requests in flight then get.
        taken: Whether the worker that replaces it took its sockets over.
    """

    wait: float
    idle: float
    timeout: float
    taken: bool = False


class Renew(Struct, tag=True):
    """The file with the certificate was replaced: connections from now on get what it holds."""


FromWorker = Ready | Failed | Report
FromSupervisor = Ask | Drain | Renew
M = TypeVar("M")

ENCODER = msgspec.msgpack.Encoder()


class Channel(Generic[M]):
    """One end of the socket pair.

    Args:
        sock: This end.
        receives: The union of messages that arrive here.
    """

    def __init__(self, sock: socket.socket, receives: Any) -> None:
        self._sock = sock
        self._decoder = msgspec.msgpack.Decoder(receives)
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def open(self) -> None:
        """Attach to the running event loop."""
        self._reader, self._writer = await asyncio.open_unix_connection(sock=self._sock)

    async def receive(self) -> M | None:
        """Return the next message, or ``None`` when the other end is gone."""
        assert self._reader is not None
        try:
            length = int.from_bytes(await self._reader.readexactly(LENGTH), "big")
            if length > MESSAGE_BYTES_MAX:
                return None
            message: M = self._decoder.decode(await self._reader.readexactly(length))
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        return message

    def send(self, message: FromWorker | FromSupervisor) -> None:
        """Send a message; it is lost if the other end is gone."""
        assert self._writer is not None
        if not self._writer.is_closing():
            self._writer.write(frame(message))

    async def close(self) -> None:
        """Send what is left, for at most a second, and close."""
        if self._writer is not None:
            try:
                async with asyncio.timeout(1):
                    await self._writer.drain()
            except (TimeoutError, ConnectionError):
                pass
            self._writer.close()
        else:
            self._sock.close()


def frame(message: FromWorker | FromSupervisor) -> bytes:
    """Return a message as it crosses the socket."""
    data = ENCODER.encode(message)
    return len(data).to_bytes(LENGTH, "big") + data
