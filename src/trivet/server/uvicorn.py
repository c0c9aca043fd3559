"""uvicorn behind the seam of the server: HTTP/1.1 by httptools on uvloop.

uvicorn parses and writes; this file adds what it lacks. The head of a request has a time and a size limit (uvicorn has
neither with httptools) and is held to RFC 9112 where the parser is lenient, bytes that are not HTTP are answered with a
problem instead of plain text, a connection whose request is not read to its end is closed so that the answer arrives,
and the end is in two steps: answers first say ``connection: close``, and idle connections are closed later than busy
ones, so that a client that keeps its connections hears of the end before it sends its next request.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import time
from collections.abc import Callable, MutableMapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from trivet.contracts.problem import (
    HeadersTooLarge,
    MalformedPath,
    MalformedRequest,
    RequestTimeout,
    UrlTooLong,
    VersionNotSupported,
)
from trivet.core.error import Error
from trivet.server import websocket
from trivet.server.client_certificate import tls_extension
from trivet.server.control import Order
from trivet.server.interface import ASGIApp
from trivet.server.listen import options
from trivet.server.refusal import LINGER_SECONDS, refusal
from trivet.server.target import authority_of, is_host, is_valid
from trivet.server.tls import server_context
from trivet.settings import Settings

TICK_SECONDS = 0.05
CLOSE = [(b"connection", b"close")]


def fault_of(version: str, target: bytes, headers: Sequence[tuple[bytes, bytes]]) -> type[Error] | None:
    """Return what is wrong with the head of a request that the parser let pass, ``None`` if nothing is.

    Args:
        version: Of HTTP; ``0.9`` where the request line has none.
        target: The request target.
        headers: Header fields, names in lower case.
    """
    if version not in ("1.1", "1.0"):
        return VersionNotSupported
    hosts = [value for name, value in headers if name == b"host"]
    if len(hosts) > 1 or (not hosts and version == "1.1") or b"#" in target:
        return MalformedRequest
    authority = authority_of(target)
    if (hosts and not is_host(hosts[0])) or (authority is not None and not (authority and is_host(authority))):
        return MalformedRequest
    return None if is_valid(target) else MalformedPath


def length_of(headers: Sequence[tuple[bytes, bytes]]) -> int:
    """Return the length that a request announces for its body; the parser has checked that it is one number."""
    return next((int(value) for name, value in headers if name == b"content-length"), 0)


class Lingering:
    """What an answer is written to when the request may not be read to its end: closing it lets the answer arrive.

    Args:
        connection: Where it goes.
    """

    def __init__(self, connection: Connection) -> None:
        self.write = connection.transport.write
        self.is_closing = connection.transport.is_closing
        self.close = connection.linger


class Connection(HttpToolsProtocol):
    """One connection: uvicorn's, with limits on the head of a request and on the time for its body.

    The limits are kept without a timer per request: a timer runs only while one is incomplete after a read.
    """

    head_bytes_max = 64 * 1024
    url_bytes_max = 8 * 1024
    body_bytes_max = 1024 * 1024
    head_timeout = 10.0
    body_timeout = 60.0

    _in_head = False
    _head_bytes = 0
    _dropped_bytes = 0
    _deaf = False
    _fault: type[Error] = MalformedRequest
    _head_timer: asyncio.TimerHandle | None = None
    _rest_timer: asyncio.TimerHandle | None = None
    _body_timer: asyncio.TimerHandle | None = None
    _tls: dict[str, Any] | None = None

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
        encrypted = transport.get_extra_info("ssl_object")
        self._tls = None if encrypted is None else tls_extension(encrypted)
        self._head_timer = self.loop.call_later(self.head_timeout, self._head_is_late)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._stop_timer()
        self._stop_rest_timer()
        self._stop_body_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Feed the parser, then hold the limits of a head or a body that is still incomplete."""
        if self._deaf:
            return
        began = self._in_head
        super().data_received(data)
        if not self._in_head or self.transport.is_closing():
            if not self._deaf:
                self._stop_timer()
                if self._body_timer is None and self.cycle is not None and self.cycle.more_body:
                    self._body_timer = self.loop.call_later(self.body_timeout, self._body_is_late)
            return
        self._head_bytes = self._head_bytes + len(data) if began else 0
        if self._head_bytes > self.head_bytes_max:
            self.refuse(UrlTooLong if len(self.url) > self.url_bytes_max else HeadersTooLarge)
        elif self._head_timer is None:
            self._head_timer = self.loop.call_later(self.head_timeout, self._head_is_late)

    def on_message_begin(self) -> None:
        """A head begins."""
        self._in_head = True
        self._dropped_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The head is complete: the application starts, unless the head is not as it must be."""
        self._in_head = False
        assert self.parser is not None  # only a connection that is lost has none
        fault = fault_of(self.parser.get_http_version(), self.url, self.headers)
        if fault is not None:
            self._fault = fault
            raise ValueError(fault.message)  # stops the parser, which leads to `send_400_response`
        authority = authority_of(self.url)
        if authority is not None:
            self.headers[:] = [(b"host", authority), *(field for field in self.headers if field[0] != b"host")]
        if self._tls is not None:
            cast(Any, self.scope)["extensions"] = {"tls": self._tls}  # its type knows no extensions with content
        super().on_headers_complete()
        # Who waits for "100 Continue" sends no body after another answer, who sends too much is not read to the end,
        # behind an upgrade the parser reads no HTTP: the next request could not be told from the rest of this one.
        unread = (
            self.expect_100_continue or length_of(self.headers) > self.body_bytes_max or self.parser.should_upgrade()
        )
        if unread and self.cycle is not None:
            self.cycle.keep_alive = False
            self.cycle.transport = cast(asyncio.Transport, Lingering(self))

    def _get_upgrade(self) -> bytes | None:
        """Return what the connection is to become; HTTP/1.0 knows nothing of that (RFC 9110 section 7.8)."""
        assert self.parser is not None  # only a connection that is lost has none
        return None if self.parser.get_http_version() == "1.0" else super()._get_upgrade()

    def on_body(self, body: bytes) -> None:
        """More of a body: after the answer a little is dropped, for a while, so that the connection can be kept."""
        if self.cycle is not None and self.cycle.response_complete:
            self._dropped_bytes += len(body)
            if self._dropped_bytes > self.body_bytes_max:
                self.linger()
            elif self._rest_timer is None:
                self._rest_timer = self.loop.call_later(self.head_timeout, self.linger)
            return
        super().on_body(body)

    def on_message_complete(self) -> None:
        """A request is complete, whether it was read or dropped."""
        self._stop_rest_timer()
        self._stop_body_timer()
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what the parser refused."""
        self.refuse(self._fault)

    def refuse(self, kind: type[Error]) -> None:
        """Answer a request that never reached the application, and close; what came before it is answered first."""
        self._stop_timer()
        self._stop_body_timer()
        self._in_head = False
        if self._deaf or self.transport.is_closing():
            return
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            if not cycle.more_body:  # the one before: its answer is the last
                self._deaf = True
                cycle.keep_alive = False
                return
            cycle.disconnected = True  # its own body is what is wrong
            cycle.message_event.set()
            if cycle.response_started:
                self.transport.close()  # in the middle of an answer nothing else can be said
                return
        status, fields, body = refusal(kind)
        fields.append((b"connection", b"close"))
        head = [name + b": " + value + b"\r\n" for name, value in fields]
        self.transport.write(b"".join([STATUS_LINE[status], *head, b"\r\n", body]))
        self.linger()

    def linger(self) -> None:
        """Say nothing more and drop what still arrives; close when the client does, or after a moment.

        Closing a socket with bytes that were not read resets the connection, and the answer on its way may be lost
        (RFC 9112 section 9.6).
        """
        self._deaf = True
        self._stop_timer()
        self._stop_rest_timer()
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.transport.can_write_eof():  # TLS has no half-closed connections
            self.transport.write_eof()
        self._head_timer = self.loop.call_later(LINGER_SECONDS, self.transport.close)

    def _head_is_late(self) -> None:
        self._head_timer = None
        if self._in_head:
            self.refuse(RequestTimeout)
        elif self.cycle is None and not self.transport.is_closing():
            self.transport.close()  # nothing arrived at all

    def _body_is_late(self) -> None:
        self._body_timer = None
        if self.cycle is not None and self.cycle.more_body and not self.cycle.response_started:
            self.refuse(RequestTimeout)

    def _stop_body_timer(self) -> None:
        if self._body_timer is not None:
            self._body_timer.cancel()
            self._body_timer = None

    def _stop_rest_timer(self) -> None:
        if self._rest_timer is not None:
            self._rest_timer.cancel()
            self._rest_timer = None

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


