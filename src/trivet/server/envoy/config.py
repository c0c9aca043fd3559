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
from trivet.server.envoy.introduction import FIELD, SAID
from trivet.server.listen import options
from trivet.server.target import HOST_PATTERN, PATTERN
from trivet.server.tls import CIPHERS, CURVES
from trivet.settings import Settings

TYPE = "type.googleapis.com/envoy."
APP = "trivet.server.envoy.embedded:app"
PREFIX = "app"
STATISTICS = f"http.{PREFIX}"
"""What the names of the statistics of the listeners begin with."""

ARRIVED = "arrived"
"""The statistic that counts answers over HTTP/3 of which nothing is under way any more."""

STREAM_WINDOW = 256 * 1024
CONNECTION_WINDOW = 1024 * 1024
"""Bytes that a client may send on ahead on HTTP/2 and HTTP/3."""

ADDED_FIELDS = ("x-envoy-external-address", "x-envoy-internal")
"""What Envoy tells those behind it about a client; nobody is."""

TUNNEL = "websockets"
"""Where a request goes that asks for a WebSocket."""

AGE_JITTER_PERCENT = 10.0
DRAIN_SECONDS = 1.0
"""How long a client of HTTP/2 may still begin requests after it was told to go (GOAWAY): a round trip is enough."""

CONNECT_SECONDS = 5.0
"""How long a tunnel may take to be made: the event loop may be busy."""

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


class Secrets(Struct):
    """Where Envoy finds what it shows and whom it believes; it reads the files again when they are replaced.

    Attributes:
        certificate: File with the resource for the certificate and its key.
        trust: File with the resource for the authorities of clients.
    """

    certificate: str
    trust: str


def bootstrap(
    settings: Settings, addresses: Sequence[Address], *, admin: str, websockets: str, secrets: Secrets | None = None
) -> Config:
    """Return the configuration of one worker.

    Args:
        settings: What the process was told.
        addresses: Where it listens.
        admin: Path of the socket for administration.
        websockets: Path of the socket for what asks for a WebSocket.
        secrets: Present when it serves over TLS.
    """
    listeners = [_listener(settings, address, secrets) for address in addresses]
    if secrets is not None and serves_http3(settings):
        listeners += [_udp_listener(settings, address, secrets) for address in addresses]
    return {
        "node": {"id": "trivet", "cluster": "trivet"},  # files with secrets are read only by a node that has a name
        "admin": {"address": {"pipe": {"path": admin, "mode": 0o600}}},
        "static_resources": {"listeners": listeners, "clusters": [_tunnel(settings, websockets)]},
        "stats_flush_on_admin": True,
        "overload_manager": _overload(settings),
        "layered_runtime": {"layers": [{"name": "static", "static_layer": _runtime()}]},
    }


def serves_http3(settings: Settings) -> bool:
    """Whether there is HTTP/3: only over TLS, and Envoy asks for no client certificates over QUIC."""
    return settings.tls.certificate is not None and settings.tls.client_certificate == "off"


def _listener(settings: Settings, address: Address, secrets: Secrets | None) -> Config:
    chain: Config = {"filters": [_manager_filter(settings, address, "AUTO")]}
    if secrets is None:
        # A connection on which nothing arrives gets no further than this filter, which waits for the first bytes.
        inspector = _plain("envoy.filters.listener.http_inspector", "filters.listener.http_inspector.v3.HttpInspector")
    else:
        inspector = _plain("envoy.filters.listener.tls_inspector", "filters.listener.tls_inspector.v3.TlsInspector")
        chain |= {
            "transport_socket": {
                "name": "envoy.transport_sockets.tls",
                "typed_config": {
                    "@type": f"{TYPE}extensions.transport_sockets.tls.v3.DownstreamTlsContext",
                    **_tls(settings, secrets, ("h2", "http/1.1")),
                },
            },
            "transport_socket_connect_timeout": seconds(settings.server.head_timeout),
        }
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
        "listener_filters": [inspector],
        "listener_filters_timeout": seconds(settings.server.head_timeout),
        "filter_chains": [chain],
    }


