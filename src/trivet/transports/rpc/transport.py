"""RPC: a path for every operation, bound to its chains at the first call.

Names, types and numbers are checked when the app is built; codecs and chains of a method are made when it is first
called, so that an app of many operations starts soon. One path serves every protocol: the content type tells which.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

from trivet.contracts.model import Api
from trivet.contracts.problem import RouteNotFound
from trivet.contracts.proto.message import Method
from trivet.contracts.proto.package import ProtoContract
from trivet.core.call import Call, Fields, Handler, Outcome
from trivet.core.declaration import Kind
from trivet.core.error import Cancelled, Code, Error, Internal, Unimplemented
from trivet.core.idempotency import key_of
from trivet.core.precondition import Precondition
from trivet.policies import chain
from trivet.runtime import Runtime
from trivet.transports.disconnect import Watches
from trivet.transports.health import Health
from trivet.transports.intake import Intakes, Items
from trivet.transports.rest.conditions import FIELDS as CONDITIONS
from trivet.transports.rest.conditions import for_change
from trivet.transports.rest.exchange import REQUEST_ID, Receive, Scope, Send
from trivet.transports.rest.reply import NOSNIFF
from trivet.transports.rest.transport import CLIENT_CLOSED_REQUEST, request_ids
from trivet.transports.rpc.codec import ABSENT, Codec
from trivet.transports.rpc.connect import Connect, ConnectGet, ConnectStream, query_of
from trivet.transports.rpc.exchange import Format, RpcCall, Speech, fields_of
from trivet.transports.rpc.grpc import Grpc, GrpcWeb
from trivet.transports.rpc.health import NAME as HEALTH
from trivet.transports.rpc.health import RpcHealth
from trivet.transports.rpc.protojson import ProtoJson
from trivet.transports.rpc.reflection import Reflection
from trivet.transports.rpc.status import Status, status_of
from trivet.transports.rpc.stream import Streams
from trivet.transports.rpc.wire import Wire

Spoken = tuple[type[Speech], Format, bytes]

KINDS: tuple[Spoken, ...] = (
    (Grpc, "proto", b"application/grpc"),
    (Grpc, "proto", b"application/grpc+proto"),
    (Grpc, "json", b"application/grpc+json"),
    (GrpcWeb, "proto", b"application/grpc-web"),
    (GrpcWeb, "proto", b"application/grpc-web+proto"),
    (GrpcWeb, "json", b"application/grpc-web+json"),
    (GrpcWeb, "proto", b"application/grpc-web-text"),
    (GrpcWeb, "proto", b"application/grpc-web-text+proto"),
    (Connect, "proto", b"application/proto"),
    (Connect, "json", b"application/json"),
    (ConnectStream, "proto", b"application/connect+proto"),
    (ConnectStream, "json", b"application/connect+json"),
)
SPEECHES = {spoken[2]: spoken for spoken in KINDS}
"""How a request of each content type is spoken, the format of its messages, and the content type of its answer."""

CONNECT = (Connect, ConnectStream)

MAX_OWN_REQUEST = 64 * 1024
"""Bytes of a request for health."""

TRAILERS = "http.response.trailers"
NO_TRAILERS = (
    "Native gRPC has its status in trailers, which this connection or this server does not carry. "
    "Speak HTTP/2 to a server that has trailers, or speak gRPC-Web or Connect."
)


class NoTrailers(Unimplemented):
    """This server can not speak native gRPC; gRPC-Web and Connect it can."""


class Endpoint:
    """One method as RPC serves it.

    Args:
        method: The method.
        rpc: Whose it is.

    Attributes:
        handler: The gate, then decoding, then the call chain.
        streams: Whether it returns many.
        body: The parameter that is the whole body of REST.
    """

    def __init__(self, method: Method, rpc: Rpc) -> None:
        self.operation = method.op.operation
        self.streams = method.streams
        self.takes = method.item is not None
        face = method.op.face
        self.body: str | None = face.body if face.body != "*" and not self.takes else None
        self._method = method
        self._formats = rpc.formats
        self._codecs: dict[str, Codec] = {}
        bound = self._taking(rpc) if self.takes else self._answering(rpc)
        self.handler: Handler = chain.gate(self.operation, rpc.runtime, bound)

    def codec(self, format: str) -> Codec:
        """Return the codec of the method in a format."""
        codec = self._codecs.get(format)
        if codec is None:
            codec = self._codecs[format] = Codec(self._method, self._formats[format])
        return codec

    def _answering(self, rpc: Rpc) -> Handler:
        inner = rpc.runtime.handlers.root[self.operation]
        limit, watches = rpc.runtime.settings.limits.body, rpc.watches
        changes, clock = self.operation.kind.writes, rpc.runtime.clock
        codecs, streams = self._codecs, self.streams

        async def answer(call: Call) -> Outcome:
            assert isinstance(call, RpcCall)
            speech = call.speech
            codec = codecs.get(speech.format) or self.codec(speech.format)
            message = speech.opened(await speech.content(call, limit), limit)
            call.arguments, call.resume_after = codec.read(message)
            if streams:
                return await inner(call)
            call.encode = codec.write
            if changes and not CONDITIONS.isdisjoint(call.fields):
                call.precondition = condition_of(call.fields, clock.now())
            if changes:
                key = call.fields.get(b"idempotency-key")
                if key is not None:
                    call.idempotency_key = key_of(key)
            watches.start(call)
            try:
                return await inner(call)
            finally:
                watches.stop(call)

        return answer

    def _taking(self, rpc: Rpc) -> Handler:
        inner = rpc.runtime.handlers.root[self.operation]
        limit, watches, intakes = rpc.runtime.settings.limits.body, rpc.watches, rpc.intakes
        signature = self.operation.signature
        assert signature.items is not None  # it takes some
        name, speaks_first = signature.items.name, not signature.parameters

        async def arguments(codec: Codec, items: Items) -> dict[str, Any]:
            """Return the arguments that the first message says; where there are none to say, it is not waited for."""
            if speaks_first:
                return {name: items}
            found, plain = codec.read_first(await items.content())
            if plain is not ABSENT:
                items.begin(codec.item, plain)
            return {**found, name: items}

        async def answer(call: Call) -> Outcome:
            assert isinstance(call, RpcCall)
            codec = self.codec(call.speech.format)
            items = intakes.items(call, call.speech.envelopes(limit), codec.read_item)
            if self.streams:
                call.arguments = await arguments(codec, items)
                return await inner(call)
            await call.speech.begin(call)  # who waits for the whole request before this, as Envoy does, waits no more
            call.arguments = await arguments(codec, items)
            call.encode = codec.write
            return await items.answered(inner, watches)

        return answer


class Rpc:
    """Serves the operations of an app over gRPC, gRPC-Web and Connect.

    Args:
        api: The model of the app.
        contract: Its RPC contract.
        runtime: What is open while the process runs.
        health: Whether the process serves.
    """

    def __init__(self, api: Api, contract: ProtoContract, runtime: Runtime, health: Health) -> None:
        self.runtime = runtime
        self.watches = Watches()
        self.intakes = Intakes(runtime)
        self.formats: dict[str, Wire | ProtoJson] = {"proto": Wire(), "json": ProtoJson()}
        self.methods: dict[str, Method] = {
            package.path(method): method for package in contract.packages for method in package.methods
        }
        self._domain = api.name
        self._endpoints: dict[str, Endpoint] = {}
        self._monotonic = runtime.clock.monotonic
        self._new_request_id = request_ids(runtime)
        self._streams = Streams(self._status, self._fault)
        runtime.at_end(self._streams.end)
        services = [f"{package.name}.{package.service}" for package in contract.packages]
        watched = RpcHealth(health, services, self._streams, self.formats)
        self._unary: dict[str, Callable[[RpcCall, bytes], Awaitable[bytes]]] = dict(watched.unary)
        self._streaming: dict[str, Callable[[RpcCall], Awaitable[None]]] = dict(watched.streaming)
        if runtime.settings.rest.docs:
            self._streaming |= Reflection(contract.packages, [HEALTH], self.formats).streaming
        self._unrouted = chain.unrouted(runtime, _refuse)
        self._unlocked = not contract.locked and not runtime.settings.development
        self._told = False

    def claims(self, scope: Scope, path: str) -> bool:
        """Whether a request is RPC's to answer: a method is called, or an RPC protocol is spoken."""
        if path in self.methods or path in self._unary or path in self._streaming:
            return True
        given = next((value for name, value in scope["headers"] if name == b"content-type"), b"")
        return given.startswith((b"application/grpc", b"application/connect+", b"application/proto"))

    def __call__(self, scope: Scope, receive: Receive, send: Send, path: str) -> Awaitable[None]:
        """Serve one request.

        Args:
            scope: The ASGI scope.
            receive: Reads the body.
            send: Takes the answer.
            path: The raw path below the app's root.
        """
        method = self.methods.get(path)
        speech = self._speech(scope, fields_of(scope), send, method)
        if speech is None:
            return self._wrong_content(scope, path, send)
        if method is None and path not in self._unary and path not in self._streaming:
            return self._refuse(speech, scope, receive, path, RouteNotFound(detail=f"There is no method {path}."))
        if speech.trailers and not _trailers(scope):
            self._tell()
            return self._refuse(speech, scope, receive, path, NoTrailers(detail=NO_TRAILERS))
        if method is None:
            call = RpcCall(None, speech, scope, receive, path, self._monotonic(), self._new_request_id)
            return self._own(call, scope, path)
        endpoint = self._endpoints.get(path) or self._endpoint(method, path)
        call = RpcCall(endpoint.operation, speech, scope, receive, path, self._monotonic(), self._new_request_id)
        return self._answer(endpoint, call)

    def _endpoint(self, method: Method, path: str) -> Endpoint:
        """Make the endpoint of a method that is called for the first time."""
        endpoint = self._endpoints[path] = Endpoint(method, self)
        if self._unlocked:
            self._unlocked = False
            self.runtime.log.warning("field numbers are not kept", mend="Run `trivet contract proto`.")
        return endpoint

    def _speech(self, scope: Scope, fields: dict[bytes, bytes], send: Send, method: Method | None) -> Speech | None:
        """Return how a request is spoken, ``None`` where that can not be."""
        verb = scope["method"]
        if verb == "POST":
            given = fields.get(b"content-type", b"")
            found = SPEECHES.get(given) or _spoken(given)
            if found is None:
                return None
            speaks, format, content_type = found
            if method is not None and speaks in CONNECT:
                streams = method.streams or method.item is not None
                if (speaks is ConnectStream) is not streams:
                    return None
            return speaks(format, content_type, fields, send)
        if verb == "GET" and method is not None and method.op.operation.kind is Kind.QUERY:
            query = query_of(scope["query_string"])
            encoding = query.get("encoding")
            if encoding == "proto":
                return ConnectGet("proto", query, fields, send)
            return ConnectGet("json", query, fields, send) if encoding == "json" else None
        return None

    async def refuse(self, scope: Scope, receive: Receive, send: Send, path: str, error: Error) -> None:
        """Answer a request with an error, whatever it leads to."""
        speech = self._speech(scope, fields_of(scope), send, None)
        if speech is None:
            await self._wrong_content(scope, path, send)
        else:
            await self._refuse(speech, scope, receive, path, error)

    async def _refuse(self, speech: Speech, scope: Scope, receive: Receive, path: str, error: Error) -> None:
        call = RpcCall(None, speech, scope, receive, path, self._monotonic(), self._new_request_id)
        call.refusal = error
        try:
            await self._unrouted(call)
        except Error as refused:
            await self._fail(call, refused)

    async def _own(self, call: RpcCall, scope: Scope, path: str) -> None:
        """Answer health or reflection."""
        unary = path in self._unary
        if isinstance(call.speech, ConnectStream if unary else Connect):
            await self._wrong_content(scope, path, call.speech.send)
            return
        try:
            if unary:
                content = await call.speech.message(call, MAX_OWN_REQUEST)
                await call.speech.reply(call, await self._unary[path](call, content))
            else:
                await self._streaming[path](call)
        except Error as refused:
            if call.gone:
                return
            status = self._status(call, refused)
            await (call.speech.end if call.speech.started else call.speech.fail)(call, status)
        except OSError:  # by `send`: the client is gone
            return

    def allowed(self, path: str) -> tuple[str, ...]:
        """Return the verbs that a path can be asked with."""
        method = self.methods.get(path)
        return ("GET", "POST") if method is not None and method.op.operation.kind is Kind.QUERY else ("POST",)

    async def _wrong_content(self, scope: Scope, path: str, send: Send) -> None:
        """Answer what speaks no protocol of ours: 405 for a verb, 415 for a content type, without a body."""
        verbs = self.allowed(path)
        if scope["method"] not in verbs:
            status, field = 405, (b"allow", ", ".join(verbs).encode())
        else:
            status, field = 415, (b"accept-post", b", ".join(SPEECHES))
        given = fields_of(scope).get(b"request-id", b"")
        request_id = given if REQUEST_ID.fullmatch(given) else self._new_request_id().encode()
        fields = [field, (b"content-length", b"0"), (b"request-id", request_id), NOSNIFF]
        await send({"type": "http.response.start", "status": status, "headers": fields})
        await send({"type": "http.response.body", "body": b""})

    async def _answer(self, endpoint: Endpoint, call: RpcCall) -> None:
        try:
            try:
                outcome = await endpoint.handler(call)
                if endpoint.streams:
                    write = endpoint.codec(call.speech.format).write_item
                    await self._streams.send(call, outcome.value, write)
                else:
                    assert outcome.body is not None  # `call.encode` is set
                    await (call.speech.finish if endpoint.takes else call.speech.reply)(call, outcome.body)
            except Error as refused:
                await self._fail(call, refused, endpoint.body)
            except OSError:
                raise
            except Exception as broken:
                self._fault(call, broken)
                await self._fail(call, Internal())
        except asyncio.CancelledError:
            call.code = Code.CANCELLED
            task = asyncio.current_task()
            if not call.gone or task is None or task.uncancel() > 0:
                raise  # not by us, for the client's sake
        except OSError:  # by `send`: the client is gone, and the server says it like this (ASGI 2.4)
            call.code = Code.CANCELLED
        finally:
            sent = call.code is not Code.CANCELLED or not call.gone
            call.finish(call.speech.status if sent else CLIENT_CLOSED_REQUEST, call.speech.size)

    async def _fail(self, call: RpcCall, error: Error, body: str | None = None) -> None:
        if isinstance(error, Cancelled) and call.gone:
            return
        try:
            status = self._status(call, error, body)
        except Exception as broken:  # an error with fields that can not be written
            self._fault(call, broken)
            status = self._status(call, Internal())
        await (call.speech.end if call.speech.started else call.speech.fail)(call, status)
        call.finish(call.speech.status, call.speech.size)

    def _status(self, call: RpcCall, error: Error, body: str | None = None) -> Status:
        return status_of(error, call, self._domain, body)

    def _fault(self, call: RpcCall, broken: Exception) -> None:
        call.code, call.error = Code.INTERNAL, broken
        self.runtime.log.failure("unexpected error", broken, request_id=call.request_id)

    def _tell(self) -> None:
        """Say once why native gRPC does not work here."""
        if not self._told:
            self._told = True
            self.runtime.log.warning("native gRPC is refused", reason=NO_TRAILERS)


def condition_of(fields: Fields, now: datetime) -> Precondition | None:
    """Return what a change takes for granted; ``if-match: 7`` names the version that a message said.

    Raises:
        InvalidArgument: It can not be read.
    """
    version = fields.get(b"if-match", b"").strip(b'"')
    if version.isdigit():
        return Precondition(match=frozenset((version.decode(),)))
    return for_change(fields, now)


def _spoken(given: bytes) -> Spoken | None:
    """Return how a request is spoken whose content type is written in another way, such as with a charset."""
    kind, _, parameters = given.partition(b";")
    said = parameters.lower()
    return None if b"charset" in said and b"utf-8" not in said else SPEECHES.get(kind.strip().lower())


def _trailers(scope: Scope) -> bool:
    return TRAILERS in (scope.get("extensions") or ()) and not scope.get("http_version", "1.1").startswith("1")


async def _refuse(call: Call) -> Outcome:
    assert isinstance(call, RpcCall)
    assert call.refusal is not None
    raise call.refusal
