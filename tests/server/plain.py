"""An ASGI application without Trivet, for tests of the server itself."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]


async def app(
    scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    if scope["type"] == "lifespan":
        await _lifespan(receive, send)
        return
    path: str = scope["path"]
    if path.startswith("/sleep/"):
        print(f"sleeping {path}", flush=True)
        await asyncio.sleep(float(path.removeprefix("/sleep/")))
    elif path == "/die":
        os._exit(9)
    elif path == "/hang":
        time.sleep(60)
    body = str(os.getpid()).encode()
    fields = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    await send({"type": "http.response.body", "body": body})


async def _lifespan(receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]) -> None:
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup" and os.environ.get("REFUSES"):
            await send({"type": "lifespan.startup.failed", "message": "the cellar is flooded; pump it out"})
            return
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            print("closed", flush=True)
            return
