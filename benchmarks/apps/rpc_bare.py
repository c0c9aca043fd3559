"""The floor: gRPC's framing over ASGI by hand, the bytes of the answers made beforehand, nothing else."""

from __future__ import annotations

import struct
from typing import Any

from benchmarks.apps.rpc_messages import MESSAGES, SERVICE, LevelRequest, level, order, price, tick


def framed(message: Any) -> bytes:
    """Return a message in its envelope."""
    content = message.SerializeToString()
    return struct.pack(">BI", 0, len(content)) + content


UNARY = {
    f"/{SERVICE}/Level": framed(level(LevelRequest(sku="SKU-0001"))),
    f"/{SERVICE}/Price": framed(price(order())),
}
TICKS = [framed(tick(number)) for number in range(MESSAGES)]
HEAD = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/grpc")]}
OK = {"type": "http.response.trailers", "headers": [(b"grpc-status", b"0")], "more_trailers": False}


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answer."""
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    while (await receive()).get("more_body", False):
        pass
    await send({**HEAD, "trailers": True})
    answer = UNARY.get(scope["path"])
    if answer is not None:
        await send({"type": "http.response.body", "body": answer})
    else:
        for each in TICKS:
            await send({"type": "http.response.body", "body": each, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
    await send(OK)
