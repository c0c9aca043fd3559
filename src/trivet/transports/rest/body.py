"""Reading the body of a request: the right format, not too large, and as few copies as the server allows."""

from __future__ import annotations

from trivet.contracts.body import Body
from trivet.contracts.problem import BodyTooLarge, UnexpectedBody, UnsupportedContentCoding, UnsupportedMediaType
from trivet.core.error import Cancelled, InvalidArgument, Violation
from trivet.transports.rest.exchange import Message, RestCall
from trivet.transports.rest.media import content_type

CHARSETS = (None, "utf-8", "utf8")


def refuse_content(call: RestCall) -> None:
    """Refuse a body where the method gives it no meaning (RFC 9110 section 9.3.1), as far as the head announces one.

    Raises:
        UnexpectedBody: The head announces a body.
    """
    fields = call.fields
    if b"transfer-encoding" in fields or fields.get(b"content-length", b"0") != b"0":
        raise UnexpectedBody(detail=f"{call.verb} takes its input from the URL; send no body.")


async def read(call: RestCall, body: Body, limit: int) -> bytes:
    """Return the body, empty where there is none.

    Raises:
        BodyTooLarge: It is larger than `limit`; where the head says so, nothing of it was read.
        UnsupportedMediaType: It is not JSON in UTF-8.
        Cancelled: The client went away.
    """
    fields = call.fields
    length = fields.get(b"content-length")
    if length is not None:
        if not length.isdigit():
            raise InvalidArgument(violations=(Violation(detail="not a length", pointer="#/content-length"),))
        if int(length) > limit:
            raise BodyTooLarge(limit=limit)
    given = fields.get(b"content-type")
    if given is not None or length not in (None, b"0"):
        _check_format(given, fields.get(b"content-encoding"), body)
    message = await call.receive()
    if message["type"] == "http.request" and not message.get("more_body", False):  # as it mostly is: all at once
        content: bytes = message.get("body", b"")
        if len(content) > limit:
            raise BodyTooLarge(limit=limit)
    else:
        content = await _collected(call, message, limit)
    if content and given is None:
        _check_format(None, None, body)
    return content


def check_format(call: RestCall, body: Body) -> None:
    """Refuse a body in another format than the one in which items come in.

    Raises:
        UnsupportedMediaType: It is not one of `body.media_types` in UTF-8.
    """
    _check_format(call.fields.get(b"content-type"), call.fields.get(b"content-encoding"), body)


def _check_format(given: bytes | None, coding: bytes | None, body: Body) -> None:
    if coding is not None and coding.strip().lower() not in (b"identity", b""):
        raise UnsupportedContentCoding(detail="Send it as it is.")
    media_type, charset = content_type(given) if given is not None else (None, None)
    if media_type not in body.media_types or charset not in CHARSETS:
        raise UnsupportedMediaType(
            detail=f"Send {body.media_types[0]} in UTF-8.",
            accepted=body.media_types,
        )


async def _collected(call: RestCall, message: Message, limit: int) -> bytes:
    """Return a body that comes in several messages, of which this is the first."""
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
        if not message.get("more_body", False):
            return b"".join((*chunks, chunk))
        chunks.append(chunk)
        message = await call.receive()
