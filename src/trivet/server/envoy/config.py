"""Envoy's configuration as a pure function of the settings; the tests read it as data."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from trivet.core.shape import Struct
from trivet.server.envoy.http import CONNECTION_WINDOW, STREAM_WINDOW, TUNNEL, connection_manager, serves_http3
from trivet.server.envoy.notation import TYPE, Config, plain, seconds
from trivet.server.listen import options
from trivet.server.tls import CIPHERS, CURVES
from trivet.settings import Settings

CONNECT_SECONDS = 5.0
"""How long a tunnel may take to be made: the event loop may be busy."""


class Address(Struct):
    """Where Envoy listens.

    Attributes:
        host: An IP address.
        port: Never 0: the supervisor has found one.
    """

    host: str
    port: int


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


def _listener(settings: Settings, address: Address, secrets: Secrets | None) -> Config:
    chain: Config = {"filters": [_manager_filter(settings, address, "AUTO")]}
    if secrets is None:
        # A connection on which nothing arrives gets no further than this filter, which waits for the first bytes.
        inspector = plain("envoy.filters.listener.http_inspector", "filters.listener.http_inspector.v3.HttpInspector")
    else:
        inspector = plain("envoy.filters.listener.tls_inspector", "filters.listener.tls_inspector.v3.TlsInspector")
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
        "typed_config": connection_manager(settings, address.port, codec),
    }


def _buffer(settings: Settings) -> int:
    """Bytes that are buffered for one stream; the largest body fits, as Envoy refuses what does not."""
    return settings.limits.body + 64 * 1024


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


def render(config: Config) -> bytes:
    """Return a configuration as the file that Envoy reads."""
    return msgspec.json.format(msgspec.json.encode(config), indent=1)
