"""What Envoy answers itself, as the problems that the application would answer with."""

from __future__ import annotations

from trivet.contracts.problem import (
    BodyTooLarge,
    HeadersTooLarge,
    MalformedPath,
    MalformedRequest,
    RequestTimeout,
    RouteNotFound,
    VersionNotSupported,
    slug_of,
    status_of,
)
from trivet.core.error import DeadlineExceeded, Error, Internal, Unavailable
from trivet.core.shape import Struct
from trivet.server.envoy.notation import TYPE, Config


class Reply(Struct):
    """What Envoy answers itself, and what it is to say.

    Attributes:
        kind: What is wrong.
        status: The status that Envoy chose; any that is an error when 0.
        details: A part of what Envoy calls the details of the response; any when empty.
    """

    kind: type[Error]
    status: int = 0
    details: str = ""


REPLIES = (
    Reply(kind=MalformedRequest, details="[host]"),
    Reply(kind=MalformedPath, details="[target]"),
    Reply(kind=MalformedRequest, status=400),
    Reply(kind=RouteNotFound, status=404),
    Reply(kind=RequestTimeout, status=408),
    Reply(kind=BodyTooLarge, status=413),
    Reply(kind=VersionNotSupported, status=426),
    Reply(kind=HeadersTooLarge, status=431),
    Reply(kind=MalformedRequest, status=501),  # a transfer coding that is not known
    Reply(kind=Unavailable, status=503),
    Reply(kind=DeadlineExceeded, status=504),
    Reply(kind=Internal),
)
"""The first one that fits is said."""


def local_replies() -> Config:
    """Return what is made of what Envoy answers itself."""
    return {"mappers": [_mapper(reply) for reply in REPLIES]}


def _mapper(reply: Reply) -> Config:
    kind, status = reply.kind, status_of(reply.kind)
    return {
        "filter": _reply_filter(reply),
        "status_code": status,
        "headers_to_add": [
            {
                "header": {"key": "request-id", "value": "%UNIQUE_ID%"},
                "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
            }
        ],
        "body_format_override": {
            "content_type": "application/problem+json",
            "json_format": {
                "type": f"/problems/{slug_of(kind)}",
                "title": kind.message,
                "status": status,
                "code": kind.code.name.lower(),
                "reason": kind.reason,
                "instance": "urn:request:%RESP(REQUEST-ID)%",
            },
        },
    }


def _reply_filter(reply: Reply) -> Config:
    if reply.details:
        return {
            "extension_filter": {
                "name": "envoy.access_loggers.extension_filters.cel",
                "typed_config": {
                    "@type": f"{TYPE}extensions.access_loggers.filters.cel.v3.ExpressionFilter",
                    "expression": f"response.code_details.contains('{reply.details}')",
                },
            }
        }
    comparison = {
        "op": "EQ" if reply.status else "GE",
        "value": {"default_value": reply.status or 400, "runtime_key": "no.such.key"},
    }
    return {"status_code_filter": {"comparison": comparison}}
