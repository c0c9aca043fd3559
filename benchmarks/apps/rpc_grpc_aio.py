"""The same by grpc.aio, with protobuf's classes and no policies: ``python -m benchmarks.apps.rpc_grpc_aio PORT``."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

import grpc

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


async def main() -> None:
    """Serve until the process is ended."""
    server = grpc.aio.server()
    methods = {
        "Level": grpc.unary_unary_rpc_method_handler(
            level, messages.LevelRequest.FromString, messages.LevelResponse.SerializeToString
        ),
        "Price": grpc.unary_unary_rpc_method_handler(
            price, messages.PriceRequest.FromString, messages.PriceResponse.SerializeToString
        ),
        "Ticks": grpc.unary_stream_rpc_method_handler(
            ticks, messages.TicksRequest.FromString, messages.TicksResponse.SerializeToString
        ),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(messages.SERVICE, methods),))
    server.add_insecure_port(f"127.0.0.1:{sys.argv[1]}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main())
