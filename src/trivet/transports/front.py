"""The front of an app: every HTTP request comes in here and goes on to a transport, a mounted application or a page.

Limits on the head come before anything else. What the platform serves itself is few and fixed: ``/`` leads to
everything, ``/openapi.json`` is the contract, ``/docs`` shows it to people, ``/problems`` explains errors, ``/livez``
and ``/readyz`` are for orchestrators. They are not observed: probes would drown the log.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any
from urllib.parse import quote

import msgspec

from trivet.contracts.graphql.types import Graph
from trivet.contracts.model import Api
from trivet.contracts.openapi import Versions, document
from trivet.contracts.problem import HeadersTooLarge, MethodNotAllowed, NotReady, RouteNotFound, UrlTooLong
from trivet.contracts.proto.package import ProtoContract
from trivet.core.error import Error
from trivet.policies.authorize import ScopeRequired
from trivet.policies.precondition import comparing
from trivet.runtime import Runtime
from trivet.settings import Settings
from trivet.transports import pages
from trivet.transports.catalogue import Catalogue
from trivet.transports.cors import Cors
from trivet.transports.graphql import editor
from trivet.transports.graphql.transport import GraphqlTransport
from trivet.transports.health import Health
from trivet.transports.reference import Reference
from trivet.transports.rest.caching import NOT_KEPT
from trivet.transports.rest.exchange import Message, Receive, Scope, Send
from trivet.transports.rest.media import prefers_html
from trivet.transports.rest.reply import NO_RANGES, NOSNIFF, Reply
from trivet.transports.rest.transport import Rest
from trivet.transports.rest.validator import body_state, row_state
from trivet.transports.rpc.transport import Rpc

Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]
Fields = list[tuple[bytes, bytes]]

JSON_FIELDS: Fields = [(b"content-type", b"application/json"), NOSNIFF]
KEPT: Fields = [(b"cache-control", b"no-cache"), (b"vary", b"accept, accept-encoding")]
SAME_ORIGIN = (b"cross-origin-resource-policy", b"same-origin")
"""Pages of others can not embed it; those that may read it (CORS) still can."""

READABLE = ("GET", "HEAD", "OPTIONS")

MAX_ROOTS = 16
"""For how many places under which the app is mounted its contract is kept."""


def answer(body: bytes, fields: Fields) -> Reply:
    """Return what one of the platform's own addresses says; to be kept, and asked about each time."""
    return Reply(200, KEPT, [*fields, SAME_ORIGIN, NO_RANGES], body, body_state(body), {})


def health(body: bytes, status: int = 200, *more: tuple[bytes, bytes]) -> Reply:
    """Return what a probe is told: how things are now."""
    return Reply(status, [NOT_KEPT], [*JSON_FIELDS, *more], body)


class Contract:
    """The OpenAPI document of an app that is mounted somewhere, and the pages that are made of it.

    Args:
        document: The document.

    Attributes:
        reply: The document as it is sent.
    """

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        self.reply = answer(msgspec.json.encode(document), JSON_FIELDS)
        self._pages: dict[str, Reply] = {}

    def page(self, path: str, write: Callable[[], bytes | None]) -> Reply:
        """Return a page, written when it is first asked for; there are as many as operations and shapes.

        Raises:
            RouteNotFound: There is no such page.
        """
        if path not in self._pages:
            body = write()
            if body is None:
                raise RouteNotFound(detail="The reference has no such page.")
            self._pages[path] = answer(body, pages.FIELDS)
        return self._pages[path]


