"""What can go wrong between two processes, and errors of the other one as the classes that they are.

What an operation declares in ``raises=`` comes back as that class with its fields, the platform's own refusals too; of
any other error, code and message are kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, ClassVar

import msgspec

from trivet.core.error import (
    RENDERED_APART,
    AlreadyExists,
    Cancelled,
    Code,
    Conflict,
    DeadlineExceeded,
    Error,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    NotFound,
    OutOfRange,
    PermissionDenied,
    QuotaExceeded,
    Unauthenticated,
    Unavailable,
    Unimplemented,
    Violation,
)
from trivet.core.operation import Operation
from trivet.core.pointer import escape

BASES: Mapping[Code, type[Error]] = {
    kind.code: kind
    for kind in (
        AlreadyExists, Cancelled, Conflict, DeadlineExceeded, FailedPrecondition, Internal, InvalidArgument, NotFound,
        OutOfRange, PermissionDenied, QuotaExceeded, Unauthenticated, Unavailable, Unimplemented,
    )
}  # fmt: skip

HTTP_CODES: Mapping[int, Code] = {
    400: Code.INTERNAL,
    401: Code.UNAUTHENTICATED,
    403: Code.PERMISSION_DENIED,
    404: Code.UNIMPLEMENTED,
    429: Code.UNAVAILABLE,
    502: Code.UNAVAILABLE,
    503: Code.UNAVAILABLE,
    504: Code.UNAVAILABLE,
}
"""What the status of an answer means that something in between gave (grpc/doc/http-grpc-status-mapping.md)."""

STEP = re.compile(r"\[(\d+)\]|([^.\[\]]+)")


class Unreachable(Unavailable):
    """The other process can not be reached; nothing was sent."""


class ConnectionLost(Unavailable):
    """The connection to the other process ended before the answer; the request may have been carried out."""


class AnswerUnreadable(Error):
    """The other process answered with something that can not be read."""

    code: ClassVar[Code] = Code.INTERNAL


class Said:
    """An error as it came: a code, a message, and details.

    Attributes:
        code: The gRPC code.
        text: The message.
        reason: Of ``ErrorInfo``.
        metadata: Of ``ErrorInfo``.
        violations: Of ``BadRequest``.
        retry_after: Seconds, of ``RetryInfo``.
    """

    __slots__ = ("code", "metadata", "reason", "retry_after", "text", "violations")

    def __init__(self, code: Code, text: str) -> None:
        self.code = code
        self.text = text
        self.reason = ""
        self.metadata: Mapping[str, str] = {}
        self.violations: tuple[Violation, ...] = ()
        self.retry_after: float | None = None


def error_of(said: Said, operation: Operation[..., Any]) -> Error:
    """Return an error as the class that it is.

    Args:
        said: As it came.
        operation: What was called; its declared errors are known by their reason.
    """
    known = {kind.reason: kind for kind in operation.declaration.raises}
    kind = known.get(said.reason) or platform_errors().get(said.reason)
    if kind is not None and kind.code is said.code:
        try:
            return kind(**_fields(kind, said))
        except (msgspec.ValidationError, TypeError):  # of another version, with other fields
            pass
    base = BASES.get(said.code, Internal)
    return base(**_fields(base, said))


def _fields(kind: type[Error], said: Said) -> dict[str, Any]:
    """Return the fields of an error, typed.

    Raises:
        ValidationError: One of them does not fit.
    """
    fields: dict[str, Any] = {"detail": said.text if said.text != kind.message else None}
    for field in msgspec.structs.fields(kind.shape):
        name = field.name
        if name == "violations":
            fields[name] = said.violations
        elif name == "retry_after" and said.retry_after is not None:
            fields[name] = said.retry_after
        elif name not in RENDERED_APART and name in said.metadata:
            fields[name] = _typed(said.metadata[name], field.type)
    return fields


def _typed(text: str, type: Any) -> Any:
    """Return a value of metadata: a text, or what is no text as JSON."""
    try:
        return msgspec.convert(text, type)
    except msgspec.ValidationError:
        try:
            return msgspec.convert(msgspec.json.decode(text), type)
        except msgspec.DecodeError as unfit:
            raise msgspec.ValidationError(str(unfit)) from unfit


@cache
def platform_errors() -> Mapping[str, type[Error]]:
    """Return the platform's own errors by their reason."""
    return {kind.reason: kind for kind in _below(Error) if kind.__module__.startswith("trivet.")}


def _below(kind: type[Error]) -> Iterator[type[Error]]:
    for each in kind.__subclasses__():
        yield each
        yield from _below(each)


def pointer_of(path: str) -> str:
    """Return the path of a field as a JSON pointer: ``order.lines[0].quantity`` is ``#/order/lines/0/quantity``."""
    return "#" + "".join(f"/{escape(index or name)}" for index, name in STEP.findall(path))
