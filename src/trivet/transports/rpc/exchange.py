"""One RPC on its way to an operation and back, whichever protocol it speaks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar, Literal

from trivet.contracts.problem import BodyTooLarge
from trivet.core.call import Call
from trivet.core.error import Cancelled, Error, InvalidArgument, Violation
from trivet.core.operation import Operation
from trivet.core.principal import ANONYMOUS
from trivet.transports.intake import Items
from trivet.transports.rest.exchange import PRINCIPAL, REQUEST_ID, Message, Receive, Scope, Send, joined
from trivet.transports.rest.reply import NOSNIFF
from trivet.transports.rpc.envelope import Envelopes
from trivet.transports.rpc.status import Status

Format = Literal["proto", "json"]
Fields = list[tuple[bytes, bytes]]


class RpcCall(Call):
    """A call with what reading and answering need of its HTTP request.

    Attributes:
        receive: Reads the body, and says when the client went away.
        speech: Speaks the protocol.
        refusal: Why the request leads to no operation.
        gone: Whether the client went away before the answer.
        listener: Listens for that, once the request takes long.
        items: What comes in, where a stream does.
    """

    __slots__ = ("gone", "items", "listener", "receive", "refusal", "speech")

    def __init__(
        self,
        operation: Operation[..., Any] | None,
        speech: Speech,
        scope: Scope,
        receive: Receive,
        path: str,
        arrival: float,
        new_request_id: Callable[[], str],
    ) -> None:
        given = speech.fields.get(b"request-id")
        client = scope.get("client")
        Call.__init__(  # `super()` would be looked up each time
            self,
            operation,
            protocol=speech.protocol,
            method=f"{scope['method']} {path}",
            fields=speech.fields,
            peer=client[0] if client else None,
            arrival=arrival,
            request_id=(
                given.decode() if given is not None and REQUEST_ID.fullmatch(given) is not None else new_request_id()
            ),
            principal=scope.get(PRINCIPAL, ANONYMOUS),
        )
        self.receive = receive
        self.speech = speech
        self.refusal: Error | None = None
        self.gone = False
        self.listener: asyncio.Task[None] | None = None
        self.items: Items | None = None


class Speech:
    """How one request is read and answered; each protocol has a subclass.

    An answer is either `reply`, or `begin`, any number of `piece` made of items, and `end`, or `fail` alone. A request
    is one `message`, or any number of them in `envelopes`.

    Args:
        format: Of its messages.
        content_type: Of its answer.
        fields: Header fields of the request.
        send: Where the answer goes.

    Attributes:
        size: Bytes of bodies that were sent.
        started: Whether the head was sent.
        status: The HTTP status that was sent.
    """

    protocol: ClassVar[str]

    trailers: ClassVar[bool] = False
    """Whether its status stands in trailers, which not every server carries."""

    __slots__ = ("content_type", "fields", "format", "send", "size", "started", "status")

    def __init__(self, format: Format, content_type: bytes, fields: dict[bytes, bytes], send: Send) -> None:
        self.format: Format = format
        self.content_type = content_type
        self.fields = fields
        self.send = send
        self.size = 0
        self.started = False
        self.status = 200

    def content(self, call: RpcCall, limit: int) -> Awaitable[bytes]:
        """Return what the request has to say, in which its one message is.

        Args:
            call: The request.
            limit: Bytes that the message may have.

        Raises:
            Error: Nothing is, from its head.
        """
        raise NotImplementedError

    def opened(self, content: bytes, limit: int) -> bytes:
        """Return the one message in the content of the request.

        Raises:
            Error: There is none that can be read.
        """
        raise NotImplementedError

    async def message(self, call: RpcCall, limit: int) -> bytes:
        """Return the one message of the request.

        Raises:
            Error: There is none that can be read.
        """
        return self.opened(await self.content(call, limit), limit)

    def envelopes(self, limit: int) -> Envelopes:
        """Return what takes a request of many messages apart.

        Raises:
            Error: The protocol has no such requests, or this one can not be read.
        """
        raise NotImplementedError

    async def reply(self, call: RpcCall, message: bytes) -> None:
        """Answer with one message."""
        raise NotImplementedError

    async def begin(self, call: RpcCall) -> None:
        """Begin a stream of messages."""
        raise NotImplementedError

    def item(self, message: bytes) -> bytes:
        """Return one message of a stream as it is sent."""
        raise NotImplementedError

    async def piece(self, content: bytes) -> None:
        """Send a part of the body after which more comes."""
        await self.body(content, more=True)

    async def finish(self, call: RpcCall, message: bytes) -> None:
        """End an answer that was begun with its one message."""
        await self.piece(self.item(message))
        await self.end(call, None)

    async def end(self, call: RpcCall, status: Status | None) -> None:
        """End a stream, with a status where it failed."""
        raise NotImplementedError

    async def fail(self, call: RpcCall, status: Status) -> None:
        """Answer with an error alone."""
        raise NotImplementedError

    async def start(self, call: RpcCall, fields: Fields, **more: Any) -> None:
        """Send the head of the answer."""
        await self.send(self.head(call, fields, **more))

    def head(self, call: RpcCall, fields: Fields, **more: Any) -> Message:
        """Return the head of the answer."""
        fields += ((b"request-id", call.request_id.encode()), NOSNIFF)
        if call.notes is not None:
            fields.extend(call.notes)
        self.started = True
        return {"type": "http.response.start", "status": self.status, "headers": fields, **more}

    async def body(self, content: bytes, more: bool = False) -> None:
        """Send a piece of the body."""
        self.size += len(content)
        await self.send({"type": "http.response.body", "body": content, "more_body": more})


async def content_of(call: RpcCall, limit: int) -> bytes:
    """Return the content of a request.

    Raises:
        BodyTooLarge: It is larger than `limit`; where the head says so, nothing of it was read.
        Cancelled: The client went away.
    """
    length = call.fields.get(b"content-length")
    if length is not None:
        if not length.isdigit():
            raise InvalidArgument(violations=(Violation(detail="not a length", pointer="#/content-length"),))
        if int(length) > limit:
            raise BodyTooLarge(limit=limit)
    message = await call.receive()
    if message["type"] == "http.request" and not message.get("more_body", False):  # as it mostly is: all at once
        content: bytes = message.get("body", b"")
        if len(content) > limit:
            raise BodyTooLarge(limit=limit)
        return content
    chunks: list[bytes] = []
    size = 0
    while True:
        if message["type"] == "http.disconnect":
            call.gone = True
            raise Cancelled
        chunk: bytes = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise BodyTooLarge(limit=limit)
        chunks.append(chunk)
        if not message.get("more_body", False):
            return b"".join(chunks)
        message = await call.receive()


def fields_of(scope: Scope) -> dict[bytes, bytes]:
    """Return the header fields of a request by name."""
    headers = scope["headers"]
    fields = dict(headers)
    return fields if len(fields) == len(headers) else joined(headers)