def _udp_listener(settings: Settings, address: Address, secrets: Secrets) -> Config:
    return {
        "name": f"{address.host}:{address.port}/udp",
        "address": {"socket_address": {"address": address.host, "port_value": address.port, "protocol": "UDP"}},
        "enable_reuse_port": True,
        "udp_listener_config": {
            "quic_options": {
                "quic_protocol_options": {
                    "max_concurrent_streams": settings.limits.streams,
                    "initial_stream_window_size": STREAM_WINDOW,
                    "initial_connection_window_size": CONNECTION_WINDOW,
                },
                "idle_timeout": seconds(settings.server.keep_alive),
                "crypto_handshake_timeout": seconds(settings.server.head_timeout),
            },
            "downstream_socket_config": {"prefer_gro": True},
        },
        "per_connection_buffer_limit_bytes": _buffer(settings),
        "filter_chains": [
            {
                "filters": [_manager_filter(settings, address, "HTTP3")],
                "transport_socket": {
                    "name": "envoy.transport_sockets.quic",
                    "typed_config": {
                        "@type": f"{TYPE}extensions.transport_sockets.quic.v3.QuicDownstreamTransport",
                        "downstream_tls_context": _tls(settings, secrets, ("h3",)),
                    },
                },
            }
        ],
    }


def _tls(settings: Settings, secrets: Secrets, protocols: Sequence[str]) -> Config:
    asked = settings.tls.client_certificate != "off"
    common: Config = {
        "alpn_protocols": list(protocols),
        "tls_params": {
            "tls_minimum_protocol_version": "TLSv1_2",
            "tls_maximum_protocol_version": "TLSv1_3",
            "cipher_suites": list(CIPHERS),
            "ecdh_curves": list(CURVES),
        },
        "tls_certificate_sds_secret_configs": [_secret("certificate", secrets.certificate)],
    }
    if asked:
        common["validation_context_sds_secret_config"] = _secret("trust", secrets.trust)
    return {
        "common_tls_context": common,
        "require_client_certificate": settings.tls.client_certificate == "required",
    }


def _secret(name: str, path: str) -> Config:
    return {"name": name, "sds_config": {"path_config_source": {"path": path}, "resource_api_version": "V3"}}


def _manager_filter(settings: Settings, address: Address, codec: str) -> Config:
    return {
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": _connection_manager(settings, address, codec),
    }


def _plain(name: str, kind: str) -> Config:
    return {"name": name, "typed_config": {"@type": f"{TYPE}extensions.{kind}"}}


def _buffer(settings: Settings) -> int:
    """Bytes that are buffered for one stream; the largest body fits, as Envoy refuses what does not."""
    return settings.limits.body + 64 * 1024


