"""A tiny HTTP client that talks ASGI in this process: it sends exactly what it is told to."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any
from urllib.parse import unquote

import msgspec

Asgi = Callable[[Any, Any, Any], Awaitable[None]]


class Response:
    """What came back."""

    def __init__(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        self.status = status
        self.headers = {name.decode(): value.decode() for name, value in headers}
        self.body = body

    def __repr__(self) -> str:
        return f"<{self.status} {self.body[:500]!r}>"

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)

    @property
    def reason(self) -> str:
        return str(self.json["reason"])

    @property
    def pointers(self) -> list[str]:
        return [error["pointer"] for error in self.json["errors"]]


class Client:
    """Sends requests to an ASGI application."""

    def __init__(self, app: Asgi, root_path: str = "") -> None:
        self._app = app
        self._root_path = root_path

    async def request(
        self,
        method: str,
        target: str,
        body: bytes | list[bytes] = b"",
        headers: Mapping[str, str] | None = None,
        *,
        json: Any = msgspec.UNSET,
    ) -> Response:
        fields = dict(headers or {})
        if json is not msgspec.UNSET:
            body = msgspec.json.encode(json)
            fields.setdefault("content-type", "application/json")
        if isinstance(body, bytes) and body:
            fields.setdefault("content-length", str(len(body)))
        elif isinstance(body, list):
            fields.setdefault("transfer-encoding", "chunked")
        return await send(self._app, scope_of(method, target, fields, self._root_path), body)

    async def get(self, target: str, headers: Mapping[str, str] | None = None) -> Response:
        return await self.request("GET", target, headers=headers)

    async def post(self, target: str, json: Any, headers: Mapping[str, str] | None = None) -> Response:
        return await self.request("POST", target, json=json, headers=headers)


def scope_of(method: str, target: str, headers: Mapping[str, str], root_path: str = "") -> dict[str, Any]:
    path, _, query = target.partition("?")
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": root_path + unquote(path),
        "raw_path": (root_path + path).encode(),
        "query_string": query.encode(),
        "root_path": root_path,
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()],
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 8000),
    }


async def send(app: Asgi, scope: dict[str, Any], body: bytes | list[bytes] = b"") -> Response:
    chunks = [body] if isinstance(body, bytes) else list(body)
    messages = [
        {"type": "http.request", "body": chunk, "more_body": index < len(chunks) - 1}
        for index, chunk in enumerate(chunks)
    ]
    sent: list[MutableMapping[str, Any]] = []

    async def receive() -> MutableMapping[str, Any]:
        if messages:
            return messages.pop(0)
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    async def take(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    await app(scope, receive, take)
    assert [message["type"] for message in sent][:2] == ["http.response.start", "http.response.body"]
    assert not sent[-1].get("more_body", False)
    content = b"".join(message.get("body", b"") for message in sent[1:])
    length = dict(sent[0]["headers"]).get(b"content-length")
    if length is not None and scope["method"] != "HEAD":
        assert int(length) == len(content)
    return Response(sent[0]["status"], sent[0]["headers"], content)


class Conversation:
    """A request whose answer comes piece by piece, and whose client can go away."""

    def __init__(self, app: Asgi, scope: dict[str, Any]) -> None:
        self._incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._incoming.put_nowait({"type": "http.request", "body": b"", "more_body": False})
        self._outgoing: asyncio.Queue[MutableMapping[str, Any]] = asyncio.Queue()
        self.task = asyncio.ensure_future(self._run(app, scope))

    async def _run(self, app: Asgi, scope: dict[str, Any]) -> None:
        await app(scope, self._incoming.get, self._outgoing.put)

    async def next(self) -> MutableMapping[str, Any]:
        return await asyncio.wait_for(self._outgoing.get(), 5)

    @property
    def silent(self) -> bool:
        return self._outgoing.empty()

    def leave(self) -> None:
        self._incoming.put_nowait({"type": "http.disconnect"})
