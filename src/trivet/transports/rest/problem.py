"""Errors as problem documents (RFC 9457)."""

from __future__ import annotations

import math
from typing import Any

import msgspec

from trivet.contracts.problem import (
    SERVER_FAULTS,
    MethodNotAllowed,
    RangeNotSatisfiable,
    UnsupportedContentCoding,
    UnsupportedMediaType,
    slug_of,
    status_of,
)
from trivet.core.call import Call
from trivet.core.error import Error, InvalidArgument

PROBLEM_JSON = b"application/problem+json"
RETRY_AFTER = frozenset({429, 503})
DEFAULT_RETRY_SECONDS = 1

ENCODER = msgspec.json.Encoder(decimal_format="string")

Fields = list[tuple[bytes, bytes]]


class Problem:
    """An error, rendered.

    Attributes:
        status: The HTTP status.
        fields: Header fields, without the length of the body.
        body: The document.
    """

    __slots__ = ("body", "fields", "status")

    def __init__(self, status: int, fields: Fields, body: bytes) -> None:
        self.status = status
        self.fields = fields
        self.body = body


def render(error: Error, call: Call, root: str = "") -> Problem:
    """Render an error; one on our side says nothing beyond the request id.

    Args:
        error: What the request ended with.
        call: The request.
        root: The path below which the app is mounted.
    """
    status = status_of(error)
    return Problem(status, fields_of(error, status), ENCODER.encode(document_of(error, status, call, root)))


def document_of(error: Error, status: int, call: Call, root: str) -> dict[str, Any]:
    """Return the members of the problem document."""
    document: dict[str, Any] = {
        "type": f"{root}/problems/{slug_of(error)}",
        "title": error.message,
        "status": status,
        "instance": f"urn:request:{call.request_id}",
        "code": error.code.name.lower(),
        "reason": error.reason,
    }
    if error.code in SERVER_FAULTS:
        return document
    if error.detail:
        document["detail"] = error.detail
    if isinstance(error, InvalidArgument) and error.violations:
        document["errors"] = error.violations
    for name, value in error.metadata().items():
        document.setdefault(name, value)
    return document


def fields_of(error: Error, status: int) -> Fields:
    """Return the header fields that go with an error."""
    fields: Fields = [(b"content-type", PROBLEM_JSON)]
    if status == 401:
        fields.append((b"www-authenticate", b"Bearer"))
    seconds = getattr(error, "retry_after", None)
    if status in RETRY_AFTER or seconds is not None:
        wait = DEFAULT_RETRY_SECONDS if seconds is None else max(0, math.ceil(seconds))
        fields.append((b"retry-after", b"%d" % wait))
    if isinstance(error, RangeNotSatisfiable):
        fields.append((b"content-range", f"bytes */{error.size}".encode()))
    if isinstance(error, MethodNotAllowed):
        fields.append((b"allow", ", ".join(error.allowed).encode()))
    if isinstance(error, UnsupportedMediaType):
        fields.append((b"accept", ", ".join(error.accepted).encode()))
    if isinstance(error, UnsupportedContentCoding):
        fields.append((b"accept-encoding", ", ".join(error.codings).encode()))  # RFC 9110 section 12.5.3
    return fields
