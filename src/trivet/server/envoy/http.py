"""How Envoy speaks HTTP: limits and times, and what a request passes on its way to the application."""

from __future__ import annotations

import importlib.util
import json

from trivet.server.envoy.introduction import FIELD, SAID
from trivet.server.envoy.notation import TYPE, Config, seconds
from trivet.server.envoy.replies import local_replies
from trivet.server.target import HOST_PATTERN, PATTERN
from trivet.settings import Settings

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


def serves_http3(settings: Settings) -> bool:
    """Whether there is HTTP/3: only over TLS, and Envoy asks for no client certificates over QUIC."""
    return settings.tls.certificate is not None and settings.tls.client_certificate == "off"


def connection_manager(settings: Settings, port: int, codec: str) -> Config:
    """Return how a listener speaks HTTP.

    Args:
        settings: What the process was told.
        port: Where HTTP/3 is, if it is served.
        codec: Which versions: ``AUTO`` or ``HTTP3``, as Envoy calls them.
    """
    server, limits = settings.server, settings.limits
    config = {
        "@type": f"{TYPE}extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": PREFIX,
        "codec_type": codec,
        "route_config": {"virtual_hosts": [{"name": "app", "domains": ["*"], "routes": [_upgrade_route()]}]},
        "http_filters": [_fields(settings, port), _refusals(), _application()],
        "upgrade_configs": [
            {
                "upgrade_type": "websocket",
                "filters": [_fields(settings, port), _connection_field(), _refusals(), _router()],
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
        "local_reply_config": local_replies(),
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


def _fields(settings: Settings, port: int) -> Config:
    """Take away what Envoy adds to requests, and add what every answer over TLS says about reaching us."""
    said = {}
    if settings.tls.certificate is not None and settings.tls.hsts:
        said["strict-transport-security"] = hsts(settings)
    if serves_http3(settings):
        said["alt-svc"] = f'h3=":{port}"; ma=86400'
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
