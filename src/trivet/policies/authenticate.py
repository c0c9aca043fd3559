"""Who is calling. Until an identity provider is configured there are two answers: nobody, or the developer."""

from __future__ import annotations

from typing import Any

from trivet.core.call import Call, Handler, Outcome
from trivet.core.error import Unauthenticated
from trivet.core.operation import Operation
from trivet.core.principal import ANONYMOUS
from trivet.runtime import Runtime


def authenticate(operation: Operation[..., Any] | None, runtime: Runtime, next: Handler) -> Handler:
    """Name the caller, or refuse credentials that can not be verified.

    A call whose principal the transport knows already (the in-process test client) keeps it. A caller without
    credentials is the runtime's default: nobody, or under ``trivet dev`` on loopback the developer.
    """
    default = runtime.default_principal

    async def authenticated(call: Call) -> Outcome:
        if call.principal is ANONYMOUS:
            if call.header(b"authorization") is not None:
                raise Unauthenticated(
                    detail="These credentials can not be verified: no identity provider is configured."
                )
            call.principal = default
            call.tenant = default.tenant
        return await next(call)

    return authenticated
