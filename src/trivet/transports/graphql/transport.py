"""GraphQL over HTTP (Stage 2 draft, https://graphql.github.io/graphql-over-http/draft/)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any

import msgspec

from trivet.contracts.body import Body
from trivet.contracts.graphql.types import Graph
from trivet.contracts.model import Api
from trivet.contracts.problem import MethodNotAllowed, NotAcceptable, RouteNotFound, status_of
from trivet.core.call import Call, Outcome, Place
from trivet.core.declaration import Access, Declaration
from trivet.core.error import Cancelled, Code, DeadlineExceeded, Error, Internal
from trivet.core.module import Module
from trivet.core.operation import Operation, Query
from trivet.policies import chain
from trivet.policies.consistency import FIELD
from trivet.runtime import Runtime
from trivet.transports.disconnect import Watches
from trivet.transports.graphql import editor
from trivet.transports.graphql import request as requests
from trivet.transports.graphql.errors import refusals
from trivet.transports.graphql.media import EVENT_STREAM, JSON, OFFERED, RESPONSE, chosen
from trivet.transports.graphql.persisted import Documents
from trivet.transports.graphql.refusals import UNDERSTOOD
from trivet.transports.graphql.request import Request
from trivet.transports.graphql.turns import caller_of
from trivet.transports.graphql.websocket import Sockets
from trivet.transports.rest import body
from trivet.transports.rest.exchange import Message, Receive, RestCall, Scope, Send
from trivet.transports.rest.media import prefers_html
from trivet.transports.rest.problem import fields_of
from trivet.transports.rest.reply import NOSNIFF, Reply
from trivet.transports.rest.stream import close
from trivet.transports.rest.transport import Rest
from trivet.transports.rest.validator import body_state

if TYPE_CHECKING:
    from trivet.transports.graphql.service import GraphqlService, Prepared

CLIENT_CLOSED_REQUEST = 499
KEPT = [(b"cache-control", b"no-store"), (b"vary", b"accept, accept-encoding")]
HEADS: dict[str | None, list[tuple[bytes, bytes]]] = {
    media_type: [(b"content-type", media_type.encode() + b"; charset=utf-8"), NOSNIFF]
    for media_type in (JSON, RESPONSE)
}
METHODS = ("GET", "POST", "OPTIONS")
BODY = Body(parameter=None, parameters=(), type=Request, required=True, media_types=(JSON,))


class GraphqlCall(RestCall):
    """A request to ``/graphql``.

    Attributes:
        media_type: What the answer is written as.
        asked: What came with it, over a WebSocket.
    """

    __slots__ = ("asked", "media_type")

    def __init__(
        self,
        operation: Operation[..., Any],
        scope: Scope,
        receive: Receive,
        path: str,
        arrival: float,
        new_request_id: Callable[[], str],
    ) -> None:
        RestCall.__init__(self, operation, scope, receive, path, arrival, new_request_id)
        self.protocol = "graphql"
        self.media_type = chosen(self.fields.get(b"accept"))
        self.asked: Request | None = None


class GraphqlTransport:
    """Serves documents over HTTP.

    Args:
        api: The model of the app.
        graph: Its GraphQL types.
        runtime: What is open while the process runs.
        rest: Sends answers, in whichever coding the caller takes.
    """

    def __init__(self, api: Api, graph: Graph, runtime: Runtime, rest: Rest) -> None:
        self._runtime = runtime
        self._service: GraphqlService | None = None
        self._making: asyncio.Future[GraphqlService] | None = None
        self._api = api
        self._graph = graph
        self._operation = execute_operation(api)
        self._rest = rest
        self._limit = runtime.settings.limits.body
        self._documents = Documents(runtime.settings.graphql)
        self._batch = runtime.settings.graphql.batch
        self._watches = Watches()
        self._gate = chain.gate(self._operation, runtime, self._answer)
        self._socket_gate = chain.gate(self._operation, runtime, self._over_socket)
        self.websocket = Sockets(runtime, self._operate, self._new_call)

    async def service(self) -> GraphqlService:
        """Return what executes documents; its schema is made at the first need, off the event loop."""
        if self._service is not None:
            return self._service
        if self._making is None:
            self._making = asyncio.ensure_future(asyncio.to_thread(self._make))
        made = await asyncio.shield(self._making)
        self._service = made
        return made

    def _make(self) -> GraphqlService:
        from trivet.transports.graphql.service import GraphqlService  # graphql-core takes a while to import

        return GraphqlService(self._api, self._graph, self._runtime, self._documents)

    async def __call__(self, scope: Scope, receive: Receive, send: Send, path: str) -> None:
        """Serve one HTTP request."""
        call = GraphqlCall(
            self._operation, scope, receive, path, self._runtime.clock.monotonic(), self._rest.new_request_id
        )
        try:
            try:
                if call.verb == "OPTIONS":
                    await self._rest.options(scope, receive, send, path, METHODS)
                    return
                if self._shows_editor(call):
                    await self._rest.reply(call, editor.page(), send)
                    return
                outcome = await self._gate(call)
                if outcome.body is None:
                    await self._rest.follow(call, outcome.value, send, written)
                else:
                    await self._send(call, 200, [], outcome.body, send)
            except Error as refused:
                await self._refuse(call, refused, send)
            except Exception as broken:
                call.code, call.error = Code.INTERNAL, broken
                self._runtime.log.failure("unexpected error", broken, request_id=call.request_id)
                await self._refuse(call, Internal(), send)
        except asyncio.CancelledError:
            call.code = Code.CANCELLED
            task = asyncio.current_task()
            if not call.gone or task is None or task.uncancel() > 0:
                raise
        except OSError:  # by `send`: the client is gone (ASGI 2.4)
            call.code = Code.CANCELLED
        finally:
            if call.observer is not None:  # nothing was sent to the end
                call.finish(CLIENT_CLOSED_REQUEST, 0)

    async def _answer(self, call: Call) -> Outcome:
        """Read and execute a request that passed the gate."""
        assert isinstance(call, GraphqlCall)
        if call.media_type is None:
            raise NotAcceptable(available=OFFERED)
        if call.verb not in METHODS:
            raise MethodNotAllowed(detail="/graphql allows GET and POST.", allowed=METHODS)
        requests.refuse_cross_site(call)
        if call.verb == "GET":
            asked: Request | list[Request] = requests.of_query(call.query)
        else:
            asked = requests.of_body(await body.read(call, BODY, self._limit), self._batch)
        service = self._service or await self.service()
        self._watches.start(call)
        try:
            if isinstance(asked, Request):
                if call.media_type == EVENT_STREAM:
                    return Outcome(completed(await self._responses(service, asked, call)))
                return Outcome(None, await self._execute(service, asked, call))
            if call.media_type == EVENT_STREAM:
                raise NotAcceptable(detail="Several operations are answered at once: accept JSON.")
            parts = [await self._part(service, one, call) for one in asked]
            return Outcome(None, b"[%b]" % b",".join(parts))
        finally:
            self._watches.stop(call)

    async def _execute(self, service: GraphqlService, asked: Request, call: GraphqlCall) -> bytes:
        prepared = service.ready(asked) or await self._prepared(service, asked, call)
        if permitted(prepared, call) == "subscription":
            raise NotAcceptable(detail="A subscription needs Accept: text/event-stream, or a WebSocket.")
        return await self._run(service, prepared, asked, call)

    async def _prepared(self, service: GraphqlService, asked: Request, call: GraphqlCall) -> Prepared:
        """Return what is asked for, in the time of the request; its alarm is off once one of its operations ran.

        Raises:
            DeadlineExceeded: It was not there in time.
            InvalidArgument: It can not be executed.
            TooManyNewDocuments: The caller asks for too much at once that is new.
            PlannerBusy: All callers do together.
        """
        try:
            async with asyncio.timeout(call.deadline.remaining() if call.deadline is not None else None):
                return await service.prepare(asked, caller_of(call))
        except TimeoutError as late:
            raise DeadlineExceeded from late

    def _run(self, service: GraphqlService, prepared: Prepared, asked: Request, call: GraphqlCall) -> Awaitable[bytes]:
        """Run a query or a mutation: from here on each root field has its own deadline, never later than the call's.

        The call's would cut a commit short, and take what is there already with a field that is late.
        """
        call.idempotency_key = requests.idempotency_key(asked, call.fields) if prepared.plan.writes else None
        if call.alarm is not None:
            self._runtime.alarms.disarm(call.alarm)
        return service.execute(prepared, call)

    async def _responses(self, service: GraphqlService, asked: Request, call: GraphqlCall) -> AsyncIterator[bytes]:
        """Return the responses to an operation of any kind, one by one.

        Raises:
            Error: It can not be executed.
        """
        prepared = await self._prepared(service, asked, call)
        if permitted(prepared, call) != "subscription":
            return one(await self._run(service, prepared, asked, call))
        place = call.fields.get(b"last-event-id")
        if place is not None:
            call.resume_after = place.decode("utf-8", "replace") or None
        return service.subscribe(prepared, call)

    async def _operate(self, asked: Request, call: RestCall) -> AsyncIterator[bytes]:
        """Pass the gate with one operation that came over a WebSocket, and return its responses."""
        assert isinstance(call, GraphqlCall)
        call.asked = asked
        token = requests.consistency_token(asked)
        if token is not None:  # the handshake is long ago, and browsers say nothing of their own in it
            call.fields = {**call.fields, FIELD: token}
        outcome = await self._socket_gate(call)
        responses: AsyncIterator[bytes] = outcome.value
        return responses

    async def _over_socket(self, call: Call) -> Outcome:
        assert isinstance(call, GraphqlCall)
        assert call.asked is not None
        return Outcome(await self._responses(await self.service(), call.asked, call))

    def _new_call(self, scope: Scope) -> GraphqlCall:
        """Return the call of one operation over a WebSocket."""
        arrival = self._runtime.clock.monotonic()
        said = {**scope, "method": "POST"}
        return GraphqlCall(self._operation, said, nothing, "/graphql", arrival, self._rest.new_request_id)

    def _shows_editor(self, call: GraphqlCall) -> bool:
        """Whether a person opened the address in a browser, in development."""
        reads = call.verb in ("GET", "HEAD") and not call.query
        return reads and self._runtime.settings.development and prefers_html(call.fields.get(b"accept"))

    async def schema(self) -> Reply:
        """Return the schema as a document.

        Raises:
            RouteNotFound: It is not for everybody.
        """
        settings = self._runtime.settings
        shown = settings.development if settings.graphql.introspection is None else settings.graphql.introspection
        if not shown:
            raise RouteNotFound(detail="The schema is not public here: graphql.introspection is off.")
        text = (await self.service()).sdl
        fields = [(b"content-type", b"application/graphql; charset=utf-8"), NOSNIFF]
        return Reply(
            200, [(b"cache-control", b"no-cache"), (b"vary", b"accept-encoding")], fields, text, body_state(text)
        )

    async def _part(self, service: GraphqlService, asked: Request, call: GraphqlCall) -> bytes:
        """Return the response to one of several requests; a refusal is one too."""
        try:
            return await self._execute(service, asked, call)
        except Error as refused:
            return refusal(refused, call)

    async def _refuse(self, call: GraphqlCall, error: Error, send: Send) -> None:
        if isinstance(error, Cancelled) and call.gone:
            call.finish(CLIENT_CLOSED_REQUEST, 0)
            return
        status = status_of(error)
        fields = [(name, value) for name, value in fields_of(error, status) if name != b"content-type"]
        if isinstance(error, UNDERSTOOD) and call.media_type == JSON and error.status is None:
            status = 200
        await self._send(call, status, fields, refusal(error, call), send)

    def _send(
        self, call: GraphqlCall, status: int, fields: list[tuple[bytes, bytes]], content: bytes, send: Send
    ) -> Awaitable[None]:
        head = HEADS.get(call.media_type, HEADS[JSON])
        return self._rest.reply(call, Reply(status, KEPT, [*head, *fields] if fields else head, content), send)


def permitted(prepared: Prepared, call: GraphqlCall) -> str:
    """Return of which kind an operation is.

    Raises:
        MethodNotAllowed: ``GET`` changes nothing.
    """
    kind = prepared.operation.kind
    if call.verb == "GET" and kind == "mutation":
        raise MethodNotAllowed(detail="A mutation needs POST.", allowed=("POST",))
    return kind


async def _execute(ctx: Any) -> None:
    """Execute a GraphQL document."""


def execute_operation(api: Api) -> Operation[..., Any]:
    """Return the operation of the platform as which a request passes the gate: public, with the time of the longest."""
    declared = [op.operation.declaration for op in api.operations]
    longest = max((d.timeout_max or d.timeout for d in declared), default=5)
    module = Module("graphql", owner="the platform")
    operation: Query[..., Any] = Query(module, _execute, Declaration(access=Access(public=True), timeout=longest))
    operation.name, operation.id = "execute", "graphql.execute"
    return operation


async def nothing() -> Message:
    """Receive nothing: what came over a WebSocket has no body of its own."""
    await asyncio.Event().wait()
    raise AssertionError  # it waits until it is cancelled


async def one(response: bytes) -> AsyncIterator[bytes]:
    """Yield the only response."""
    yield response


async def completed(responses: AsyncIterator[bytes]) -> AsyncIterator[bytes | None]:
    """Yield responses, and ``None`` when there are no more."""
    try:
        async for response in responses:
            yield response
    finally:
        await close(responses)
    yield None


def written(item: bytes | None, place: Place | None) -> bytes:
    """Return one event of GraphQL over server-sent events, in its mode of distinct connections."""
    if item is None:
        return b"event: complete\ndata:\n\n"
    position = b"" if place is None else b"id: %b\n" % str(place).encode()
    return b"%bevent: next\ndata: %b\n\n" % (position, item)


def refusal(error: Error, call: Call) -> bytes:
    """Return the response to a request that is not executed."""
    return b'{"errors":%b}' % msgspec.json.encode(refusals(error, call.request_id))
