"""uvicorn behind the seam of the server: HTTP/1.1 by httptools on uvloop.

uvicorn parses and writes; this file adds what it lacks. The head of a request has a time and a size limit (uvicorn has
neither with httptools), bytes that are not HTTP are answered with a problem instead of plain text, and the end is in
two steps: answers first say ``connection: close``, and idle connections are closed later than busy ones, so that a
client that keeps its connections hears of the end before it sends its next request.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Callable, MutableMapping, Sequence
from contextlib import suppress
from typing import Any
from uuid import uuid4

import msgspec
import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from trivet.server.interface import ASGIApp
from trivet.settings import Settings

TICK_SECONDS = 0.05
CLOSE = [(b"connection", b"close")]
PROBLEMS = {
    400: ("malformed-request", "Bad Request", "The request is not valid HTTP/1.1."),
    408: ("request-timeout", "Request Timeout", "The head of the request did not arrive in time."),
    431: ("headers-too-large", "Request Header Fields Too Large", "The head of the request is too large."),
}
REASONS = {400: "MALFORMED_REQUEST", 408: "REQUEST_TIMEOUT", 431: "HEADERS_TOO_LARGE"}


class Connection(HttpToolsProtocol):
    """One connection: uvicorn's, with limits on the head of a request.

    The limits are kept without a timer per request: a timer runs only while a head is incomplete after a read.
    """

    head_bytes_max = 64 * 1024
    head_timeout = 10.0

    _in_head = False
    _head_bytes = 0
    _head_timer: asyncio.TimerHandle | None = None

    @property
    def busy(self) -> bool:
        """Whether a request is arriving or being answered."""
        return self._in_head or (self.cycle is not None and not self.cycle.response_complete)

    def close_after_answer(self) -> None:
        """Let the answer that is under way be the last one."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.keep_alive = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        """A connection was accepted: its first head has a time limit."""
        super().connection_made(transport)
        self._head_timer = self.loop.call_later(self.head_timeout, self._head_is_late)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Feed the parser, then hold the limits of a head that is still incomplete."""
        began = self._in_head
        super().data_received(data)
        if not self._in_head or self.transport.is_closing():
            self._stop_timer()
            return
        self._head_bytes = self._head_bytes + len(data) if began else 0
        if self._head_bytes > self.head_bytes_max:
            self.refuse(431)
        elif self._head_timer is None:
            self._head_timer = self.loop.call_later(self.head_timeout, self._head_is_late)

    def on_message_begin(self) -> None:
        """A head begins."""
        self._in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The head is complete: the application starts."""
        self._in_head = False
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what the parser refused."""
        self.refuse(400)

    def refuse(self, status: int) -> None:
        """Answer a request that never reached the application, and close."""
        self._stop_timer()
        self._in_head = False
        if self.transport.is_closing():
            return
        if self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete:
            self.transport.close()  # in the middle of another answer nothing else can be said
            return
        slug, title, detail = PROBLEMS[status]
        request_id = str(uuid4())
        problem = {
            "type": f"/problems/{slug}",
            "title": title,
            "status": status,
            "detail": detail,
            "code": "invalid_argument",
            "reason": REASONS[status],
            "instance": f"urn:request:{request_id}",
        }
        body = msgspec.json.encode(problem)
        fields = [
            (b"content-type", b"application/problem+json"),
            (b"content-length", str(len(body)).encode()),
            (b"request-id", request_id.encode()),
            (b"connection", b"close"),
        ]
        head = [name + b": " + value + b"\r\n" for name, value in fields]
        self.transport.write(b"".join([STATUS_LINE[status], *head, b"\r\n", body]))
        self.transport.close()

    def _head_is_late(self) -> None:
        self._head_timer = None
        if self._in_head:
            self.refuse(408)
        elif self.cycle is None and not self.transport.is_closing():
            self.transport.close()  # nothing arrived at all

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


class UvicornServer:
    """Serves with uvicorn; see :class:`trivet.server.interface.Server`.

    Args:
        settings: What the process was told.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._server: uvicorn.Server | None = None
        self._ticking: asyncio.Task[None] | None = None

    async def start(self, app: ASGIApp, sockets: Sequence[socket.socket], state: MutableMapping[str, Any]) -> None:
        """Accept connections from now on."""
        server, limits = self._settings.server, self._settings.limits
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # what clients send wrong is not our warning
        config = uvicorn.Config(
            app,
            http=type(
                "Connection",
                (Connection,),
                {"head_bytes_max": limits.url + limits.headers, "head_timeout": server.head_timeout},
            ),
            loop="none",
            interface="asgi3",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=int(server.keep_alive),
            backlog=server.backlog,
        )
        config.load()
        self._server = uvicorn.Server(config)
        self._server.lifespan = config.lifespan_class(config)
        self._server.lifespan.state.update(state)
        await self._server.on_tick(0)
        await self._server.startup(sockets=list(sockets))
        self._ticking = asyncio.create_task(self._tick(self._server), name="date")

    @staticmethod
    async def _tick(server: uvicorn.Server) -> None:
        while True:  # keeps the Date header true
            await asyncio.sleep(1)
            await server.on_tick(0)

    def wind_down(self) -> None:
        """Let every answer from now on close its connection, while new connections are still accepted."""
        if self._server is None:
            return
        self._server.config.encoded_headers = CLOSE
        state = self._server.server_state
        state.default_headers = [*state.default_headers, *CLOSE]
        for connection in list(state.connections):
            if isinstance(connection, Connection):
                connection.close_after_answer()

    async def stop(self, idle: float, timeout: float) -> int:
        """Accept nothing more, and return when no connection is left, with the number of requests cut off."""
        if self._server is None or self._ticking is None:
            return 0
        server, state = self._server, self._server.server_state
        self.wind_down()
        await asyncio.sleep(0)  # what was accepted in this turn of the loop becomes a connection
        for listener in server.servers:
            listener.close()
        started = time.monotonic()
        for connection in list(state.connections):
            if not isinstance(connection, Connection):
                connection.shutdown()
        while state.connections or state.tasks:
            elapsed = time.monotonic() - started
            if elapsed >= timeout:
                break
            if elapsed >= idle:
                for connection in list(state.connections):
                    if isinstance(connection, Connection) and not connection.busy:
                        connection.shutdown()
            await asyncio.sleep(TICK_SECONDS)
        cut = len(state.tasks)
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # who cuts off says so, once
        for task in list(state.tasks):
            task.cancel("the server is ending")
        for connection in list(state.connections):
            with suppress(AttributeError):
                connection.transport.close()
        if cut:
            await asyncio.wait(state.tasks or {asyncio.create_task(asyncio.sleep(0))}, timeout=0.5)
        self._ticking.cancel()
        return cut


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """Return what makes the event loop: uvloop's where it runs, else the standard one."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop
