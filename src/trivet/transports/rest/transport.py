"""REST: a route for every operation, bound to its chains when the app is built."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import count
from typing import Any

from trivet.contracts.jobs import STATUS_PATH
from trivet.contracts.model import Api, ApiOperation
from trivet.contracts.problem import MethodNotAllowed, NotAcceptable, RouteNotFound
from trivet.core.call import Call, Handler, Outcome
from trivet.core.declaration import Kind
from trivet.core.error import Cancelled, Code, Error, Internal
from trivet.core.idempotency import key_of
from trivet.core.precondition import Current, PreconditionFailed, Verdict, decide
from trivet.policies import chain
from trivet.runtime import Runtime
from trivet.transports.cors import Cors
from trivet.transports.rest import body, problem
from trivet.transports.rest.bind import Binder, Slot
from trivet.transports.rest.caching import NOT_KEPT, Caching
from trivet.transports.rest.coding import AS_IT_IS, Codings
from trivet.transports.rest.conditions import FIELDS, for_change, for_reading
from trivet.transports.rest.disconnect import Watches
from trivet.transports.rest.exchange import Receive, RestCall, Scope, Send
from trivet.transports.rest.expand import Expander
from trivet.transports.rest.media import accepts
from trivet.transports.rest.render import Locate, encoder_of, location_of, readers_of
from trivet.transports.rest.reply import NO_RANGES, NOSNIFF, Finished, Reply, current_of, finished, held
from trivet.transports.rest.router import Router
from trivet.transports.rest.stream import FIELDS as EVENT_FIELDS
from trivet.transports.rest.stream import Events, Streams, WriteEvent, close, event
from trivet.transports.rest.timing import Timing
from trivet.transports.rest.validator import body_state, row_state

JSON = "application/json"
EVENT_STREAM = "text/event-stream"
WITHOUT_CONTENT = (204, 304)
CLIENT_CLOSED_REQUEST = 499
EVENT_HEAD = (*EVENT_FIELDS, NOSNIFF)
BARE: list[tuple[bytes, bytes]] = [NOSNIFF]
NO_CODING = "Accept-Encoding allows no coding that can be sent."


class Endpoint:
    """One operation as REST serves it.

    Args:
        op: The operation and its face.
        api: The model of the app.
        runtime: What is open while the process runs.
        watches: Stops what is done for clients that went away.
        codings: What answers can be sent in.
        locate: Tells where what the operation creates is found, if anywhere.

    Attributes:
        handler: The gate, then binding, then the call chain.
        streams: Whether the answer is a stream.
    """

    def __init__(
        self,
        op: ApiOperation,
        api: Api,
        runtime: Runtime,
        watches: Watches,
        codings: Codings,
        locate: Locate | None = None,
    ) -> None:
        self.op = op
        self.operation = op.operation
        self.streams = self.operation.kind is Kind.STREAM
        self._status = op.face.status
        self._locate = locate
        expander = Expander(op, api) if self.operation.kind in (Kind.QUERY, Kind.COMMAND) else None
        if not expander:
            expander = None
        extra = [Slot("expand", str)] if expander else []
        self._binder = Binder(op, extra)
        self._encode = encoder_of(op)
        self._limit = runtime.settings.limits.body
        self._runtime = runtime
        self._codings = codings
        self._reads = op.face.method == "GET"
        self._changes = self.operation.kind.writes
        self._row_state = row_state(op, runtime.plans)
        self._caching = Caching(op, runtime.default_principal) if self._reads else None
        varies = [*((b"accept-encoding",) if codings.varies else ()), *(self._caching.varies if self._caching else ())]
        # What no cache keeps has no need to say what it depends on (RFC 9110 section 12.5.5).
        self._kept = [(b"vary", b", ".join(varies))] if varies and self._reads else []
        self._fields = [(b"content-type", b"application/json"), NOSNIFF, *((NO_RANGES,) if self._reads else ())]
        inner = runtime.handlers.root[self.operation]
        bound = self._streaming(inner) if self.streams else self._answering(inner, expander, watches)
        self.handler: Handler = chain.gate(self.operation, runtime, bound)

    def __str__(self) -> str:
        return f"{self.op.id} ({self.operation.place})"

    def reply(self, call: RestCall, outcome: Outcome) -> Reply:
        """Return what answers a success."""
        if call.timing is not None and self._changes:
            call.timing.ends("commit")
        body = outcome.body or b""
        status = self._status if body or self._status != 200 else 204
        reply = Reply(status, self._kept, self._fields if body else BARE, body)
        if self._locate is not None:
            where = self._locate(outcome.value, call.arguments)
            reply.fields = [*reply.fields, (b"location", f"{call.root}{where}".encode())]
        elif self.operation.kind is Kind.JOB:
            where = f"{STATUS_PATH}{outcome.value.id}"
            reply.fields = [*reply.fields, (b"location", f"{call.root}{where}".encode())]
        if outcome.value is not None:
            row = self._row_state(outcome.value) if self._row_state is not None else None
            composed = row is None or call.expand is not None
            reply.state = body_state(body, row) if composed and self._reads else row
        if self._caching is not None:
            reply.kept = [*self._caching.fields(call.principal), *self._kept]
            reply.fields = [*reply.fields, *self._caching.tags(call.principal, call.arguments)]
        return reply

    def _answering(self, inner: Handler, expander: Expander | None, watches: Watches) -> Handler:
        binder, encode, limit = self._binder, self._encode, self._limit
        described = binder.body

        async def answer(call: Call) -> Outcome:
            assert isinstance(call, RestCall)
            self._negotiate(call)
            if described is None:
                body.refuse_content(call)
                arguments = binder.head(call)
            else:
                arguments = binder.bind(call, await body.read(call, described, limit))
            if expander is not None:
                _expanding(call, arguments, expander)
            call.arguments = arguments
            call.encode = encode
            if not FIELDS.isdisjoint(call.fields):
                self._conditions(call)
            if self._changes:
                key = call.fields.get(b"idempotency-key")
                if key is not None:
                    call.idempotency_key = key_of(key)
            if call.timing is not None:
                _timed(call)
            watches.start(call)
            try:
                return await inner(call)
            finally:
                watches.stop(call)

        return answer

    def _negotiate(self, call: RestCall) -> None:
        """Decide in which form the answer goes out.

        Raises:
            NotAcceptable: None that can be sent is acceptable.
        """
        if call.timing is not None:
            call.timing.ends("gate")
        accept = call.fields.get(b"accept")
        if accept is not None and not accepts(accept, JSON):
            raise NotAcceptable(available=(JSON,))
        choice = self._codings.choose(call.fields.get(b"accept-encoding"))
        if choice is None:
            raise NotAcceptable(detail=NO_CODING, available=(JSON,))
        call.choice = choice

    def _conditions(self, call: RestCall) -> None:
        """Read what the request takes for granted, and spare the encoding of what the caller has already.

        Raises:
            PreconditionFailed: A query that is sent by ``POST`` has no version to compare.
        """
        now = self._runtime.clock.now()
        if self._changes:
            call.precondition = for_change(call.fields, now)
        elif not self._reads:
            given = for_change(call.fields, now)
            if given is not None and decide(given, Current(), reads=False) is not Verdict.HOLDS:
                raise PreconditionFailed(detail="What a query finds has no versions when it is sent by POST.")
        else:
            given = call.given = for_reading(call.fields, now)
            state_of, encode = self._row_state, call.encode
            if given is None or state_of is None or encode is None or call.expand is not None:
                return

            def encode_news(value: Any) -> bytes:
                if value is not None:
                    state = state_of(value)
                    if held(state, call.choice, given) is not None:
                        verdict = decide(given, current_of(state, call.choice), reads=True)
                        if verdict is Verdict.UNCHANGED:
                            return b""
                return encode(value)

            call.encode = encode_news

    def _streaming(self, inner: Handler) -> Handler:
        binder, limit = self._binder, self._limit
        described = binder.body

        async def answer(call: Call) -> Outcome:
            assert isinstance(call, RestCall)
            accept = call.fields.get(b"accept")
            if accept is not None and not accepts(accept, EVENT_STREAM):
                raise NotAcceptable(available=(EVENT_STREAM,))
            choice = self._codings.choose(call.fields.get(b"accept-encoding"))
            if choice is None or not choice.identity:  # compressed, an event would wait for the next ones
                raise NotAcceptable(detail="A stream is not compressed.", available=(EVENT_STREAM,))
            if described is None:
                body.refuse_content(call)
                call.arguments = binder.head(call)
            else:
                call.arguments = binder.bind(call, await body.read(call, described, limit))
            position = call.fields.get(b"last-event-id")
            if position:
                call.resume_after = position.decode("latin-1")
            return await inner(call)

        return answer


def _timed(call: RestCall) -> None:
    """Tell the time of the handler from that of encoding what it returned."""
    timing, encode = call.timing, call.encode
    assert timing is not None
    timing.ends("bind")
    if encode is None:
        return

    def timed(value: Any) -> bytes:
        timing.ends("handler")
        written = encode(value)
        timing.ends("encode")
        return written

    call.encode = timed


def _expanding(call: RestCall, arguments: dict[str, Any], expander: Expander) -> None:
    """Take ``expand`` out of the arguments and let the result be expanded by it."""
    word = arguments.pop("expand", None)
    if word is None:
        return
    paths = expander.paths_of(word)
    expander.check(paths, call.principal)

    async def expand(value: Any) -> Any:
        return await expander.expand(value, paths, call)

    call.expand = expand


class Rest:
    """Serves the operations of an app over HTTP.

    Args:
        api: The model of the app.
        runtime: What is open while the process runs.
        cors: What pages of other origins are granted, if anything.

    Raises:
        ValueError: Two operations have the same route; `describe` reports that as a fault before.
    """

    def __init__(self, api: Api, runtime: Runtime, cors: Cors | None = None) -> None:
        self._runtime = runtime
        self._cors = cors
        self._monotonic = runtime.clock.monotonic
        self._now = runtime.clock.now
        self._router: Router[Endpoint] = Router()
        self._unrouted = chain.unrouted(runtime, _refuse)
        self.new_request_id = request_ids(runtime)
        self._development = runtime.settings.development
        self.codings = Codings(runtime.settings.compression)
        self._streams = Streams()
        runtime.at_end(self._streams.end)
        watches, readers = Watches(), readers_of(api)
        for op in api.operations:
            endpoint = Endpoint(op, api, runtime, watches, self.codings, location_of(op, readers))
            self._router.add(op.face.method, op.path, endpoint)

    def __call__(self, scope: Scope, receive: Receive, send: Send, path: str) -> Awaitable[None]:
        """Serve one request.

        Args:
            scope: The ASGI scope.
            receive: Reads the body.
            send: Takes the answer.
            path: The raw path below the app's root.
        """
        try:
            found = self._router.match(path)
        except Error as malformed:
            return self.refuse(scope, receive, send, path, malformed)
        if found is None:
            return self.refuse(scope, receive, send, path, RouteNotFound(detail=f"Nothing is served under {path}."))
        routes, values = found
        verb = scope["method"]
        endpoint = routes.by_method.get(verb)
        if endpoint is None:
            if verb == "OPTIONS":
                return self.options(scope, receive, send, path, routes.allow)
            refusal = MethodNotAllowed(detail=f"{path} allows {', '.join(routes.allow)}.", allowed=routes.allow)
            return self.refuse(scope, receive, send, path, refusal)
        call = RestCall(endpoint.operation, scope, receive, path, self._monotonic(), self.new_request_id)
        call.values = values
        if self._development:
            call.timing = Timing(self._runtime.clock, call.arrival)
        return self._stream(endpoint, call, send) if endpoint.streams else self._answer(endpoint, call, send)

    async def refuse(self, scope: Scope, receive: Receive, send: Send, path: str, error: Error) -> None:
        """Answer a request that leads to no operation with an error."""
        call = RestCall(None, scope, receive, path, self._monotonic(), self.new_request_id)
        call.refusal = error
        try:
            await self._unrouted(call)
        except Error as refused:
            await self._send_problem(call, refused, send)

    async def show(self, scope: Scope, receive: Receive, send: Send, path: str, reply: Reply) -> None:
        """Answer a request for something that is no operation: a page, the contract, health.

        Raises:
            Error: It can not be sent to this caller; nothing was sent.
        """
        call = RestCall(None, scope, receive, path, self._monotonic(), self.new_request_id)
        choice = self.codings.choose(call.fields.get(b"accept-encoding"))
        if choice is None:
            raise NotAcceptable(detail=NO_CODING)
        given = for_reading(call.fields, self._now())
        await self._send(call, finished(reply, given, choice, self.codings, self._now), send)

    def reply(self, call: RestCall, reply: Reply, send: Send) -> Awaitable[None]:
        """Answer a request of another transport in a coding that its caller takes, or else as it is."""
        choice = self.codings.choose(call.fields.get(b"accept-encoding")) or AS_IT_IS
        return self._send(call, finished(reply, None, choice, self.codings, self._now), send)

    async def options(self, scope: Scope, receive: Receive, send: Send, path: str, allow: tuple[str, ...]) -> None:
        """Answer ``OPTIONS`` with what is allowed, and a preflight with what other origins are."""
        call = RestCall(None, scope, receive, path, self._monotonic(), self.new_request_id)
        await self._unrouted(call)
        fields = [(b"allow", ", ".join(allow).encode()), NOSNIFF]
        granted = self._cors.preflight(scope, allow) if self._cors is not None else None
        await self._send(call, Finished(204, [*fields, *(granted or ())], b""), send)

    async def _answer(self, endpoint: Endpoint, call: RestCall, send: Send) -> None:
        try:
            try:
                outcome = await endpoint.handler(call)
                answer = finished(endpoint.reply(call, outcome), call.given, call.choice, self.codings, self._now)
            except Error as refused:
                await self._send_problem(call, refused, send)
            except Exception as broken:
                await self._broken(call, broken, send)
            else:
                await self._send(call, answer, send)
        except asyncio.CancelledError:
            call.code = Code.CANCELLED
            task = asyncio.current_task()
            if not call.gone or task is None or task.uncancel() > 0:
                raise  # not by us, for the client's sake
        except OSError:  # by `send`: the client is gone, and the server says it like this (ASGI 2.4)
            call.code = Code.CANCELLED
        finally:
            if call.observer is not None:  # nothing was sent to the end
                call.finish(CLIENT_CLOSED_REQUEST, 0)

    async def _stream(self, endpoint: Endpoint, call: RestCall, send: Send) -> None:
        try:
            outcome = await endpoint.handler(call)
            if call.verb == "HEAD":
                await close(outcome.value)
                await send({"type": "http.response.start", "status": 200, "headers": _finished(call, [*EVENT_HEAD])})
                await send({"type": "http.response.body", "body": b""})
                call.finish(200, 0)
            else:
                await self.follow(call, outcome.value, send)
        except Error as refused:
            await self._send_problem(call, refused, send)
        except OSError:  # by `send`: the client is gone, and the server says it like this (ASGI 2.4)
            call.code = Code.CANCELLED
        finally:
            call.finish(CLIENT_CLOSED_REQUEST, 0)  # where nothing was sent

    async def follow(self, call: RestCall, items: AsyncIterator[Any], send: Send, write: WriteEvent = event) -> None:
        """Send a stream to its end.

        Args:
            call: The request.
            items: What is streamed.
            send: Where the bytes go.
            write: Writes one item as an event.

        Raises:
            Error: It failed before anything was sent; once it has begun, it says what is wrong in an event.
        """
        events = Events(call, items, _finished(call, [*EVENT_HEAD]), send, self._streams, write)
        try:
            try:
                await events.run()
            except OSError:
                raise
            except Exception as failed:
                if not isinstance(failed, Error):  # an item that can not be written
                    self._fault(call, failed)
                    failed = Internal()
                if not events.started:
                    raise failed from None
                await events.fail(failed)
            await events.finish()
        finally:
            if events.started:
                call.finish(200, events.size)

    async def _broken(self, call: RestCall, broken: Exception, send: Send) -> None:
        """Answer a fault of the transport itself, which no policy saw."""
        self._fault(call, broken)
        await self._send_problem(call, Internal(), send)

    def _fault(self, call: RestCall, broken: Exception) -> None:
        call.code, call.error = Code.INTERNAL, broken
        self._runtime.log.failure("unexpected error", broken, request_id=call.request_id)

    async def _send_problem(self, call: RestCall, error: Error, send: Send) -> None:
        if isinstance(error, Cancelled) and call.gone:
            call.finish(CLIENT_CLOSED_REQUEST, 0)
            return
        try:
            shown = problem.render(error, call, call.root)
        except Exception as broken:  # an error with fields that are no JSON
            self._fault(call, broken)
            shown = problem.render(Internal(), call, call.root)
        choice = self.codings.choose(call.fields.get(b"accept-encoding")) or AS_IT_IS
        reply = Reply(shown.status, [NOT_KEPT], [*shown.fields, NOSNIFF], shown.body)
        await self._send(call, finished(reply, None, choice, self.codings, self._now), send)

    async def _send(self, call: RestCall, answer: Finished, send: Send) -> None:
        status, fields, body = answer.status, answer.fields, answer.body
        if answer.coding is not None:
            body = await self._coded(answer, answer.coding)
        if status not in WITHOUT_CONTENT:
            fields.append((b"content-length", b"%d" % len(body)))
        await send({"type": "http.response.start", "status": status, "headers": _finished(call, fields)})
        if call.verb == "HEAD":
            body = b""
        await send({"type": "http.response.body", "body": body})
        call.finish(status, len(body))

    async def _coded(self, answer: Finished, coding: str) -> bytes:
        known = answer.known
        if known is None:
            return await self.codings.encode(answer.body, coding)
        if coding not in known:
            known[coding] = await self.codings.encode(answer.body, coding)
        return known[coding]


def request_ids(runtime: Runtime) -> Callable[[], str]:
    """Return a source of request ids: a prefix of this process, drawn at the first use, and a number."""
    numbers = count(1)
    prefix = ""

    def new() -> str:
        nonlocal prefix
        if not prefix:
            prefix = runtime.clock.new_id().hex
        return f"{prefix}-{next(numbers):x}"

    return new


async def _refuse(call: Call) -> Outcome:
    assert isinstance(call, RestCall)
    if call.refusal is not None:
        raise call.refusal
    return Outcome(None)


def _finished(call: RestCall, fields: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    fields.append((b"request-id", call.request_id.encode()))
    if call.timing is not None:
        fields.append(call.timing.field())
    if call.notes is not None:
        fields.extend(call.notes)
    return fields
