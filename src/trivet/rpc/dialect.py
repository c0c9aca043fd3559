"""How a call is asked and what its answer means: Connect (https://connectrpc.com/docs/protocol) and gRPC.

Both are read piece by piece, and no message may be larger than what the client allows.
"""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import unquote

import msgspec

from trivet.core.error import Code, InvalidArgument, Violation
from trivet.rpc.errors import HTTP_CODES, AnswerUnreadable, Said, pointer_of
from trivet.rpc.http import lost
from trivet.transports.rpc import envelope
from trivet.transports.rpc.exchange import Format
from trivet.transports.rpc.status import BAD_REQUEST, CONNECT_NAMES, ERROR_INFO, RETRY_INFO, STATUS, TOLERANT

if TYPE_CHECKING:
    from pyqwest import Response

CODES = {name: code for code, name in CONNECT_NAMES.items()}
UNREADABLE = (InvalidArgument, AttributeError, KeyError, TypeError, ValueError)
"""What details raise that are not what they should be: no base64, no protobuf, no list of objects."""

MAX_ERROR = 64 * 1024
"""Bytes of an error that are read."""


class Refused(Exception):
    """The answer is an error.

    Attributes:
        said: The error as it came.
    """

    def __init__(self, said: Said) -> None:
        super().__init__(said.text)
        self.said = said


class Dialect(Protocol):
    """One protocol as a client speaks it."""

    def headers(self, format: Format, streams: bool, seconds: float | None) -> dict[str, str]:
        """Return the header fields of a request.

        Args:
            format: Of its messages.
            streams: Whether the answer is a stream.
            seconds: How long its answer is waited for.
        """
        ...

    def content(self, message: bytes, streams: bool) -> bytes:
        """Return the body of a request."""
        ...

    async def message(self, response: Response, limit: int) -> bytes:
        """Return the one message of an answer.

        Raises:
            Refused: The answer is an error.
            AnswerUnreadable: It is neither.
        """
        ...

    async def check(self, response: Response) -> None:
        """Find out whether a stream was refused, as far as its head says.

        Raises:
            Refused: It was.
        """
        ...

    def messages(self, response: Response, limit: int) -> AsyncIterator[bytes]:
        """Yield the messages of a stream.

        Raises:
            Refused: It ended with an error.
            AnswerUnreadable: It is no stream.
        """
        ...


class Connect:
    """Connect: unary calls are plain HTTP, streams are envelopes."""

    def headers(self, format: Format, streams: bool, seconds: float | None) -> dict[str, str]:
        """Return the header fields of a request."""
        content_type = f"application/connect+{format}" if streams else f"application/{format}"
        said = {"content-type": content_type, "connect-protocol-version": "1"}
        if seconds is not None:
            said["connect-timeout-ms"] = str(max(1, min(int(seconds * 1000), 9_999_999_999)))
        return said

    def content(self, message: bytes, streams: bool) -> bytes:
        """Return the body of a request."""
        return envelope.enveloped(message) if streams else message

    async def message(self, response: Response, limit: int) -> bytes:
        """Return the one message of an answer."""
        if response.status == 200:
            return await whole(response, limit)
        raise Refused(connect_error(await whole(response, MAX_ERROR), response.status))

    async def check(self, response: Response) -> None:
        """Find out whether a stream was refused; Connect says it at its end, but what stands before it may not."""
        if response.status != 200:
            raise Refused(connect_error(await whole(response, MAX_ERROR), response.status))

    async def messages(self, response: Response, limit: int) -> AsyncIterator[bytes]:
        """Yield the messages of a stream."""
        async for flags, message in envelopes(response, limit):
            if not flags & envelope.CONNECT_END:
                yield message
                continue
            end = _json(message)
            if "error" in end:
                raise Refused(connect_error(msgspec.json.encode(end["error"]), 200))
            return
        raise AnswerUnreadable(detail="The stream ended without saying how.")


class Grpc:
    """gRPC, whose status is in the trailers."""

    def headers(self, format: Format, streams: bool, seconds: float | None) -> dict[str, str]:
        """Return the header fields of a request."""
        said = {"content-type": f"application/grpc+{format}", "te": "trailers"}
        if seconds is not None:
            said["grpc-timeout"] = f"{max(1, min(int(seconds * 1000), 99_999_999))}m"
        return said

    def content(self, message: bytes, streams: bool) -> bytes:
        """Return the body of a request."""
        return envelope.enveloped(message)

    async def message(self, response: Response, limit: int) -> bytes:
        """Return the one message of an answer."""
        await self.check(response)
        found = [message async for message in self.messages(response, limit)]
        if len(found) != 1:
            raise AnswerUnreadable(detail=f"The answer has {len(found)} messages.")
        return found[0]

    async def check(self, response: Response) -> None:
        """Find out whether a stream was refused: the head says it where there is nothing but a refusal."""
        if response.status != 200:
            text = (await whole(response, MAX_ERROR)).decode("utf-8", "replace")
            raise Refused(Said(HTTP_CODES.get(response.status, Code.UNKNOWN), text))
        if "grpc-status" in response.headers:
            grpc_status(response.headers)

    async def messages(self, response: Response, limit: int) -> AsyncIterator[bytes]:
        """Yield the messages of a stream."""
        async for _, message in envelopes(response, limit):
            yield message
        grpc_status(response.trailers)


