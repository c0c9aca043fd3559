"""Whether the caller may use the operation at all: scopes, decided from the head. Rows are the data layer's matter."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from trivet.core.call import Call, Handler, Outcome
from trivet.core.error import PermissionDenied, Unauthenticated
from trivet.core.operation import Operation
from trivet.runtime import Runtime


class ScopeRequired(PermissionDenied):
    """The caller's credential lacks a scope that this operation needs."""

    scopes: tuple[str, ...]


def authorize(operation: Operation[..., Any] | None, runtime: Runtime, next: Handler) -> Handler:
    """Refuse callers without credentials (401) or without a scope (403), and count the use of what goes away."""
    if operation is None:
        return next
    return _deprecated(operation, runtime, _scoped(operation, next))


def _scoped(operation: Operation[..., Any], next: Handler) -> Handler:
    scopes = operation.declaration.access.scopes
    if not scopes:
        return next

    def authorized(call: Call) -> Awaitable[Outcome]:
        principal = call.principal
        if principal.anonymous:
            raise Unauthenticated(detail=f"{operation.id} needs credentials with the scope {' '.join(scopes)}.")
        if not principal.superuser and not principal.scopes.issuperset(scopes):
            raise ScopeRequired(scopes=tuple(s for s in scopes if not principal.may(s)))
        return next(call)

    return authorized


def _deprecated(operation: Operation[..., Any], runtime: Runtime, next: Handler) -> Handler:
    notice = operation.declaration.deprecated
    if notice is None:
        return next
    uses = runtime.metrics.counter(
        "trivet_deprecated_calls_total", "Calls of deprecated operations by caller.", ["operation", "client"]
    )
    fields = deprecation_fields(operation)

    def counted(call: Call) -> Awaitable[Outcome]:
        uses.bind(operation.id, call.principal.client_id or call.principal.subject or "anonymous").inc()
        for name, value in fields:
            call.note(name, value)
        return next(call)

    return counted


def deprecation_fields(operation: Operation[..., Any]) -> list[tuple[bytes, bytes]]:
    """Return the header fields that announce a deprecation: RFC 9745, RFC 8594."""
    from datetime import UTC, datetime, time
    from email.utils import format_datetime

    notice = operation.declaration.deprecated
    if notice is None:
        return []
    since = datetime.combine(notice.since, time(), UTC)
    fields = [(b"deprecation", f"@{int(since.timestamp())}".encode())]
    if notice.sunset is not None:
        sunset = datetime.combine(notice.sunset, time(), UTC)
        fields.append((b"sunset", format_datetime(sunset, usegmt=True).encode()))
    if notice.link is not None:
        fields.append((b"link", f'<{notice.link}>; rel="deprecation"; type="text/html"'.encode()))
    return fields
