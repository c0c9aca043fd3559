"""Who the client is, by what proxies say; as a function, and as the application sees it behind both servers."""

from __future__ import annotations

import ast
from ipaddress import ip_address
from pathlib import Path

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trivet.server.forwarded import client_of, networks
from trivet.testing import serve

HERE = Path(__file__).parent
TRUSTED = networks(["10.0.0.0/8", "fd00::/8", "127.0.0.1"])
PROXY = "10.0.0.1"

Fields = list[tuple[bytes, bytes]]


def x(*values: str) -> Fields:
    return [(b"x-forwarded-for", value.encode()) for value in values]


def forwarded(*values: str) -> Fields:
    return [(b"forwarded", value.encode()) for value in values]


@pytest.mark.parametrize(
    ("peer", "fields", "client"),
    [
        ("203.0.113.9", x("198.51.100.1"), None),
        (PROXY, [], None),
        (PROXY, x("198.51.100.1"), "198.51.100.1"),
        (PROXY, x("6.6.6.6, 198.51.100.1"), "198.51.100.1"),
        (PROXY, x("198.51.100.1, 10.9.9.9"), "198.51.100.1"),
        (PROXY, x("198.51.100.1", "10.9.9.9"), "198.51.100.1"),
        (PROXY, x("10.1.1.1, 10.2.2.2"), "10.1.1.1"),
        (PROXY, x("198.51.100.1:4711"), "198.51.100.1"),
        (PROXY, x("[2001:db8::1]:4711"), "2001:db8::1"),
        (PROXY, x("2001:db8::1"), "2001:db8::1"),
        (PROXY, x("::ffff:198.51.100.1"), "198.51.100.1"),
        ("::ffff:10.0.0.1", x("198.51.100.1"), "198.51.100.1"),
        ("fd00::1", x("198.51.100.1"), "198.51.100.1"),
        (PROXY, x("198.51.100.1, unknown"), None),
        (PROXY, x("198.51.100.1, nonsense, 10.2.2.2"), "10.2.2.2"),
        (PROXY, x(", ,198.51.100.1,"), "198.51.100.1"),
        (PROXY, forwarded("for=198.51.100.1"), "198.51.100.1"),
        (PROXY, forwarded('For="[2001:db8::1]:80";proto=https;by=10.0.0.1'), "2001:db8::1"),
        (PROXY, forwarded("for=6.6.6.6, for=198.51.100.1;host=a"), "198.51.100.1"),
        (PROXY, forwarded("for=198.51.100.1, for=_hidden"), None),
        (PROXY, forwarded("proto=https"), None),
        (PROXY, forwarded("for=198.51.100.1") + x("6.6.6.6"), "198.51.100.1"),
        ("a socket file", x("198.51.100.1"), None),
    ],
)
def test_hops_are_believed_from_the_last_one_on_as_far_as_they_are_trusted(
    peer: str, fields: Fields, client: str | None
) -> None:
    assert client_of(peer, fields, TRUSTED) == client


ADDRESSES = st.ip_addresses(v=4).map(str)
OURS = st.ip_addresses(network="10.0.0.0/8").map(str)
STRANGERS = ADDRESSES.filter(lambda text: not any(ip_address(text) in network for network in TRUSTED[::2]))


@given(st.text(), st.lists(st.binary(), max_size=4), st.sampled_from([b"x-forwarded-for", b"forwarded"]))
def test_whatever_is_sent_is_an_address_or_nothing(peer: str, values: list[bytes], name: bytes) -> None:
    for hop in (peer, PROXY):
        client = client_of(hop, [(name, value) for value in values], TRUSTED)
        assert client is None or ip_address(client)


@given(st.lists(ADDRESSES, max_size=4), STRANGERS, st.lists(OURS, max_size=3), st.booleans())
def test_what_a_client_claims_never_matters(claims: list[str], client: str, proxies: list[str], standard: bool) -> None:
    hops = [*claims, client, *proxies]
    said = ", ".join(f"for={hop}" for hop in hops) if standard else ", ".join(hops)
    fields = forwarded(said) if standard else x(said)
    assert client_of(PROXY, fields, TRUSTED) == client


@given(STRANGERS, st.lists(ADDRESSES, min_size=1, max_size=4))
def test_without_a_trusted_peer_nothing_is_believed(peer: str, claims: list[str]) -> None:
    assert client_of(peer, x(", ".join(claims)), TRUSTED) is None


@pytest.mark.parametrize("trusted", ["", "127.0.0.0/8"], ids=["nobody", "the peer"])
def test_both_servers_tell_the_application_the_same(kind: str, trusted: str) -> None:
    claims = {"x-forwarded-for": "6.6.6.6, 198.51.100.1", "x-forwarded-proto": "https", "x-real-ip": "6.6.6.6"}
    with serve("plain:app", app_dir=HERE, environ={"TRIVET_SERVER__TRUSTED_PROXIES": trusted}) as served:
        seen = ast.literal_eval(httpx2.get(f"{served.url}/scope", headers=claims, timeout=30).text)
        assert seen["client"][0] == ("198.51.100.1" if trusted else "127.0.0.1")
        assert seen["scheme"] == "http"
        names = [name for name, _ in seen["headers"]]
        assert not [name for name in names if name.startswith(b"x-envoy")]
        assert dict(seen["headers"])[b"x-forwarded-for"] == claims["x-forwarded-for"].encode()
