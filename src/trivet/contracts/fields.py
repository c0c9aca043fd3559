"""The header fields of answers, described once and referred to by their own names."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

TAGS_MAX = 4096
"""Characters of a list of entity tags at most; a cache has a handful of them."""

RANGE_MAX = 4096
"""Characters of a ``Range`` at most."""

FIELDS: dict[str, dict[str, Any]] = {
    "Accept": {
        "description": "The media types that are read (RFC 9110 section 15.5.16).",
        "schema": {"type": "string", "maxLength": 256},
    },
    "Accept-Encoding": {
        "description": "The content codings that are read (RFC 9110 section 12.5.3).",
        "schema": {"type": "string", "maxLength": 256},
    },
    "Accept-Ranges": {
        "description": "The unit in which parts can be asked for (RFC 9110 section 14.3).",
        "schema": {"type": "string", "maxLength": 16},
    },
    "Access-Control-Allow-Origin": {
        "description": "The caller's origin, where pages of that origin may read the answer (Fetch).",
        "schema": {"type": "string", "maxLength": 2048},
    },
    "Cache-Control": {
        "description": "For how long and by whom the answer may be kept (RFC 9111 section 5.2).",
        "schema": {"type": "string", "maxLength": 256},
    },
    "Content-Disposition": {
        "description": "The name under which to save it (RFC 6266).",
        "schema": {"type": "string", "maxLength": 256},
    },
    "Content-Range": {
        "description": "Which part it is, and of how much (RFC 9110 section 14.4).",
        "schema": {"type": "string", "maxLength": 64},
    },
    "Data-Age": {
        "description": "Where the answer was made from a read model: everything that was committed longer ago than so "
        "many seconds is in it.",
        "schema": {"type": "integer", "format": "int32", "minimum": 0, "maximum": 2**31 - 1},
    },
    "Deprecation": {
        "description": "Since when the operation is deprecated (RFC 9745).",
        "schema": {"type": "string", "maxLength": 32, "pattern": "^@[0-9]+$"},
    },
    "ETag": {
        "description": "Names this state of it: send it in `If-None-Match` to hear that nothing changed, in `If-Match` "
        "to change nothing else (RFC 9110 section 8.8.3).",
        "schema": {"type": "string", "maxLength": 128},
    },
    "Last-Modified": {
        "description": "When it changed last; not said in the first second after it (RFC 9110 section 8.8.2).",
        "schema": {"type": "string", "maxLength": 64},
    },
    "Link": {
        "description": 'With `rel="deprecation"`: what to do instead (RFC 8288).',
        "schema": {"type": "string", "maxLength": 4096},
    },
    "Location": {
        "description": "Where it is found.",
        "schema": {"type": "string", "format": "uri-reference", "maxLength": 8192},
    },
    "RateLimit": {
        "description": "What is left of a quota and for how many seconds, where the caller has one "
        "(draft-ietf-httpapi-ratelimit-headers).",
        "schema": {"type": "string", "maxLength": 1024},
    },
    "Request-Id": {
        "description": "Names the request in logs; taken from the request if it has one.",
        "schema": {"type": "string", "maxLength": 64, "pattern": "^[A-Za-z0-9._-]{1,64}$"},
    },
    "Retry-After": {
        "description": "Seconds to wait before the next try.",
        "schema": {"type": "integer", "format": "int32", "minimum": 0, "maximum": 2**31 - 1},
    },
    "Sunset": {
        "description": "When the operation is no longer served (RFC 8594).",
        "schema": {"type": "string", "maxLength": 64},
    },
    "WWW-Authenticate": {
        "description": "The scheme to use: Bearer (RFC 6750 section 3).",
        "schema": {"type": "string", "maxLength": 1024},
    },
}

ALWAYS = ("Request-Id", "Cache-Control", "RateLimit", "Access-Control-Allow-Origin")
"""What any answer may have. The first two always are there; the others say when in their descriptions."""


def fields(names: Iterable[str] = ()) -> dict[str, Any]:
    """Return the header fields of an answer as references, those that all answers may have first."""
    return {name: {"$ref": f"#/components/headers/{name}"} for name in dict.fromkeys((*ALWAYS, *names))}


def components(whole: str) -> dict[str, Any]:
    """Return the fields that a document refers to.

    Args:
        whole: The document, as text.
    """
    return {name: field for name, field in FIELDS.items() if f'"#/components/headers/{name}"' in whole}