def grpc_status(fields: Any) -> None:
    """Read the status in trailers.

    Raises:
        Refused: It is an error.
        AnswerUnreadable: There is none.
    """
    status = fields.get("grpc-status")
    if status == "0":
        return
    try:
        code = Code(int(status or ""))
    except ValueError as unknown:
        raise AnswerUnreadable(detail="The answer has no status.") from unknown
    said = Said(code, unquote(fields.get("grpc-message") or ""))
    details = fields.get("grpc-status-details-bin")
    if details is not None:
        with suppress(*UNREADABLE):  # an error is one without its details too
            for each in TOLERANT.decoder(STATUS)(unpadded(details)).get("details", ()):
                _learn(said, each.get("type_url", "").rpartition("/")[2], each.get("value", b""))
    raise Refused(said)


def connect_error(content: bytes, status: int) -> Said:
    """Return the error that Connect says in JSON, or that an HTTP status means where something else answered."""
    try:
        error = _json(content)
        said = Said(CODES[error["code"]], str(error.get("message", "")))
    except (AnswerUnreadable, KeyError, TypeError):
        return Said(HTTP_CODES.get(status, Code.UNKNOWN), content.decode("utf-8", "replace"))
    with suppress(*UNREADABLE):  # as above
        for each in error.get("details", ()):
            _learn(said, each["type"], unpadded(each["value"]))
    return said


def _learn(said: Said, kind: str, value: bytes) -> None:
    """Add what a detail says."""
    if kind == ERROR_INFO.full_name:
        info = TOLERANT.decoder(ERROR_INFO)(value)
        said.reason, said.metadata = info.get("reason", ""), info.get("metadata", {})
    elif kind == BAD_REQUEST.full_name:
        said.violations = tuple(
            Violation(detail=each.get("description", ""), pointer=pointer_of(each.get("field", "")))
            for each in TOLERANT.decoder(BAD_REQUEST)(value).get("field_violations", ())
        )
    elif kind == RETRY_INFO.full_name:
        delay = TOLERANT.decoder(RETRY_INFO)(value).get("retry_delay")
        said.retry_after = delay.total_seconds() if delay is not None else None


def unpadded(text: str) -> bytes:
    """Return base64 whose padding may be left out."""
    return base64.b64decode(text + "=" * (-len(text) % 4))


def _json(content: bytes) -> Mapping[str, Any]:
    try:
        return msgspec.json.decode(content, type=dict[str, Any])
    except msgspec.DecodeError as malformed:
        raise AnswerUnreadable from malformed


async def whole(response: Response, limit: int) -> bytes:
    """Return the content of an answer.

    Raises:
        AnswerUnreadable: It is larger than `limit`.
        ConnectionLost: It ended before its end.
    """
    pieces: list[bytes] = []
    size = 0
    with lost("the server"):
        async for piece in response.content:
            size += len(piece)
            if size > limit:
                raise AnswerUnreadable(detail=f"The answer has more than {limit} bytes.")
            pieces.append(bytes(piece))
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


async def envelopes(response: Response, limit: int) -> AsyncIterator[tuple[int, bytes]]:
    """Yield the flags and messages of an answer as they come.

    Raises:
        AnswerUnreadable: One is larger than `limit`, compressed, or cut.
        ConnectionLost: It ended before its end.
    """
    waiting = bytearray()
    with lost("the server"):
        async for piece in response.content:
            waiting += piece
            while len(waiting) >= envelope.HEAD_BYTES:
                flags, size = envelope.read_head(waiting)
                if size > limit:
                    raise AnswerUnreadable(detail=f"A message has more than {limit} bytes.")
                end = envelope.HEAD_BYTES + size
                if len(waiting) < end:
                    break
                if flags & envelope.COMPRESSED:
                    raise AnswerUnreadable(detail="A message is compressed, which was not asked for.")
                message = bytes(waiting[envelope.HEAD_BYTES : end])
                del waiting[:end]
                yield flags, message
    if waiting:
        raise AnswerUnreadable(detail="The last message is cut.")
