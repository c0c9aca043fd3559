"""WebSockets (RFC 6455): uvicorn's protocol, as both servers use it.

On uvicorn it takes a connection over once its upgrade was asked for. Behind Envoy it is what listens on the socket that
Envoy passes upgrades on to (:mod:`trivet.server.envoy.websockets`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import HeaderLineTooLong, RequestLineTooLong, TooManyHeaders
from websockets.http11 import Request

from trivet.contracts.problem import HeadersTooLarge, MalformedRequest, MethodNotAllowed, UrlTooLong
from trivet.core.error import Error, Internal, PermissionDenied
from trivet.server.client_certificate import tls_extension
from trivet.server.refusal import LINGER_SECONDS, refusal
from trivet.settings import Settings

PING_SECONDS = 20.0
"""How often a client is asked whether it is there, and how long it may take to say so."""

HANDSHAKE_REFUSALS: dict[int, tuple[type[Error], tuple[bytes, bytes]]] = {
    HTTPStatus.METHOD_NOT_ALLOWED: (MethodNotAllowed, (b"allow", b"GET")),
}
"""What is wrong with a handshake by the status that the library has for it, and a field that goes with it."""

ANY_HANDSHAKE = (MalformedRequest, (b"sec-websocket-version", b"13"))
"""The same for every other status; which version is spoken belongs to the answer (RFC 6455 section 4.4)."""

REFUSALS: dict[type[Exception], type[Error]] = {
    RequestLineTooLong: UrlTooLong,
    HeaderLineTooLong: HeadersTooLarge,
    TooManyHeaders: HeadersTooLarge,
}
"""What is wrong with the head of a handshake that is too large for the parser."""


def options(settings: Settings) -> dict[str, Any]:
    """Return what uvicorn is told about WebSockets."""
    return {
        "ws": WebSocket,
        "ws_max_size": settings.limits.body,  # of a message, as it is after decompression
        "ws_ping_interval": PING_SECONDS,
        "ws_ping_timeout": PING_SECONDS,
    }


async def deny(send: Callable[[Any], Awaitable[None]], kind: type[Error]) -> None:
    """Refuse a handshake with a problem."""
    status, fields, body = refusal(kind)
    await send({"type": "websocket.http.response.start", "status": status, "headers": fields})
    await send({"type": "websocket.http.response.body", "body": body})


class WebSocket(WebSocketsSansIOProtocol):
    """One WebSocket. Messages wait for the application one at a time; what it sends waits for the client."""

    _tls: dict[str, Any] | None = None
    _deaf = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A connection is to become a WebSocket."""
        super().connection_made(transport)
        encrypted = transport.get_extra_info("ssl_object")
        if encrypted is not None:
            self._tls = tls_extension(encrypted)

    def handle_connect(self, event: Request) -> None:
        """The handshake arrived: the application starts, unless it is none."""
        answer = self.conn.accept(event)  # uvicorn asks for it again, and would say in plain text what is wrong
        if answer.status_code != HTTPStatus.SWITCHING_PROTOCOLS:
            self.handshake_initiated = self.handshake_complete = self.close_sent = True
            self._refuse(*HANDSHAKE_REFUSALS.get(answer.status_code, ANY_HANDSHAKE))
            return
        super().handle_connect(event)
        if self._tls is not None:
            cast(Any, self.scope)["extensions"]["tls"] = self._tls  # its type knows no extensions with content

    def data_received(self, data: bytes) -> None:
        """Take bytes; what is no handshake at all is refused, which uvicorn leaves to whoever was there before it."""
        if self._deaf:
            return
        super().data_received(data)
        failed = self.conn.handshake_exc
        if failed is not None and not self.handshake_initiated and not self.transport.is_closing():
            self._refuse(
                next((kind for wrong, kind in REFUSALS.items() if isinstance(failed, wrong)), MalformedRequest)
            )

    def handle_parser_exception(self) -> None:
        """What arrived breaks the protocol, or is too large: say so, and drop the rest, so that it arrives."""
        self._deaf = True
        closing = self.conn.close_sent
        assert closing is not None  # by the parser, with the code for what is wrong
        self.queue.put_nowait({"type": "websocket.disconnect", "code": closing.code, "reason": closing.reason})
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        if self.transport.is_closing():
            return
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()
        if self.transport.can_write_eof():  # TLS has no half-closed connections
            self.transport.write_eof()
        self.close_timer = self.loop.call_later(LINGER_SECONDS, self.transport.close)

    async def send(self, message: Any) -> None:
        """Send a message of the application; its refusal of a handshake without a word becomes a problem."""
        if message["type"] == "websocket.close" and not self.handshake_complete and self.initial_response is None:
            await deny(super().send, PermissionDenied)
        else:
            await super().send(message)

    def send_500_response(self) -> None:
        """Answer a handshake that the application failed to answer."""
        if not self.handshake_complete and self.initial_response is None:
            self._refuse(Internal)

    def _refuse(self, kind: type[Error], *more: tuple[bytes, bytes]) -> None:
        status, fields, body = refusal(kind)
        fields += [*more, (b"connection", b"close")]
        head = [name + b": " + value + b"\r\n" for name, value in fields]
        self.transport.write(b"".join([STATUS_LINE[status], *head, b"\r\n", body]))
        self.transport.close()
