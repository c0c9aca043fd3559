"""Cross-origin requests: which pages of others may read what this host answers (https://fetch.spec.whatwg.org/).

Nobody's by default. A preflight is answered before anything else is known about the caller, since it carries no
credentials; what it allows is what the path really serves. Answers to allowed origins, refusals too, can be read with
the header fields that clients need. Access to private networks is never granted: a page from the internet has no
business with a host inside.
"""

from __future__ import annotations

from collections.abc import Sequence

from trivet.settings import CorsSettings
from trivet.transports.rest.exchange import Message, Scope, Send

Fields = list[tuple[bytes, bytes]]

ANYBODY = "*"

ASKED = (
    "accept",
    "authorization",
    "connect-protocol-version",
    "connect-timeout-ms",
    "consistency-token",
    "content-type",
    "grpc-timeout",
    "idempotency-key",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-unmodified-since",
    "last-event-id",
    "request-id",
    "request-timeout",
    "traceparent",
    "tracestate",
    "x-grpc-web",
    "x-user-agent",
)
"""Header fields of requests that an operation may need, or that clients of RPC send with each one."""

EXPOSED = (
    "accept-encoding",
    "allow",
    "consistency-token",
    "content-location",
    "data-age",
    "deprecation",
    "etag",
    "grpc-message",
    "grpc-status",
    "grpc-status-details-bin",
    "idempotent-replayed",
    "link",
    "location",
    "ratelimit",
    "ratelimit-policy",
    "request-id",
    "retry-after",
    "server-timing",
    "sunset",
    "www-authenticate",
)
"""Header fields of answers that a client may read, besides those that every page may."""


class Cors:
    """Grants what the settings say.

    Args:
        settings: Whose pages may do what.
    """

    def __init__(self, settings: CorsSettings) -> None:
        self._anybody = ANYBODY in settings.origins
        self._origins = frozenset(origin.encode() for origin in settings.origins)
        shared = [(b"access-control-allow-credentials", b"true")] if settings.credentials else []
        self._answer: Fields = [*shared, (b"access-control-expose-headers", ", ".join(EXPOSED).encode())]
        asked = dict.fromkeys((*ASKED, *(name.lower() for name in settings.headers)))
        self._preflight: Fields = [
            *shared,
            (b"access-control-allow-headers", ", ".join(asked).encode()),
            (b"access-control-max-age", b"%d" % settings.max_age),
        ]

    @classmethod
    def of(cls, settings: CorsSettings) -> Cors | None:
        """Return what the settings grant; ``None`` where they grant nothing."""
        return cls(settings) if settings.origins else None

    def preflight(self, scope: Scope, methods: Sequence[str]) -> Fields | None:
        """Return what answers a preflight, ``None`` where the request is none.

        Args:
            scope: The request.
            methods: What its path serves.
        """
        if scope["method"] != "OPTIONS":
            return None
        asked = dict(scope["headers"])
        if b"origin" not in asked or b"access-control-request-method" not in asked:
            return None
        if not self._grants(asked[b"origin"]):
            return []
        return [(b"access-control-allow-methods", ", ".join(methods).encode()), *self._preflight]

    def sharing(self, scope: Scope, send: Send) -> Send:
        """Return what sends an answer, with what the origin of the request is granted, and varying by it."""
        origin = next((value for name, value in scope["headers"] if name == b"origin"), None)
        granted: Fields = []
        if origin is not None and self._grants(origin):
            granted = [(b"access-control-allow-origin", b"*" if self._anybody else origin), *self._answer]

        async def share(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [*message["headers"], *granted]
                message = {**message, "headers": headers if self._anybody else varying(headers)}
            await send(message)

        return share

    def _grants(self, origin: bytes) -> bool:
        return self._anybody or origin in self._origins


def varying(headers: Fields) -> Fields:
    """Return header fields of an answer that depends on the origin, whether or not this request has one."""
    said = [value for name, value in headers if name == b"vary"]
    others = [field for field in headers if field[0] != b"vary"]
    return [*others, (b"vary", b", ".join((*said, b"origin")))]
