"""Envoy's configuration as a pure function of the settings; the tests read it as data."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Sequence
from typing import Any

import msgspec

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
from trivet.server.listen import options
from trivet.server.target import HOST_PATTERN, PATTERN
from trivet.settings import Settings

TYPE = "type.googleapis.com/envoy."
APP = "trivet.server.envoy.embedded:app"
STATISTICS = "http"
"""Prefix of the statistics of the listeners."""

Config = dict[str, Any]


class Address(Struct):
    """Where Envoy listens.

    Attributes:
        host: An IP address.
        port: Never 0: the supervisor has found one.
    """

    host: str
    port: int


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


def bootstrap(settings: Settings, addresses: Sequence[Address], *, admin: str) -> Config:
    """Return the configuration of one worker.

    Args:
        settings: What the process was told.
        addresses: Where it listens.
        admin: Path of the socket for administration.
    """
    return {
        "admin": {"address": {"pipe": {"path": admin, "mode": 0o600}}},
        "static_resources": {"listeners": [_listener(settings, address) for address in addresses]},
        "stats_flush_on_admin": True,
        "overload_manager": _overload(settings),
        "layered_runtime": {"layers": [{"name": "static", "static_layer": _runtime()}]},
    }


def _listener(settings: Settings, address: Address) -> Config:
    return {
        "name": f"{address.host}:{address.port}",
        "address": {"socket_address": {"address": address.host, "port_value": address.port, "ipv4_compat": False}},
        "enable_reuse_port": True,
        "tcp_backlog_size": settings.server.backlog,
        "socket_options": [
            {"level": level, "name": name, "int_value": value, "state": "STATE_PREBIND"}
            for level, name, value in options(settings.server.send_timeout)
        ],
        "per_connection_buffer_limit_bytes": _buffer(settings),
        # A connection on which nothing arrives gets no further than this filter, which waits for the first bytes.
        "listener_filters": [
            _plain("envoy.filters.listener.http_inspector", "filters.listener.http_inspector.v3.HttpInspector")
        ],
        "listener_filters_timeout": seconds(settings.server.head_timeout),
        "filter_chains": [
            {
                "filters": [
                    {
                        "name": "envoy.filters.network.http_connection_manager",
                        "typed_config": _connection_manager(settings),
                    }
                ]
            }
        ],
    }


def _plain(name: str, kind: str) -> Config:
    return {"name": name, "typed_config": {"@type": f"{TYPE}extensions.{kind}"}}


def _buffer(settings: Settings) -> int:
    """Bytes that are buffered for one stream; the largest body fits, as Envoy refuses what does not."""
    return settings.limits.body + 64 * 1024


def _connection_manager(settings: Settings) -> Config:
    server, limits = settings.server, settings.limits
    return {
        "@type": f"{TYPE}extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": STATISTICS,
        "codec_type": "AUTO",
        "route_config": {"virtual_hosts": [{"name": "app", "domains": ["*"]}]},
        "http_filters": [_refusals(), _application()],
        "http_protocol_options": {"accept_http_10": True, "default_host_for_http_10": "localhost"},
        "http2_protocol_options": {
            "max_concurrent_streams": 128,
            "initial_stream_window_size": 256 * 1024,
            "initial_connection_window_size": 1024 * 1024,
        },
        "common_http_protocol_options": {
            "idle_timeout": seconds(server.keep_alive),
            "max_headers_count": 128,
        },
        # Both limits are the application's too, whose problems name them; Envoy stops what is far over.
        "max_request_headers_kb": (limits.url + limits.headers) // 1024 + 16,
        "request_headers_timeout": seconds(server.head_timeout),
        # The peer is the client. What a header says about it is only believed by the application, of trusted proxies.
        "use_remote_address": True,
        "skip_xff_append": True,
        "generate_request_id": False,
        "preserve_external_request_id": True,
        "server_header_transformation": "PASS_THROUGH",
        # Paths are the application's: routes are matched on what was sent.
        "normalize_path": False,
        "merge_slashes": False,
        "path_with_escaped_slashes_action": "KEEP_UNCHANGED",
        "local_reply_config": _local_replies(),
    }


def _refusals() -> Config:
    """Refuse request targets that pyvoy can not decode, and would never answer, and hosts that are none."""

    def policy(name: str, pattern: str) -> Config:
        valid = {"header": {"name": name, "string_match": {"safe_regex": {"regex": pattern}}}}
        return {"permissions": [{"not_rule": valid}], "principals": [{"any": True}]}

    return {
        "name": "envoy.filters.http.rbac",
        "typed_config": {
            "@type": f"{TYPE}extensions.filters.http.rbac.v3.RBAC",
            "rules": {
                "action": "DENY",
                "policies": {"target": policy(":path", PATTERN), "host": policy(":authority", HOST_PATTERN)},
            },
        },
    }


def _application() -> Config:
    module = importlib.util.find_spec("pyvoy._pyvoy")
    assert module is not None
    return {
        "name": "pyvoy",
        "typed_config": {
            "@type": f"{TYPE}extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter",
            "dynamic_module_config": {"module": {"local": {"filename": module.origin}}},
            "filter_name": "pyvoy",
            "terminal_filter": True,
            "filter_config": {
                "@type": "type.googleapis.com/google.protobuf.StringValue",
                "value": json.dumps({"app": APP, "interface": "asgi", "lifespan": True}),
            },
        },
    }


def _local_replies() -> Config:
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


def _overload(settings: Settings) -> Config:
    return {
        "resource_monitors": [
            {
                "name": "envoy.resource_monitors.global_downstream_max_connections",
                "typed_config": {
                    "@type": f"{TYPE}extensions.resource_monitors"
                    ".downstream_connections.v3.DownstreamConnectionsConfig",
                    "max_active_downstream_connections": 16_384,
                },
            }
        ]
    }


def _runtime() -> Config:
    return {
        # The pattern of targets is long, and its cost is in its length only once: RE2 runs in linear time.
        "re2.max_program_size.error_level": 2000,
        "re2.max_program_size.warn_level": 2000,
        # A chunk ends where it says. Envoy only begins to refuse what is in its place.
        "envoy.reloadable_features.strict_chunk_parsing": True,
        # HTTP/2 rapid reset (CVE-2023-44487): the connection is closed when most of its streams end before their time.
        "overload.premature_reset_total_stream_count": 200,
        "overload.premature_reset_min_stream_lifetime_seconds": 1,
        # One client's pipeline must not keep the others waiting.
        "http.max_requests_per_io_cycle": 8,
    }


def seconds(value: float) -> str:
    """Return a time as protobuf writes it in JSON."""
    return f"{value:.3f}s"


def render(config: Config) -> bytes:
    """Return a configuration as the file that Envoy reads."""
    return msgspec.json.format(msgspec.json.encode(config), indent=1)
