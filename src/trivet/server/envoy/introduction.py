"""Whose connection a WebSocket is on: Envoy says it in a field, writing over what a client may say in its place."""

from __future__ import annotations

from trivet.server.client_certificate import VERSIONS, adopt_certificate
from trivet.server.interface import Scope

FIELD = "x-trivet-connection"

SAID = (
    "%PROTOCOL%;%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%;%DOWNSTREAM_DIRECT_REMOTE_PORT%"
    ";%DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%;%DOWNSTREAM_LOCAL_PORT%"
    ";%DOWNSTREAM_TLS_VERSION%;%DOWNSTREAM_PEER_SUBJECT%"
)
"""The last two are empty where there are none, and only the last one may have a semicolon in it."""


def introduce(scope: Scope) -> None:
    """Complete a scope with what Envoy said, and take away how it was said; names of fields are in lower case then."""
    name = FIELD.encode()
    fields = [(field.lower(), value) for field, value in scope["headers"]]
    said = next(value.decode("latin-1") for field, value in fields if field == name)
    scope["headers"] = [field for field in fields if field[0] != name]
    protocol, client, client_port, server, server_port, version, subject = said.split(";", 6)
    scope["http_version"] = protocol.removeprefix("HTTP/")
    scope["client"], scope["server"] = (client, int(client_port)), (server, int(server_port))
    if version:
        scope["scheme"] = "wss"
        scope["extensions"]["tls"] = {
            "tls_version": VERSIONS.get(version),
            "client_cert_name": subject or None,
        }
        adopt_certificate(scope)