class UvicornServer:
    """Serves with uvicorn; see :class:`trivet.server.interface.Server`.

    Args:
        settings: What the process was told.
        order: Names the files of the certificate.
    """

    def __init__(self, settings: Settings, order: Order) -> None:
        self._settings = settings
        self._order = order
        self._context: ssl.SSLContext | None = None
        self._winding = False
        self._server: uvicorn.Server | None = None
        self._ticking: asyncio.Task[None] | None = None

    async def start(self, app: ASGIApp, sockets: Sequence[socket.socket], state: MutableMapping[str, Any]) -> None:
        """Accept connections from now on."""
        server, limits = self._settings.server, self._settings.limits
        for sock in sockets:
            for option in options(server.send_timeout):
                sock.setsockopt(*option)
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # what clients send wrong is not our warning
        config = uvicorn.Config(
            app,
            http=type(
                "Connection",
                (Connection,),
                {
                    "head_bytes_max": limits.url + limits.headers,
                    "url_bytes_max": limits.url,
                    "body_bytes_max": limits.body,
                    "head_timeout": server.head_timeout,
                    "body_timeout": server.body_timeout,
                },
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
            **websocket.options(self._settings),
        )
        config.load()
        if self._order.certificate:
            self._context = config.ssl = server_context(
                self._settings.tls, Path(self._order.certificate), Path(self._order.client_ca)
            )
            if self._settings.tls.hsts:
                seconds = self._settings.tls.hsts
                config.encoded_headers.append((b"strict-transport-security", b"max-age=%d" % seconds))
        self._server = uvicorn.Server(config)
        self._server.lifespan = config.lifespan_class(config)
        self._server.lifespan.state.update(state)
        await self._server.on_tick(0)
        await self._listen(self._server, sockets)
        self._ticking = asyncio.create_task(self._tick(self._server), name="date")

    async def _listen(self, server: uvicorn.Server, sockets: Sequence[socket.socket]) -> None:
        """Do what uvicorn does at its start, with a limit on how long TLS may take to begin; asyncio's is a minute."""
        config = server.config
        limit = self._settings.server.head_timeout if config.ssl else None  # asyncio refuses it without TLS

        def connection() -> asyncio.Protocol:
            made = cast(Callable[..., asyncio.Protocol], config.http_protocol_class)
            return made(config=config, server_state=server.server_state, app_state=server.lifespan.state)

        loop = asyncio.get_running_loop()
        server.servers = [
            await loop.create_server(
                connection, sock=sock, ssl=config.ssl, backlog=config.backlog, ssl_handshake_timeout=limit
            )
            for sock in sockets
        ]

    @staticmethod
    async def _tick(server: uvicorn.Server) -> None:
        while True:  # keeps the Date header true
            await asyncio.sleep(1)
            await server.on_tick(0)

    def renew(self) -> None:
        """Show the certificate that is in its file now to connections from now on."""
        if self._context is not None:
            self._context.load_cert_chain(self._order.certificate)

    def wind_down(self) -> None:
        """Let every answer from now on close its connection, while new connections are still accepted."""
        if self._server is None:
            return
        state = self._server.server_state
        if not self._winding:
            self._winding = True
            self._server.config.encoded_headers += CLOSE  # from the next tick on
            state.default_headers = [*state.default_headers, *CLOSE]
        for connection in list(state.connections):
            if isinstance(connection, Connection):
                connection.close_after_answer()

    async def stop(self, idle: float, timeout: float, *, taken: bool) -> int:
        """Accept nothing more, and return when no connection is left, with the number of requests cut off."""
        if self._server is None or self._ticking is None:
            return 0
        server, state = self._server, self._server.server_state
        self.wind_down()
        for listener in server.servers:
            listener.close()
        await asyncio.sleep(TICK_SECONDS)  # what was accepted just before becomes a connection
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
