"""An ASGI application that speaks WebSocket, without Trivet: says what it was told, then repeats what it hears."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

BLOCK = "x" * 65_536


async def app(scope: Message, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        while (message := await receive())["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": f"{message['type']}.complete"})
    elif scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
        await send({"type": "http.response.body", "body": b"http"})
    else:
        await receive()
        if scope["path"] == "/deny":
            await send({"type": "websocket.close"})
            return
        await send({"type": "websocket.accept", "subprotocol": next(iter(scope["subprotocols"]), None)})
        await (flood(send) if scope["path"] == "/flood" else repeat(scope, receive, send))


async def repeat(scope: Message, receive: Receive, send: Send) -> None:
    told = {name: scope[name] for name in ("client", "server", "scheme", "raw_path", "query_string", "headers")}
    await send({"type": "websocket.send", "text": repr(told | {"tls": scope["extensions"].get("tls")})})
    while (message := await receive())["type"] != "websocket.disconnect":
        await send({"type": "websocket.send", "text": message["text"]})
    print(f"disconnected {message['code']:d}", flush=True)


async def flood(send: Send) -> None:
    """Send without end, and say how much could be sent."""
    sent = 0
    try:
        while True:
            await send({"type": "websocket.send", "text": BLOCK})
            sent += len(BLOCK)
            print(f"sent {sent}", flush=True)
    except OSError:
        print("flood ended", flush=True)
