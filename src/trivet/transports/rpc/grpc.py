"""gRPC (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md) and gRPC-Web (PROTOCOL-WEB.md beside it).

They differ in where the status stands: native gRPC has it in the trailers of HTTP/2, gRPC-Web in a last envelope of
the body, which every server and every browser can carry.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable

from trivet.core.error import Unimplemented
from trivet.transports.rpc import envelope
from trivet.transports.rpc.envelope import Envelopes, accepts_gzip, announced, broken, deflated, enveloped, opened
from trivet.transports.rpc.exchange import Fields, RpcCall, Speech, content_of
from trivet.transports.rpc.status import Status

OK: Fields = [(b"grpc-status", b"0")]
ACCEPTED = (b"grpc-accept-encoding", b"gzip, identity")


class NotInWeb(Unimplemented):
    """gRPC-Web can not send a stream: use gRPC, Connect or REST."""


class Grpc(Speech):
    """Native gRPC."""

    protocol = "grpc"
    trailers = True

    __slots__ = ("_gzip",)

    def content(self, call: RpcCall, limit: int) -> Awaitable[bytes]:
        """Return the envelope of the request."""
        return content_of(call, limit + envelope.HEAD_BYTES)

    def opened(self, content: bytes, limit: int) -> bytes:
        """Return the message in the envelope."""
        return opened(content, limit, self.gzip)

    @property
    def gzip(self) -> bool:
        """Whether messages of the request may be compressed.

        Raises:
            EncodingUnknown: They are in a way that is not understood.
        """
        coding = self.fields.get(b"grpc-encoding")
        return coding is not None and announced(coding)

    def envelopes(self, limit: int) -> Envelopes:
        """Return what takes a request of many messages apart."""
        return Envelopes(limit, self.gzip)

    async def reply(self, call: RpcCall, message: bytes) -> None:
        """Answer with one message; it is what most answers are, so nothing is awaited but the server."""
        fields, content = self.answer(message)
        self.size = len(content)
        send = self.send
        await send(self.head(call, fields, trailers=True))
        await send({"type": "http.response.body", "body": content})
        await send({"type": "http.response.trailers", "headers": OK, "more_trailers": False})

    def answer(self, message: bytes) -> tuple[Fields, bytes]:
        """Return the head and the body of an answer of one message."""
        fields = [(b"content-type", self.content_type)]
        if len(message) < envelope.COMPRESS_FROM_BYTES or not accepts_gzip(self.fields.get(b"grpc-accept-encoding")):
            return fields, envelope.head(0, len(message)) + message
        fields.append((b"grpc-encoding", b"gzip"))
        return fields, enveloped(deflated(message), envelope.COMPRESSED)

    async def begin(self, call: RpcCall) -> None:
        """Begin a stream of messages."""
        self._gzip = accepts_gzip(self.fields.get(b"grpc-accept-encoding"))
        fields = [(b"content-type", self.content_type)]
        if self._gzip:
            fields.append((b"grpc-encoding", b"gzip"))
        await self.start(call, fields, trailers=True)
        await self.body(b"", more=True)  # a head goes out with the first piece of the body

    def item(self, message: bytes) -> bytes:
        """Return one message of a stream as it is sent."""
        return envelope.item(message, self._gzip)

    async def end(self, call: RpcCall, status: Status | None) -> None:
        """End a stream."""
        await self.last(b"", OK if status is None else status.grpc())

    async def fail(self, call: RpcCall, status: Status) -> None:
        """Answer with trailers only: the status stands in the head, so that every server can send it."""
        await self.start(call, [(b"content-type", self.content_type), ACCEPTED, *status.grpc()])
        await self.body(b"")

    async def last(self, content: bytes, trailers: Fields) -> None:
        """Send the last part of the body, and the status."""
        await self.body(content)
        await self.send({"type": "http.response.trailers", "headers": trailers, "more_trailers": False})


class GrpcWeb(Grpc):
    """gRPC-Web, in binary or, for old browsers, in text."""

    protocol = "grpc-web"
    trailers = False

    __slots__ = ("_text",)

    def envelopes(self, limit: int) -> Envelopes:
        """Refuse a request of many messages.

        Raises:
            NotInWeb: In any case.
        """
        raise NotInWeb

    @property
    def text(self) -> bool:
        """Whether bodies are base64."""
        return self.content_type.startswith(b"application/grpc-web-text")

    def content(self, call: RpcCall, limit: int) -> Awaitable[bytes]:
        """Return the envelope of the request, or its text."""
        return super().content(call, limit * 4 // 3 + 8 if self.text else limit)

    def opened(self, content: bytes, limit: int) -> bytes:
        """Return the message in the envelope; a text may consist of several that were padded one by one."""
        if self.text:
            try:
                content = b"".join(base64.b64decode(part, validate=True) for part in padded(content))
            except binascii.Error as malformed:
                raise broken("the body is not base64") from malformed
        return super().opened(content, limit)

    async def reply(self, call: RpcCall, message: bytes) -> None:
        """Answer with one message."""
        fields, content = self.answer(message)
        await self.start(call, fields)
        await self.last(content, OK)

    async def start(self, call: RpcCall, fields: Fields, **more: object) -> None:
        """Send the head of the answer."""
        await super().start(call, fields)

    async def piece(self, content: bytes) -> None:
        """Send a part of the body after which more comes."""
        await self.body(base64.b64encode(content) if self.text else content, more=True)

    async def last(self, content: bytes, trailers: Fields) -> None:
        """Send the last part of the body: the status is a part of it."""
        said = b"".join(b"%b: %b\r\n" % field for field in trailers)
        content += enveloped(said, envelope.WEB_TRAILERS)
        await self.body(base64.b64encode(content) if self.text else content)


def padded(text: bytes) -> list[bytes]:
    """Return the parts of a base64 text that was made of several: each ends where its padding does."""
    parts: list[bytes] = []
    start = 0
    while start < len(text):
        end = text.find(b"=", start)
        if end < 0:
            parts.append(text[start:])
            break
        while end < len(text) and text[end : end + 1] == b"=":
            end += 1
        parts.append(text[start:end])
        start = end
    return parts
