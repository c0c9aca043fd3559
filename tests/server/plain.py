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
    elif path == "/scope":
        told = {name: scope[name] for name in ("client", "scheme", "http_version", "path", "query_string", "headers")}
        body = repr(told | {"raw_path": scope["raw_path"], "tls": scope.get("extensions", {}).get("tls")}).encode()
        await answer(send, body)
        return
    elif path.startswith("/large/"):
        await answer(send, bytes(int(path.removeprefix("/large/"))))
        print(f"answered {path}", flush=True)
        return
    elif path == "/body":
        while (message := await receive())["type"] == "http.request" and message["more_body"]:
            pass
    elif path == "/stream":
        print("streaming", flush=True)
        await stream(send)
        return
    await answer(send, str(os.getpid()).encode())


async def stream(send: Callable[[Message], Awaitable[None]]) -> None:
    """Send the process id every now and then, for a second."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for _ in range(20):
        await send({"type": "http.response.body", "body": b"%d\n" % os.getpid(), "more_body": True})
        await asyncio.sleep(0.05)
    await send({"type": "http.response.body", "body": b"end\n"})


async def answer(send: Callable[[Message], Awaitable[None]], body: bytes) -> None:
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
