"""Who is calling. Until an identity provider is configured there are two answers: nobody, or the developer."""

from __future__ import annotations

from collections.abc import Awaitable
from ipaddress import ip_address
from typing import Any

from trivet.core.call import Call, Handler, Outcome
from trivet.core.error import Unauthenticated
from trivet.core.operation import Operation
from trivet.core.principal import ANONYMOUS
from trivet.runtime import Runtime


def authenticate(operation: Operation[..., Any] | None, runtime: Runtime, next: Handler) -> Handler:
    """Name the caller, or refuse credentials that can not be verified.

    A call whose principal the transport knows already (the in-process test client) keeps it. A caller without
    credentials is nobody, or under ``trivet dev`` the developer, if the call comes from this machine: another server
    may have been told to listen to strangers.
    """
    default = runtime.default_principal

    def authenticated(call: Call) -> Awaitable[Outcome]:
        if call.principal is ANONYMOUS:
            if b"authorization" in call.fields:
                raise Unauthenticated(
                    detail="These credentials can not be verified: no identity provider is configured."
                )
            if default is not ANONYMOUS and is_local(call):
                call.principal = default
                call.tenant = default.tenant
        return next(call)

    return authenticated


def is_local(call: Call) -> bool:
    """Whether a call comes from this machine, and not from a page of somebody else's in a browser on it."""
    if call.peer is None:  # a transport that does not know its peer (a socket file) may have anybody behind it
        return call.protocol == "internal"
    host, origin = call.fields.get(b"host"), call.fields.get(b"origin")
    return (
        is_loopback(call.peer)
        and (host is None or is_loopback(host_of(host.decode("latin-1"))))  # a name of theirs that leads here
        and (origin is None or is_loopback(host_of(origin.decode("latin-1").partition("://")[2])))
    )


def host_of(authority: str) -> str:
    """Return the host in ``host``, ``host:port`` or ``[address]:port`` (RFC 3986 section 3.2.2)."""
    if authority.startswith("["):
        return authority[1:].partition("]")[0]
    return authority.partition(":")[0]


def is_loopback(host: str) -> bool:
    """Whether a host is this machine: ``localhost``, or a loopback address."""
    try:
        address = ip_address(host)
    except ValueError:
        return host.lower() == "localhost"
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback
