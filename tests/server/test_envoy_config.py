"""Envoy's configuration as data, and what is decided before it is started."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote_to_bytes

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trivet.server import cores
from trivet.server.envoy import available
from trivet.server.envoy.config import Address, Secrets, bootstrap, render
from trivet.server.envoy.http import other_than
from trivet.server.envoy.log import read
from trivet.server.envoy.replies import REPLIES
from trivet.server.target import is_host, is_valid
from trivet.settings import LimitSettings, ServerSettings, Settings, TlsSettings

HERE = [Address(host="127.0.0.1", port=8000)]
SECRETS = Secrets(certificate="/c.json", trust="/t.json")


def config(settings: Settings | None = None, **options: Any) -> dict[str, Any]:
    return bootstrap(settings or Settings(), HERE, admin="/run/admin", websockets="/run/websockets", **options)


def managers(built: dict[str, Any]) -> list[dict[str, Any]]:
    listeners = built["static_resources"]["listeners"]
    return [one["filter_chains"][0]["filters"][0]["typed_config"] for one in listeners]


def encrypted(**options: Any) -> Settings:
    return Settings(tls=TlsSettings(certificate="c", key="k", **options))


def values(node: Any) -> Iterator[Any]:
    if isinstance(node, dict):
        for value in node.values():
            yield from values(value)
    elif isinstance(node, list):
        for value in node:
            yield from values(value)
    else:
        yield node


def test_administration_is_a_socket_of_its_owner() -> None:
    assert config()["admin"] == {"address": {"pipe": {"path": "/run/admin", "mode": 0o600}}}


def test_every_limit_comes_from_the_settings() -> None:
    limits = LimitSettings(body=5_000_000, header_fields=77, connections=99, streams=33)
    server = ServerSettings(keep_alive=61, head_timeout=3, body_timeout=44, connection_age=555, backlog=99)
    built = config(Settings(limits=limits, server=server))
    (listener,) = built["static_resources"]["listeners"]
    (manager,) = managers(built)
    assert listener["tcp_backlog_size"] == 99
    assert listener["per_connection_buffer_limit_bytes"] > 5_000_000
    assert listener["listener_filters_timeout"] == "3.000s"
    assert manager["request_headers_timeout"] == "3.000s"
    assert manager["request_timeout"] == "44.000s"
    assert manager["common_http_protocol_options"]["idle_timeout"] == "61.000s"
    assert manager["common_http_protocol_options"]["max_connection_duration"] == "555.000s"
    assert manager["common_http_protocol_options"]["max_headers_count"] == 77
    assert manager["http2_protocol_options"]["max_concurrent_streams"] == 33
    assert 99 in values(built["overload_manager"])


def test_the_application_sees_what_is_too_large_before_envoy_does() -> None:
    settings = Settings()
    (manager,) = managers(config(settings))
    assert manager["max_request_headers_kb"] * 1024 > settings.limits.url + settings.limits.headers


def test_nothing_is_made_of_paths_and_nothing_believed_of_headers() -> None:
    (manager,) = managers(config())
    assert manager["normalize_path"] is manager["merge_slashes"] is False
    assert manager["path_with_escaped_slashes_action"] == "KEEP_UNCHANGED"
    assert manager["use_remote_address"] is manager["skip_xff_append"] is True
    assert manager["server_header_transformation"] == "PASS_THROUGH"


def test_without_tls_there_is_neither_a_secret_nor_http3() -> None:
    text = render(config()).decode()
    assert "tls" not in text
    assert "quic" not in text
    assert "strict-transport-security" not in text


def test_tls_is_the_intermediate_profile_on_tcp_and_on_udp() -> None:
    tcp, udp = config(encrypted(), secrets=SECRETS)["static_resources"]["listeners"]
    assert udp["address"]["socket_address"]["protocol"] == "UDP"
    over_tcp = tcp["filter_chains"][0]["transport_socket"]["typed_config"]["common_tls_context"]
    over_udp = udp["filter_chains"][0]["transport_socket"]["typed_config"]["downstream_tls_context"]
    assert over_tcp["alpn_protocols"] == ["h2", "http/1.1"]
    assert over_udp["common_tls_context"]["alpn_protocols"] == ["h3"]
    assert over_tcp["tls_params"] == over_udp["common_tls_context"]["tls_params"]
    assert over_tcp["tls_params"]["tls_minimum_protocol_version"] == "TLSv1_2"
    assert all(suite.startswith("ECDHE-") and "CBC" not in suite for suite in over_tcp["tls_params"]["cipher_suites"])


@pytest.mark.parametrize("asked", ["optional", "required"])
def test_client_certificates_are_asked_for_on_tcp_and_there_is_no_http3(asked: Any) -> None:
    built = config(encrypted(client_certificate=asked, client_ca="a"), secrets=SECRETS)
    (listener,) = built["static_resources"]["listeners"]
    tls = listener["filter_chains"][0]["transport_socket"]["typed_config"]
    assert tls["require_client_certificate"] is (asked == "required")
    assert "/t.json" in values(tls)
    assert managers(built)[0]["forward_client_cert_details"] == "SANITIZE_SET"
    assert "alt-svc" not in render(built).decode()


def test_what_envoy_refuses_is_a_problem_with_a_request_id() -> None:
    mappers = managers(config())[0]["local_reply_config"]["mappers"]
    assert len(mappers) == len(REPLIES)
    for mapper in mappers:
        problem = mapper["body_format_override"]["json_format"]
        assert problem["status"] == mapper["status_code"]
        assert problem["instance"] == "urn:request:%RESP(REQUEST-ID)%"
        assert mapper["headers_to_add"][0]["header"]["key"] == "request-id"


def test_it_is_json() -> None:
    assert msgspec.json.decode(render(config())) == config()


def test_what_asks_for_a_websocket_goes_to_the_process_itself_past_the_same_checks() -> None:
    built = config(Settings(limits=LimitSettings(connections=99)))
    (manager,) = managers(built)
    (upgrade,) = manager["upgrade_configs"]
    names = [step["name"].rpartition(".")[2] for step in upgrade["filters"]]
    assert names == ["header_mutation", "header_mutation", "rbac", "router"]
    assert upgrade["filters"][2] == manager["http_filters"][1]
    (cluster,) = built["static_resources"]["clusters"]
    assert "/run/websockets" in values(cluster)
    assert set(cluster["circuit_breakers"]["thresholds"][0].values()) == {99}


@given(st.one_of(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E)), st.sampled_from(["WebSocket", "w"])))
@example("websocket")
@example("websockets")
@example("websocke")
@example("websocket, other")
def test_every_word_but_one_is_other_than_it(word: str) -> None:
    assert bool(re.fullmatch(other_than("websocket"), word)) is (word.lower() != "websocket")


# -- targets


@given(st.binary())
@example(b"\xed\xa0\x80")
@example(b"\xf4\x90\x80\x80")
@example(b"\xc0\xaf")
def test_a_path_is_valid_exactly_when_its_bytes_are_utf_8(data: bytes) -> None:
    path = "/" + quote(data, safe="")
    try:
        unquote_to_bytes(path).decode()
        decodes = True
    except UnicodeDecodeError:
        decodes = False
    assert is_valid(path.encode()) is decodes
    assert is_valid(path.lower().encode()) is decodes


@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E)))
def test_any_query_of_visible_characters_is_valid_unless_it_has_a_fragment(query: str) -> None:
    assert is_valid(f"/a?{query}".encode()) is ("#" not in query)


@pytest.mark.parametrize("target", [b"/a b", b"/\x00", b"/\xff", b"/%", b"/%4", b"/%zz", b"/a#b", b"/?\xff", b"/\n"])
def test_a_target_that_can_not_be_decoded_is_not_valid(target: bytes) -> None:
    assert not is_valid(target)


@pytest.mark.parametrize("target", [b"/", b"*", b"/a%2Fb", b"/../b", b"//a", b"/%00", b"/a|b", b"http://a/b?c"])
def test_whatever_can_be_decoded_is_left_as_it_is(target: bytes) -> None:
    assert is_valid(target)


def test_two_hosts_are_none() -> None:
    assert is_host(b"a:80")
    assert is_host(b"[::1]:80")
    assert not is_host(b"a,b")
    assert not is_host(b"a/b")


# -- where it can run


@pytest.mark.parametrize(
    ("attribute", "value", "said"),
    [
        ("sys.platform", "darwin", "only served on Linux"),
        ("platform.libc_ver", lambda: ("musl", "1.2"), "another C library"),
        ("shared_library", lambda: None, "--enable-shared"),
        ("SHARED_MEMORY", Path("/no/such/place"), "missing or not writable"),
        ("importlib.util.find_spec", lambda name: None, "pyvoy is not installed"),
    ],
)
def test_what_is_missing_is_said(attribute: str, value: Any, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert available.missing() is None
    monkeypatch.setattr(f"{available.__name__}.{attribute}", value)
    assert re.search(said, available.missing() or "")


# -- cores


def test_a_quota_limits_the_cores(tmp_path: Path) -> None:
    assert cores.cpu_quota(tmp_path, "/") is None
    (tmp_path / "app").mkdir()
    (tmp_path / "cpu.max").write_text("max 100000\n")
    (tmp_path / "app/cpu.max").write_text("150000 100000\n")
    assert cores.cpu_quota(tmp_path, "/app") == 1.5
    assert cores.cpu_quota(tmp_path, "/") is None
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    assert cores.cpu_quota(tmp_path, "/app") == 0.5


def test_a_quota_of_the_first_version_counts_too(tmp_path: Path) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu/cpu.cfs_quota_us").write_text("-1\n")
    (tmp_path / "cpu/cpu.cfs_period_us").write_text("100000\n")
    assert cores.cpu_quota(tmp_path, "/") is None
    (tmp_path / "cpu/cpu.cfs_quota_us").write_text("200000\n")
    assert cores.cpu_quota(tmp_path, "/") == 2


def test_there_is_always_a_core_to_use() -> None:
    assert cores.usable_cores() >= 1


# -- lines


def test_envoys_lines_keep_their_level_and_logger() -> None:
    line = b'{"level":"warning","logger":"http","message":"a \\"b\\""}'
    assert read(line) == ("warning", 'a "b"', "http")
    assert read(b'{"level":"critical","logger":"main","message":"x"}')[0] == "error"
    assert read(b'{"level":"info","logger":"main","message":"x"}')[0] == "debug"


@given(st.binary())
def test_a_line_of_any_form_is_written(text: bytes) -> None:
    level, message, _ = read(text)
    assert level in ("debug", "warning", "error")
    assert isinstance(message, str)