def _connection_manager(settings: Settings, address: Address, codec: str) -> Config:
    server, limits = settings.server, settings.limits
    config = {
        "@type": f"{TYPE}extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": PREFIX,
        "codec_type": codec,
        "route_config": {"virtual_hosts": [{"name": "app", "domains": ["*"], "routes": [_upgrade_route()]}]},
        "http_filters": [_fields(settings, address), _refusals(), _application()],
        "upgrade_configs": [
            {
                "upgrade_type": "websocket",
                "filters": [_fields(settings, address), _connection_field(), _refusals(), _router()],
            }
        ],
        "http_protocol_options": {
            "accept_http_10": True,
            "default_host_for_http_10": "localhost",
            "ignore_http_11_upgrade": [{"safe_regex": {"regex": other_than("websocket")}}],  # RFC 9110 section 7.8
        },
        "http2_protocol_options": {
            "max_concurrent_streams": limits.streams,
            "initial_stream_window_size": STREAM_WINDOW,
            "initial_connection_window_size": CONNECTION_WINDOW,
        },
        "common_http_protocol_options": {
            "idle_timeout": seconds(server.keep_alive),
            "max_connection_duration": seconds(server.connection_age),
            "max_connection_duration_jitter": {"value": AGE_JITTER_PERCENT},
            "max_headers_count": limits.header_fields,
        },
        "http1_safe_max_connection_duration": True,  # by `connection: close` on an answer, never before one
        "drain_timeout": seconds(DRAIN_SECONDS),
        # Both limits are the application's too, whose problems name them; Envoy stops what is far over.
        "max_request_headers_kb": (limits.url + limits.headers) // 1024 + 16,
        "request_headers_timeout": seconds(server.head_timeout),
        "request_timeout": seconds(server.body_timeout),
        # An answer may take as long as the application lets it, and a stream be as quiet: both have times of their own.
        "stream_idle_timeout": seconds(0),
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
    if codec == "HTTP3":
        config["http3_protocol_options"] = {}
        config["access_log"] = [_arrivals()]
    if settings.tls.client_certificate != "off":
        config |= {
            "forward_client_cert_details": "SANITIZE_SET",
            "set_current_client_cert_details": {"cert": True, "chain": True},
        }
    return config


def _arrivals() -> Config:
    """Count answers that have arrived, or never will: over QUIC Envoy logs one when the client has acknowledged it all.

    This logger is not meant for clients that are not trusted, who could make it write what they like. Here it takes
    nothing from them: it counts by one, without a tag.
    """
    return {
        "name": "envoy.access_loggers.stats",
        "typed_config": {
            "@type": f"{TYPE}extensions.access_loggers.stats.v3.Config",
            "stats_scope": {"prefix": STATISTICS},
            "counters": [{"stat": {"name": ARRIVED}, "value_fixed": 1}],
        },
    }


def _fields(settings: Settings, address: Address) -> Config:
    """Take away what Envoy adds to requests, and add what every answer over TLS says about reaching us."""
    said = {}
    if settings.tls.certificate is not None and settings.tls.hsts:
        said["strict-transport-security"] = hsts(settings)
    if serves_http3(settings):
        said["alt-svc"] = f'h3=":{address.port}"; ma=86400'
    return {
        "name": "envoy.filters.http.header_mutation",
        "typed_config": {
            "@type": f"{TYPE}extensions.filters.http.header_mutation.v3.HeaderMutation",
            "mutations": {
                "request_mutations": [{"remove": name} for name in ADDED_FIELDS],
                "response_mutations": [
                    {"append": {"header": {"key": name, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}}
                    for name, value in said.items()
                ],
            },
        },
    }


def _upgrade_route() -> Config:
    """Where the router goes. No other request has a route, nor needs one: pyvoy answers before it is asked for."""
    return {
        "match": {"prefix": "/", "headers": [{"name": "upgrade", "present_match": True}]},
        "route": {"cluster": TUNNEL, "timeout": seconds(0)},
    }


def other_than(word: str) -> str:
    """Return a pattern that matches whatever is not a word, in any case; RE2 can not look ahead to deny one."""
    begun = "".join(f"({letter}" for letter in word)
    ended = "".join(f"|[^{letter}].*)?" for letter in reversed(word))
    return f"(?i){begun}.+{ended}"


def _connection_field() -> Config:
    """Say whose connection it is, and take away what the router would obey, and what it tells those behind it."""
    return {
        "name": "envoy.filters.http.header_mutation",
        "typed_config": {
            "@type": f"{TYPE}extensions.filters.http.header_mutation.v3.HeaderMutation",
            "mutations": {
                "request_mutations": [
                    {"remove_on_match": {"key_matcher": {"prefix": "x-envoy-"}}},
                    {"remove": "x-forwarded-proto"},
                    {
                        "append": {
                            "header": {"key": FIELD, "value": SAID},
                            "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
                        }
                    },
                ]
            },
        },
    }


def _router() -> Config:
    return {
        "name": "envoy.filters.http.router",
        "typed_config": {
            "@type": f"{TYPE}extensions.filters.http.router.v3.Router",
            "dynamic_stats": False,
            "suppress_envoy_headers": True,
        },
    }


def _tunnel(settings: Settings, path: str) -> Config:
    """The process itself, to which as many tunnels lead as there may be connections."""
    most = settings.limits.connections
    return {
        "name": TUNNEL,
        "type": "STATIC",
        "connect_timeout": seconds(CONNECT_SECONDS),
        "per_connection_buffer_limit_bytes": STREAM_WINDOW,
        "circuit_breakers": {
            "thresholds": [{"max_connections": most, "max_pending_requests": most, "max_requests": most}]
        },
        "load_assignment": {
            "cluster_name": TUNNEL,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {"pipe": {"path": path}}}}]}],
        },
    }


def hsts(settings: Settings) -> str:
    """Return the value of ``Strict-Transport-Security`` (RFC 6797)."""
    return f"max-age={settings.tls.hsts}"


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
                    "max_active_downstream_connections": settings.limits.connections,
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
        # HTTP/2 rapid reset (CVE-2023-44487): the connection is closed when half of so many streams were reset by the
        # client within so many seconds. A client of gRPC that gives up a hundred calls at once is no attacker.
        "overload.premature_reset_total_stream_count": 500,
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
