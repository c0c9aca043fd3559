"""How an error looks over HTTP: the status of each code, the address of each reason, and the edge's own refusals.

::

    InvalidArgument
    ├── MalformedRequest        400   not HTTP/1.1
    ├── MalformedPath           400   not percent-encoded UTF-8
    ├── UnexpectedBody          400   a body where none has a meaning (RFC 9110 section 9.3.1)
    ├── NotAcceptable           406   nothing that `Accept` allows can be sent
    ├── RequestTimeout          408   the head did not arrive in time
    ├── UrlTooLong              414
    ├── UnsupportedMediaType    415
    ├── UnsupportedContentCoding 415
    └── HeadersTooLarge         431
    Error
    └── BodyTooLarge            413   resource_exhausted, as gRPC says of a message that is too large
    FailedPrecondition
    ├── PreconditionFailed      412   another version than the one that was named
    └── PreconditionRequired    428   none was named, and one must be
    Unimplemented
    ├── RouteNotFound           404   no operation has this path
    ├── MethodNotAllowed        405   with `Allow`
    └── VersionNotSupported     505   neither HTTP/1.1 nor HTTP/1.0
    Unavailable
    └── NotReady                503   starting, or draining
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta

from trivet.core.error import Code, Error, InvalidArgument, OutOfRange, Unavailable, Unimplemented
from trivet.core.idempotency import IdempotencyKeyInUse, IdempotencyKeyReused
from trivet.core.precondition import PreconditionFailed, PreconditionRequired

PROBLEM_MEMBERS = frozenset({"type", "title", "status", "detail", "instance", "code", "reason", "errors"})
"""Members that every rendered error has; an error's own fields stand beside them (RFC 9457 section 3.2)."""

Word = Annotated[str, Meta(max_length=128)]
Few = Annotated[tuple[Word, ...], Meta(max_length=32)]
Bytes = Annotated[int, Meta(ge=1, le=2**31 - 1)]

STATUS: dict[Code, int] = {
    Code.INVALID_ARGUMENT: 400,
    Code.FAILED_PRECONDITION: 400,
    Code.OUT_OF_RANGE: 400,
    Code.UNAUTHENTICATED: 401,
    Code.PERMISSION_DENIED: 403,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.ABORTED: 409,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.CANCELLED: 499,
    Code.UNKNOWN: 500,
    Code.INTERNAL: 500,
    Code.DATA_LOSS: 500,
    Code.UNIMPLEMENTED: 501,
    Code.UNAVAILABLE: 503,
    Code.DEADLINE_EXCEEDED: 504,
}
"""The HTTP status of each code, where no standard asks for another one."""

PHRASES = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    406: "Not Acceptable",
    408: "Request Timeout",
    409: "Conflict",
    412: "Precondition Failed",
    413: "Content Too Large",
    414: "URI Too Long",
    415: "Unsupported Media Type",
    416: "Range Not Satisfiable",
    422: "Unprocessable Content",
    428: "Precondition Required",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    499: "Client Closed Request",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Service Unavailable",
    504: "Gateway Timeout",
    505: "HTTP Version Not Supported",
}

SERVER_FAULTS = frozenset({Code.INTERNAL, Code.UNKNOWN, Code.DATA_LOSS})
"""Codes that say nothing beyond the request id."""


def status_of(error: Error | type[Error]) -> int:
    """Return the HTTP status of an error: the one a standard asks for, else its code's."""
    return error.status or STATUS[error.code]


def slug_of(error: Error | type[Error]) -> str:
    """Return the last segment of the address that explains an error: its reason in kebab case."""
    return error.reason.lower().replace("_", "-")


class MalformedRequest(InvalidArgument):
    """The request is not valid HTTP/1.1."""


class MalformedPath(InvalidArgument):
    """The path is not percent-encoded UTF-8."""


class UnexpectedBody(InvalidArgument):
    """This request takes no body."""


class NotAcceptable(InvalidArgument, status=406):
    """Nothing that the Accept header allows can be sent."""

    available: Few = ()


class RequestTimeout(InvalidArgument, status=408):
    """The head of the request did not arrive in time."""


class BodyTooLarge(Error, status=413):
    """The body is too large."""

    code: ClassVar[Code] = Code.RESOURCE_EXHAUSTED
    limit: Bytes


class UrlTooLong(InvalidArgument, status=414):
    """The URL is too long."""

    limit: Bytes


class UnsupportedMediaType(InvalidArgument, status=415):
    """The body is in a format that this operation does not read."""

    accepted: Few = ()


class UnsupportedContentCoding(InvalidArgument, status=415):
    """The body is compressed, which this operation does not read."""

    codings: Few = ("identity",)


class HeadersTooLarge(InvalidArgument, status=431):
    """The header fields are too large."""

    limit: Bytes


class RouteNotFound(Unimplemented, status=404):
    """Nothing is served under this path."""


class MethodNotAllowed(Unimplemented, status=405):
    """This method is not served under this path."""

    allowed: Few = ()


class RangeNotSatisfiable(OutOfRange, status=416):
    """There is nothing in that range."""

    size: int


class VersionNotSupported(Unimplemented, status=505):
    """This version of HTTP is not spoken here; HTTP/1.1 is."""


class NotReady(Unavailable):
    """This process is not ready to serve."""

    waiting_for: Few = ()


REFUSALS: tuple[type[Error], ...] = (
    MalformedRequest,
    MalformedPath,
    UnexpectedBody,
    RouteNotFound,
    MethodNotAllowed,
    NotAcceptable,
    RequestTimeout,
    IdempotencyKeyInUse,
    PreconditionFailed,
    BodyTooLarge,
    UrlTooLong,
    UnsupportedMediaType,
    UnsupportedContentCoding,
    IdempotencyKeyReused,
    PreconditionRequired,
    HeadersTooLarge,
    NotReady,
    VersionNotSupported,
)
"""What the edge refuses by itself, in the order of their statuses."""
