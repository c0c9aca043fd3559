"""GraphQL over WebSocket: the protocol ``graphql-transport-ws``.

https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md

Each operation is a request of its own: it passes the gate with the head of the handshake, and with the credentials that
``connection_init`` brought. Items are pulled from a stream one by one, each when the last one is written, so a client
that does not read stops its streams and costs no memory. When the process is about to end, sockets are closed with
1012, after which clients come back elsewhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Annotated, Any, Literal

import msgspec

from trivet.core.decode import Decoder
from trivet.core.error import Error, Internal, InvalidArgument, QuotaExceeded
from trivet.core.shape import Meta, Struct
from trivet.runtime import Runtime
from trivet.transports.graphql import request as requests
from trivet.transports.graphql.errors import refusals
from trivet.transports.graphql.request import Request
from trivet.transports.rest.exchange import Receive, RestCall, Scope, Send

SUBPROTOCOL = "graphql-transport-ws"

INIT_SECONDS = 10.0
"""How long a client may take to introduce itself."""

MAX_OPERATIONS = 100
"""How many operations one socket may run at the same time."""

BAD_REQUEST, UNAUTHORIZED, NOT_ACCEPTABLE, INIT_TIMEOUT, TAKEN, TOO_MANY = 4400, 4401, 4406, 4408, 4409, 4429
TOO_BIG, RESTART = 1009, 1012
"""Codes with which a socket is closed."""


class Message(Struct):
    """What a client sends."""

    type: Literal["connection_init", "ping", "pong", "subscribe", "complete"]
    id: Annotated[str, Meta(min_length=1, max_length=255)] | None = None
    payload: Any = None


MESSAGE = Decoder[Message](Message)
REQUEST = Decoder[Request](Request)

Execute = Callable[[Request, RestCall], Awaitable[AsyncIterator[bytes]]]
"""Passes the gate and returns the responses of one operation."""


class TooManyOperations(QuotaExceeded):
    """This socket runs too many operations already."""


class Closed(Exception):
    """The socket has to be closed, or is closed already."""

    def __init__(self, code: int, reason: str) -> None:
        self.code = code
        self.reason = reason
        super().__init__(f"{code} {reason}")


class Sockets:
    """All sockets of this process.

    Args:
        runtime: Tells when the process is about to end.
        execute: Executes one operation.
        new_call: Makes the call of one operation from the scope of its socket.
    """

    def __init__(self, runtime: Runtime, execute: Execute, new_call: Callable[[Scope], RestCall]) -> None:
        self._runtime = runtime
        self._execute = execute
        self._new_call = new_call
        self._open: set[Socket] = set()
        self._ending = False
        runtime.at_end(self.end)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one socket until one side closes it."""
        await receive()
        spoken = SUBPROTOCOL in scope.get("subprotocols", ())
        await send({"type": "websocket.accept", "subprotocol": SUBPROTOCOL if spoken else None})
        if not spoken or self._ending:
            code, reason = (RESTART, "Service restart") if spoken else (NOT_ACCEPTABLE, "Subprotocol not acceptable")
            await send({"type": "websocket.close", "code": code, "reason": reason})
            return
        limit = self._runtime.settings.limits.body
        socket = Socket(receive, send, self._execute, lambda: self._new_call(scope), limit, self._runtime)
        self._open.add(socket)
        try:
            await socket.run()
        finally:
            self._open.discard(socket)

    def end(self) -> None:
        """Close every socket, those that are still to come included."""
        self._ending = True
        for socket in self._open:
            socket.end()


