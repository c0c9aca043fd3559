"""Speaking HTTP to an ASGI application in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any
from urllib.parse import quote, unquote, urlencode

import msgspec

from trivet.core.principal import Principal
from trivet.server.interface import ASGIApp
from trivet.transports.rest.exchange import PRINCIPAL

Query = Mapping[str, Any] | None


class Response:
    """What came back.

    Attributes:
        status: The HTTP status.
        headers: Header fields by lower-case name; several of one name are joined by ``", "``.
        body: All bytes of the body.
        chunks: The body in the pieces in which it was sent.
    """

    def __init__(self, status: int, headers: Sequence[tuple[bytes, bytes]], chunks: Sequence[bytes]) -> None:
        self.status = status
        self.headers: dict[str, str] = {}
        for name, value in headers:
            key, text = name.decode("latin-1").lower(), value.decode("latin-1")
            self.headers[key] = f"{self.headers[key]}, {text}" if key in self.headers else text
        self.chunks = tuple(chunks)
        self.body = b"".join(chunks)

    def __repr__(self) -> str:
        return f"<Response {self.status} {self.body[:200].decode('utf-8', 'replace')}>"

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode()

    def json(self) -> Any:
        """Return the body, parsed."""
        return msgspec.json.decode(self.body)


async def exchange(
    app: ASGIApp,
    method: str,
    path: str,
    *,
    query: Query = None,
    headers: Mapping[str, str] | None = None,
    json: Any = msgspec.UNSET,
    content: bytes | None = None,
    principal: Principal | None = None,
    state: Mapping[str, Any] | None = None,
) -> Response:
    """Send one request and return the whole response.

    Args:
        app: What answers.
        method: The HTTP method.
        path: The target, percent-encoded where needed; may hold a query.
        query: Added to it; a list gives a parameter several times, ``None`` leaves it out.
        headers: Header fields.
        json: A value to be sent as JSON.
        content: Bytes to be sent as they are.
        principal: Who calls.
        state: What the lifespan left for requests.
    """
    body = content if content is not None else b"" if json is msgspec.UNSET else msgspec.json.encode(json)
    scope = scope_of(method, path, query, headers or {}, body, json is not msgspec.UNSET)
    scope["state"] = dict(state or {})
    if principal is not None:
        scope[PRINCIPAL] = principal
    started: dict[str, Any] = {}
    chunks: list[bytes] = []
    complete = asyncio.Event()
    sent = False

    async def receive() -> MutableMapping[str, Any]:
        nonlocal sent
        if not sent:
            sent = True
            return {"type": "http.request", "body": body, "more_body": False}
        await complete.wait()
        return {"type": "http.disconnect"}

    async def send(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            started.update(message)
        elif message["type"] == "http.response.body":
            if message.get("body"):
                chunks.append(bytes(message["body"]))
            if not message.get("more_body", False):
                complete.set()

    await app(scope, receive, send)
    if not complete.is_set():
        raise RuntimeError(f"{method} {path}: the application returned without completing its response")
    return Response(started["status"], list(started.get("headers", ())), chunks)


def scope_of(
    method: str, path: str, query: Query, headers: Mapping[str, str], body: bytes, json: bool
) -> dict[str, Any]:
    """Return the ASGI scope of a request."""
    target, _, written = path.partition("?")
    pairs = [
        (name, _word(value))
        for name, given in (query or {}).items()
        for value in (given if isinstance(given, list | tuple) else [given])
        if value is not None
    ]
    added = urlencode(pairs)
    raw = quote(target, safe="/%:@!$&'()*+,;=~-._").encode("ascii")
    fields = {"host": "testserver", **{name.lower(): value for name, value in headers.items()}}
    if json:
        fields.setdefault("content-type", "application/json")
    if body or method in ("POST", "PUT", "PATCH"):
        fields.setdefault("content-length", str(len(body)))
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(raw.decode("ascii")),
        "raw_path": raw,
        "query_string": "&".join(filter(None, (written, added))).encode("latin-1"),
        "root_path": "",
        "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in fields.items()],
        "server": ("testserver", 80),
        "client": ("127.0.0.1", 50000),
    }


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return value if isinstance(value, str) else str(msgspec.to_builtins(value))
