"""What a server answers itself, where no application can: a problem as in RFC 9457, like the application's own."""

from __future__ import annotations

from uuid import uuid4

import msgspec

from trivet.contracts.problem import slug_of, status_of
from trivet.core.error import Error

LINGER_SECONDS = 1.0
"""How long the rest of what was refused is dropped before its connection is closed for good (RFC 9112 section 9.6)."""


def refusal(kind: type[Error]) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Return status, header fields and body of an answer that says what is wrong."""
    status = status_of(kind)
    request_id = str(uuid4())
    problem = {
        "type": f"/problems/{slug_of(kind)}",
        "title": kind.message,
        "status": status,
        "code": kind.code.name.lower(),
        "reason": kind.reason,
        "instance": f"urn:request:{request_id}",
    }
    body = msgspec.json.encode(problem)
    fields = [
        (b"content-type", b"application/problem+json"),
        (b"content-length", b"%d" % len(body)),
        (b"request-id", request_id.encode()),
    ]
    return status, fields, body