class Socket:
    """One socket.

    Args:
        receive: Brings what the client sends.
        send: Takes what it gets.
        execute: Executes one operation.
        new_call: Makes the call of one operation.
        limit: The bytes of a message at most.
        runtime: What is open while the process runs.
    """

    def __init__(
        self,
        receive: Receive,
        send: Send,
        execute: Execute,
        new_call: Callable[[], RestCall],
        limit: int,
        runtime: Runtime,
    ) -> None:
        self._receive = receive
        self._send = send
        self._execute = execute
        self._new_call = new_call
        self._limit = limit
        self._runtime = runtime
        self._running: dict[str, asyncio.Task[None]] = {}
        self._turn = asyncio.Lock()
        self._acknowledged = False
        self._credentials: bytes | None = None
        self._task: asyncio.Task[Any] | None = None
        self._ended = False

    async def run(self) -> None:
        """Serve the socket until one side closes it."""
        self._task = asyncio.current_task()
        try:
            await self._serve()
        except Closed as closed:
            if closed.code:
                await self._close(closed.code, closed.reason)
        except OSError:
            pass  # the client is gone, and the server says it like this (ASGI 2.4)
        except asyncio.CancelledError:
            if not self._ended:
                raise
            await self._close(RESTART, "Service restart")
            if self._task is not None and self._task.uncancel() > 0:
                raise
        finally:
            running = list(self._running.values())
            for task in running:
                task.cancel()
            if running:
                await asyncio.wait(running)

    def end(self) -> None:
        """Close the socket: its client comes back elsewhere."""
        if self._task is not None and not self._ended:
            self._ended = True
            self._task.cancel()

    async def _serve(self) -> None:
        try:
            async with asyncio.timeout(INIT_SECONDS):
                while not self._acknowledged:
                    await self._take(await self._next())
        except TimeoutError:
            raise Closed(INIT_TIMEOUT, "Connection initialisation timeout") from None
        while True:
            await self._take(await self._next())

    async def _next(self) -> Message:
        received = await self._receive()
        if received["type"] == "websocket.disconnect":
            raise Closed(0, "")
        text = received.get("text")
        content = received.get("bytes") or b"" if text is None else text.encode("utf-8", "surrogatepass")
        if len(content) > self._limit:
            raise Closed(TOO_BIG, "Message too big")
        try:
            return MESSAGE.json(content)
        except InvalidArgument:
            raise Closed(BAD_REQUEST, "Invalid message received") from None

    async def _take(self, message: Message) -> None:
        match message.type:
            case "connection_init":
                if self._acknowledged:
                    raise Closed(TOO_MANY, "Too many initialisation requests")
                self._acknowledged = True
                self._credentials = credentials_of(message.payload)
                await self._say({"type": "connection_ack"})
            case "ping":
                await self._say({"type": "pong"})
            case "subscribe":
                await self._subscribe(message)
            case "complete":
                task = self._running.pop(message.id or "", None)
                if task is not None:
                    task.cancel()

    async def _subscribe(self, message: Message) -> None:
        if not self._acknowledged:
            raise Closed(UNAUTHORIZED, "Unauthorized")
        id = message.id
        try:
            asked = requests.checked(REQUEST.convert(message.payload))
        except InvalidArgument:
            raise Closed(BAD_REQUEST, "Invalid message received") from None
        if id is None:
            raise Closed(BAD_REQUEST, "Invalid message received")
        if id in self._running:
            raise Closed(TAKEN, f"Subscriber for {id} already exists")
        call = self._new_call()
        if self._credentials is not None:
            call.fields = {**call.fields, b"authorization": self._credentials}
        if len(self._running) >= MAX_OPERATIONS:
            refused = refusals(TooManyOperations(), call.request_id)
            await self._say({"type": "error", "id": id, "payload": refused})
            return
        task = self._running[id] = asyncio.ensure_future(self._operate(id, asked, call))
        task.add_done_callback(lambda done: self._running.pop(id, None) if self._running.get(id) is done else None)

    async def _operate(self, id: str, asked: Request, call: RestCall) -> None:
        """Run one operation to its end."""
        size = 0
        try:
            responses = await self._execute(asked, call)
            try:
                async for response in responses:
                    size += len(response)
                    await self._write(b'{"type":"next","id":%b,"payload":%b}' % (msgspec.json.encode(id), response))
            finally:
                close = getattr(responses, "aclose", None)
                if close is not None:
                    await close()
            await self._say({"type": "complete", "id": id})
        except Error as refused:
            await self._say({"type": "error", "id": id, "payload": refusals(refused, call.request_id)})
        except OSError:
            pass  # the client is gone; whoever reads the socket hears of it as well
        except Exception as broken:
            self._runtime.log.failure("unexpected error", broken, request_id=call.request_id)
            await self._say({"type": "error", "id": id, "payload": refusals(Internal(), call.request_id)})
        finally:
            call.finish(200, size)

    async def _say(self, message: dict[str, Any]) -> None:
        await self._write(msgspec.json.encode(message))

    async def _write(self, content: bytes) -> None:
        async with self._turn:
            await self._send({"type": "websocket.send", "text": content.decode()})

    async def _close(self, code: int, reason: str) -> None:
        with suppress(OSError, RuntimeError):  # it is closed already
            await self._send({"type": "websocket.close", "code": code, "reason": reason})


def credentials_of(payload: Any) -> bytes | None:
    """Return the value of ``Authorization`` that ``connection_init`` brought, if any."""
    if not isinstance(payload, dict):
        return None
    given = next((value for name, value in payload.items() if name.lower() == "authorization"), None)
    return given.encode("utf-8") if isinstance(given, str) else None
