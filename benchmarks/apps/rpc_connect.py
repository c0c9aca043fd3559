"""The same served by the Connect runtime for Python, with protobuf's classes and no policies: an ASGI application."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from connectrpc.compat import google_protobuf_binary_codec
from connectrpc.method import IdempotencyLevel, MethodInfo, StreamType
from connectrpc.server import ConnectASGIApplication, Endpoint

from benchmarks.apps import rpc_messages as messages


async def level(request: Any, context: Any) -> Any:
    """Answer the small call."""
    return messages.level(request)


async def price(request: Any, context: Any) -> Any:
    """Answer an order with its total."""
    return messages.price(request)


async def ticks(request: Any, context: Any) -> AsyncIterator[Any]:
    """Yield so many ticks."""
    for number in range(request.count):
        yield messages.tick(number)


def method(name: str, stream: StreamType = StreamType.UNARY) -> MethodInfo[Any, Any]:
    """Return what the runtime knows of a method."""
    return MethodInfo(
        name=name,
        service_name=messages.SERVICE,
        input=messages.kind(f"{name}Request"),
        output=messages.kind(f"{name}Response"),
        stream_type=stream,
        idempotency_level=IdempotencyLevel.UNKNOWN,
    )


class Sales(ConnectASGIApplication[None]):
    """The service."""

    @property
    def path(self) -> str:
        """Where it is."""
        return f"/{messages.SERVICE}"


def endpoints(_: None) -> dict[str, Any]:
    """Return what answers each path."""
    return {
        f"/{messages.SERVICE}/Level": Endpoint.unary(method("Level"), level),
        f"/{messages.SERVICE}/Price": Endpoint.unary(method("Price"), price),
        f"/{messages.SERVICE}/Ticks": Endpoint.server_stream(method("Ticks", StreamType.SERVER_STREAM), ticks),
    }


app = Sales(service=None, endpoints=endpoints, codecs=[google_protobuf_binary_codec()])
