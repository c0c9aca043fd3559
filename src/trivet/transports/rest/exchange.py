"""One HTTP request on its way to an operation and back."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from trivet.core.call import Call, Fields
from trivet.core.error import Error
from trivet.core.operation import Operation
from trivet.core.precondition import Precondition
from trivet.core.principal import ANONYMOUS
from trivet.transports.intake import Items
from trivet.transports.rest.coding import AS_IT_IS, Choice
from trivet.transports.rest.timing import Timing

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")


class RestCall(Call):
    """A call with what binding and rendering need of its HTTP request.

    Attributes:
        verb: The HTTP method.
        root: The path below which the app is mounted; empty at the top. Links start with it.
        query: The query, undecoded.
        values: The path's parameters, decoded, in order.
        given: What a request that reads takes for granted about what it gets.
        choice: The codings in which it may be answered.
        receive: Reads the body, and says when the client went away.
        refusal: Why the request leads to no operation.
        timing: Where the time goes, in development.
        gone: Whether the client went away before the answer.
        listener: Listens for that, once the request takes long.
        items: What comes in, where a stream does.
    """

    __slots__ = (
        "choice",
        "given",
        "gone",
        "items",
        "listener",
        "query",
        "receive",
        "refusal",
        "root",
        "timing",
        "values",
        "verb",
    )

    def __init__(
        self,
        operation: Operation[..., Any] | None,
        scope: Scope,
        receive: Receive,
        path: str,
        arrival: float,
        new_request_id: Callable[[], str],
    ) -> None:
        headers = scope["headers"]
        fields: Fields = dict(headers)
        if len(fields) < len(headers):
            fields = joined(headers)
        given = fields.get(b"request-id")
        client = scope.get("client")
        self.verb: str = scope["method"]
        Call.__init__(  # `super()` would be looked up each time; names of arguments would double what this costs
            self,
            operation,
            "rest",
            f"{self.verb} {path}",
            client[0] if client else None,
            arrival,
            given.decode() if given is not None and REQUEST_ID.fullmatch(given) is not None else new_request_id(),
            fields,
            scope.get(PRINCIPAL, ANONYMOUS),
        )
        self.root: str = scope.get("root_path", "")
        self.query: bytes = scope["query_string"]
        self.values: list[str] = NO_VALUES
        self.given: Precondition | None = None
        self.choice: Choice = AS_IT_IS
        self.timing: Timing | None = None
        self.receive = receive
        self.refusal: Error | None = None
        self.gone = False
        self.listener: asyncio.Task[None] | None = None
        self.items: Items | None = None


NO_VALUES: list[str] = []

PRINCIPAL = "trivet.principal"
"""The key of an ASGI scope under which the in-process test client says who calls; no server ever sets it."""


def joined(headers: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Return header fields by name, those that came several times joined by commas (RFC 9110 section 5.3)."""
    fields: dict[bytes, bytes] = {}
    for name, value in headers:
        fields[name] = fields[name] + b", " + value if name in fields else value
    return fields