class Front:
    """Where HTTP comes in.

    Args:
        api: The model of the app.
        contract: Its RPC contract.
        runtime: What is open while the process runs.
        mounts: ASGI applications by path prefix.
        graph: Its GraphQL types; without them no GraphQL is served.
    """

    def __init__(
        self,
        api: Api,
        contract: ProtoContract,
        runtime: Runtime,
        mounts: Mapping[str, Asgi] | None = None,
        graph: Graph | None = None,
    ) -> None:
        limits = runtime.settings.limits
        self._url_max = limits.url
        self._headers_max = limits.headers
        self._api = api
        self._runtime = runtime
        self._cors = Cors.of(runtime.settings.cors)
        self._rest = Rest(api, runtime, self._cors)
        self._graphql = None if graph is None else GraphqlTransport(api, graph, runtime, self._rest)
        shown = runtime.settings.rest.docs
        self._catalogue = Catalogue(api, _metrics_of(runtime.settings), open=shown)
        self._contracts: dict[str, Contract] = {}
        self.health = Health(runtime)
        self._rpc = Rpc(api, contract, runtime, self.health)
        self._mounts = sorted((mounts or {}).items(), key=lambda mount: len(mount[0]), reverse=True)
        self._own: dict[str, Callable[[str, bytes | None], Awaitable[Reply]]] = {
            "/livez": self._live,
            "/readyz": self._ready,
        }
        self._prefixes: tuple[str, ...] = ("/problems/",)
        if shown:
            self._prefixes += ("/docs/",)
            self._own |= {
                "/": self._index,
                "/docs": self._docs,
                "/openapi.json": self._openapi,
                "/problems": self._problems,
            }
        if self._graphql is not None:
            self._own["/graphql/schema.graphql"] = self._schema
            if runtime.settings.development:
                self._own |= {f"/graphql/{name}": partial(self._editor, name) for name in editor.FILES}

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve one HTTP request; a WebSocket goes to what is mounted there, or is refused."""
        path = path_of(scope)
        for prefix, app in self._mounts:
            if path.startswith(prefix) and path[len(prefix) : len(prefix) + 1] in ("", "/"):
                return app({**scope, "root_path": scope.get("root_path", "") + prefix}, receive, send)
        if scope["type"] != "http":
            if path == "/graphql" and self._graphql is not None:
                return self._graphql.websocket(scope, receive, send)
            return self._no_websocket(scope, receive, send, path)
        if self._cors is not None:
            send = self._cors.sharing(scope, send)
        graphql = self._graphql if path == "/graphql" else None
        direct = graphql is not None or path.startswith("/v")  # what is not looked for among the methods of RPC
        served = self._rest if direct or not self._rpc.claims(scope, path) else self._rpc
        if len(path) + len(scope["query_string"]) >= self._url_max:
            return served.refuse(scope, receive, send, path[:64], UrlTooLong(limit=self._url_max))
        if size_of(scope["headers"]) > self._headers_max:
            return served.refuse(scope, receive, send, path, HeadersTooLarge(limit=self._headers_max))
        if graphql is not None:
            return graphql(scope, receive, send, path)
        if path in self._own or path.startswith(self._prefixes):
            return self._serve(scope, receive, send, path)
        if path == "*" and scope["method"] == "OPTIONS":
            return self._rest.options(scope, receive, send, path, ("GET", "HEAD", "POST", "PATCH", "DELETE", "OPTIONS"))
        if served is self._rpc and scope["method"] == "OPTIONS":
            return self._rest.options(scope, receive, send, path, self._rpc.allowed(path))
        return served(scope, receive, send, path)

    async def _no_websocket(self, scope: Scope, receive: Receive, send: Send, path: str) -> None:
        """Refuse a WebSocket with a problem, where the server can say it (the ASGI extension for denials)."""
        await receive()
        if "websocket.http.response" not in scope.get("extensions", {}):
            await send({"type": "websocket.close", "code": 1000})
            return

        async def deny(message: Message) -> None:
            await send({**message, "type": f"websocket.{message['type']}"})

        refusal = RouteNotFound(detail="No WebSocket is served here.")
        await self._rest.refuse({**scope, "method": "GET"}, receive, deny, path[:64], refusal)

    # -- the platform's own addresses

    async def _serve(self, scope: Scope, receive: Receive, send: Send, path: str) -> None:
        method = scope["method"]
        if method == "OPTIONS":
            await self._rest.options(scope, receive, send, path, READABLE)
            return
        if method not in READABLE:
            refusal: Error = MethodNotAllowed(detail=f"{path} allows {', '.join(READABLE)}.", allowed=READABLE)
            await self._rest.refuse(scope, receive, send, path, refusal)
            return
        root, accept = scope.get("root_path", ""), accept_of(scope)
        try:
            own = self._own.get(path)
            if own is not None:
                said = await own(root, accept)
            elif path.startswith("/docs/"):
                said = await self._docs(root, accept, path.removeprefix("/docs/"))
            else:
                said = self._problem(path, root, accept)
            await self._rest.show(scope, receive, send, path, said)
        except Error as refused:
            await self._rest.refuse(scope, receive, send, path, refused)

    async def _index(self, root: str, accept: bytes | None) -> Reply:
        if wants_json(accept):
            return answer(msgspec.json.encode(self._catalogue.index(root)), JSON_FIELDS)
        contract = await self._contract(root)
        return contract.page("/", lambda: self._catalogue.index_page(contract.document, root))

    async def _docs(self, root: str, accept: bytes | None, name: str = "") -> Reply:
        contract = await self._contract(root)
        reference = Reference(contract.document, self._catalogue.frame(root))
        return contract.page(f"/docs/{name}", lambda: reference.page(name))

    async def _live(self, root: str, accept: bytes | None) -> Reply:
        return health(b'{"status":"alive"}')

    async def _ready(self, root: str, accept: bytes | None) -> Reply:
        waiting_for = await self.health.waiting_for()
        if waiting_for:
            body = msgspec.json.encode({"status": "not ready", "waiting_for": waiting_for, "reason": NotReady.reason})
            return health(body, 503, (b"retry-after", b"1"))
        return health(b'{"status":"ready"}')

    async def _openapi(self, root: str, accept: bytes | None) -> Reply:
        return (await self._contract(root)).reply

    async def _contract(self, root: str) -> Contract:
        contract = self._contracts.get(root)
        if contract is None:
            contract = await asyncio.to_thread(self._written, root)
            if len(self._contracts) >= MAX_ROOTS:  # a root may come from the path of whoever mounted the app
                self._contracts.pop(next(iter(self._contracts)))
            self._contracts[root] = contract
        return contract

    def _written(self, root: str) -> Contract:
        settings = self._runtime.settings
        described = document(
            self._api,
            forbidden=ScopeRequired,
            server=root or "/",
            environment=settings.environment,
            body_max=settings.limits.body,
            credentials_optional=not self._runtime.default_principal.anonymous,
            versions=versions_of(self._api, self._runtime.plans),
        )
        return Contract(described)

    async def _schema(self, root: str, accept: bytes | None) -> Reply:
        assert self._graphql is not None
        return await self._graphql.schema()

    async def _editor(self, name: str, root: str, accept: bytes | None) -> Reply:
        return editor.file(name)

    async def _problems(self, root: str, accept: bytes | None) -> Reply:
        if wants_json(accept):
            described = [self._catalogue.describe(kind, root) for kind in self._catalogue.problems()]
            return answer(msgspec.json.encode({"items": described}), JSON_FIELDS)
        return answer(self._catalogue.problems_page(root), pages.FIELDS)

    def _problem(self, path: str, root: str, accept: bytes | None) -> Reply:
        kind = self._catalogue.problem(path.removeprefix("/problems/"))
        if kind is None:
            raise RouteNotFound(detail=f"There is no error of this kind; {root}/problems lists them.")
        if wants_json(accept):
            return answer(msgspec.json.encode(self._catalogue.describe(kind, root)), JSON_FIELDS)
        return answer(self._catalogue.problem_page(kind, root), pages.FIELDS)


def versions_of(api: Api, plans: Mapping[Any, Any]) -> Versions:
    """Return which operations answer with the version of a row, and which compare one before they change it."""
    return Versions(
        answered=frozenset(op.id for op in api.operations if row_state(op, plans) is not None),
        compared=comparing((op.operation for op in api.operations), plans),
    )


def _metrics_of(settings: Settings) -> str | None:
    """Return where metrics are, for the pages; in production that address is nobody's but the operators'."""
    host, port = settings.server.management_host, settings.server.management_port
    if not settings.development or not port:
        return None
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/metrics"


def size_of(headers: Fields) -> int:
    """Return the bytes of all names and values."""
    size = 0
    for name, value in headers:  # half of what `sum` over a chain costs
        size += len(name) + len(value)
    return size


def path_of(scope: Scope) -> str:
    """Return the raw path below the place where the app is mounted.

    ``path`` and ``raw_path`` contain ``root_path`` (ASGI 3); servers and routers that leave it out are understood too.
    """
    raw = scope.get("raw_path")
    path: str = raw.decode("latin-1") if raw is not None else quote(scope["path"], safe="/:@!$&'()*+,;=~-._")
    root: str = scope.get("root_path", "")
    if root and (scope["path"] == root or scope["path"].startswith(f"{root}/")):
        segments = path.split("/")
        path = "/" + "/".join(segments[root.count("/") + 1 :])
    return path


def accept_of(scope: Scope) -> bytes | None:
    """Return ``Accept``, all of its lines."""
    return b", ".join(value for name, value in scope["headers"] if name == b"accept") or None


def wants_json(accept: bytes | None) -> bool:
    """Whether a caller asks for data rather than for a page."""
    return accept is not None and b"json" in accept and not prefers_html(accept)
