"""Connect (https://connectrpc.com/docs/protocol): unary calls are plain HTTP, streams are envelopes."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from trivet.contracts.problem import STATUS, BodyTooLarge
from trivet.core.error import Code, InvalidArgument, Violation
from trivet.transports.rest.exchange import Send
from trivet.transports.rpc import envelope
from trivet.transports.rpc.envelope import (
    EncodingUnknown,
    Envelopes,
    accepts_gzip,
    announced,
    deflated,
    enveloped,
    inflated,
    opened,
)
from trivet.transports.rpc.exchange import Format, RpcCall, Speech, content_of
from trivet.transports.rpc.status import Status

PROTOCOL_VERSION = b"connect-protocol-version"


class Connect(Speech):
    """A unary call with a body."""

    protocol = "connect"

    __slots__ = ()

    def content(self, call: RpcCall, limit: int) -> Awaitable[bytes]:
        """Return the body."""
        self.check_version()
        return content_of(call, limit)

    def opened(self, content: bytes, limit: int) -> bytes:
        """Return the message: the body, as it is or without its compression."""
        return plain_of(content, self.fields.get(b"content-encoding", b"identity"), limit)

    def check_version(self) -> None:
        """Refuse a version of the protocol that is not spoken here.

        Raises:
            InvalidArgument: There is but one.
        """
        if self.fields.get(PROTOCOL_VERSION, b"1") != b"1":
            raise InvalidArgument(violations=(Violation(detail="must be 1", pointer="#/connect-protocol-version"),))

    async def reply(self, call: RpcCall, message: bytes) -> None:
        """Answer with one message."""
        fields = [(b"content-type", self.content_type)]
        if len(message) >= envelope.COMPRESS_FROM_BYTES and accepts_gzip(self.fields.get(b"accept-encoding")):
            message = deflated(message)
            fields.append((b"content-encoding", b"gzip"))
        fields += [(b"vary", b"accept-encoding"), (b"content-length", b"%d" % len(message))]
        await self.start(call, fields)
        await self.body(message)

    async def fail(self, call: RpcCall, status: Status) -> None:
        """Answer with an error, which is JSON whatever the format is."""
        self.status = STATUS[status.code]
        content = msgspec.json.encode(status.connect())
        fields = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(content))]
        if status.code is Code.UNAUTHENTICATED:
            fields.append((b"www-authenticate", b"Bearer"))
        await self.start(call, fields)
        await self.body(content)


class ConnectGet(Connect):
    """A unary call that has its message in the query, for operations without side effects.

    Args:
        query: The query of the request.
    """

    __slots__ = ("_query",)

    def __init__(self, format: Format, query: dict[str, str], fields: dict[bytes, bytes], send: Send) -> None:
        super().__init__(format, b"application/%b" % format.encode(), fields, send)
        self._query = query

    async def content(self, call: RpcCall, limit: int) -> bytes:
        """Return the content of the query."""
        query = self._query
        if query.get("connect", "v1") != "v1":
            raise InvalidArgument(violations=(Violation(detail="must be v1", pointer="#/connect"),))
        if "message" not in query:
            raise InvalidArgument(violations=(Violation(detail="is required", pointer="#/message"),))
        if query.get("base64") == "1":
            text = query["message"].replace("+", "-").replace("/", "_").rstrip("=")
            try:
                content = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
            except (binascii.Error, ValueError) as malformed:
                raise InvalidArgument(violations=(Violation(detail="not base64", pointer="#/message"),)) from malformed
        else:
            content = query["message"].encode("utf-8", "surrogateescape")
        if len(content) > limit:
            raise BodyTooLarge(limit=limit)
        return content

    def opened(self, content: bytes, limit: int) -> bytes:
        """Return the message: the content, as it is or without its compression."""
        return plain_of(content, self._query.get("compression", "identity").encode(), limit)


class ConnectStream(Speech):
    """A call whose answer or request is a stream; what is none is one envelope."""

    protocol = "connect"

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
        return announced(self.fields.get(b"connect-content-encoding"))

    def envelopes(self, limit: int) -> Envelopes:
        """Return what takes a request of many messages apart."""
        return Envelopes(limit, self.gzip)

    async def begin(self, call: RpcCall) -> None:
        """Begin a stream of messages."""
        self._gzip = accepts_gzip(self.fields.get(b"connect-accept-encoding"))
        fields = [(b"content-type", self.content_type)]
        if self._gzip:
            fields.append((b"connect-content-encoding", b"gzip"))
        await self.start(call, fields)
        await self.body(b"", more=True)  # a head goes out with the first piece of the body

    def item(self, message: bytes) -> bytes:
        """Return one message of a stream as it is sent."""
        return envelope.item(message, self._gzip)

    async def end(self, call: RpcCall, status: Status | None) -> None:
        """End a stream: the status is its last message."""
        said: dict[str, Any] = {} if status is None else {"error": status.connect()}
        await self.body(enveloped(msgspec.json.encode(said), envelope.CONNECT_END))

    async def fail(self, call: RpcCall, status: Status) -> None:
        """Answer with an error alone, which is a stream that ends at once."""
        await self.start(call, [(b"content-type", self.content_type)])
        await self.end(call, status)


def query_of(query: bytes) -> dict[str, str]:
    """Return the query of a request; what is there twice counts as it came last."""
    return dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True, errors="surrogateescape"))


def plain_of(content: bytes, coding: bytes, limit: int) -> bytes:
    """Return content without its compression.

    Raises:
        EncodingUnknown: It is not gzip.
        BodyTooLarge: It is larger than `limit`.
    """
    if coding in (b"identity", b""):
        return content
    if coding != b"gzip":
        raise EncodingUnknown(detail=f"{coding.decode('latin-1')} is not understood here; gzip is.")
    return inflated(content, limit) if content else content
