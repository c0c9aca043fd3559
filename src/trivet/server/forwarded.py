"""Who the client is, behind proxies: what they say counts as far as they are trusted, and no further."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from trivet.server.interface import ASGIApp, Receive, Scope, Send

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address

PAIR = re.compile(r"""\s*([!#$%&'*+.^_`|~\w-]+)=(?:"((?:[^"\\]|\\.)*)"|([!#$%&'*+.^_`|~\w:\[\]-]+))\s*(;|$)""")
HOPS_MAX = 64
"""Proxies beyond this are not looked at."""


def networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """Return networks, or single addresses, from their text; raises `ValueError` for what is neither."""
    return tuple(ip_network(text) for text in texts)


def client_of(peer: str, fields: Sequence[tuple[bytes, bytes]], trusted: Sequence[Network]) -> str | None:
    """Return the address of the client, ``None`` where it is the peer.

    The list of hops is read from its end: each entry was written by the hop after it. As long as that one is trusted,
    its entry is believed. The first address that is not of a trusted proxy is the client. ``Forwarded`` (RFC 7239)
    counts where it is present, else ``X-Forwarded-For``. An entry that is not an address ends the search: nobody
    further away can be known.

    Args:
        peer: Address of the other end of the connection.
        fields: Header fields, names in lower case.
        trusted: Networks of proxies.
    """
    hop = _address(peer)
    if hop is None or not _is_in(hop, trusted):
        return None
    client: Address | None = None
    for text in _hops(fields):
        hop = _address(text)
        if hop is None:
            break
        client = hop
        if not _is_in(hop, trusted):
            break
    return None if client is None else str(client)


def _hops(fields: Sequence[tuple[bytes, bytes]]) -> list[str]:
    """Return what hops said, the last one first."""
    forwarded = _list(fields, b"forwarded")
    if forwarded:
        return [_for(element) for element in forwarded]
    return _list(fields, b"x-forwarded-for")


def _list(fields: Sequence[tuple[bytes, bytes]], wanted: bytes) -> list[str]:
    values = [value.decode("latin-1") for name, value in fields if name == wanted]
    return [item.strip() for item in reversed(",".join(values).split(",")) if item.strip()][:HOPS_MAX]


def _for(element: str) -> str:
    """Return the ``for`` of one element of ``Forwarded``; empty where it has none, or is malformed."""
    position, found = 0, ""
    while position < len(element):
        pair = PAIR.match(element, position)
        if pair is None:
            return ""
        if pair[1].lower() == "for":
            found = pair[2] if pair[2] is not None else pair[3]
        position = pair.end()
    return found


def _address(text: str) -> Address | None:
    """Return an address that may have a port, and brackets where it is of version 6."""
    if text.startswith("["):
        text, _, port = text[1:].partition("]")
        if port and not (port[0] == ":" and port[1:].isdigit()):
            return None
    elif text.count(":") == 1:
        text, _, port = text.partition(":")
        if not port.isdigit():
            return None
    try:
        found = ip_address(text)
    except ValueError:
        return None
    return (found.ipv4_mapped or found) if isinstance(found, IPv6Address) else found


def _is_in(address: Address, trusted: Sequence[Network]) -> bool:
    return any(address.version == network.version and address in network for network in trusted)


class BehindProxies:
    """An application whose scopes have the client's address in place of that of a trusted proxy.

    Args:
        app: The application.
        trusted: Networks of proxies.
    """

    def __init__(self, app: ASGIApp, trusted: Sequence[Network]) -> None:
        self._app = app
        self._trusted = trusted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        peer = scope.get("client")
        if peer is not None:
            client = client_of(peer[0], scope["headers"], self._trusted)
            if client is not None:
                scope["client"] = (client, 0)
        await self._app(scope, receive, send)
