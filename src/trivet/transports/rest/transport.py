"""REST: a route for every operation, bound to its chains when the app is built."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from itertools import count
from typing import Any

from trivet.contracts.jobs import STATUS_PATH
from trivet.contracts.model import Api, ApiOperation
from trivet.contracts.problem import MethodNotAllowed, NotAcceptable, RouteNotFound
from trivet.core.call import Call, Handler, Outcome
from trivet.core.declaration import Kind
from trivet.core.error import Cancelled, Code, Error, Internal
from trivet.policies import chain
from trivet.runtime import Runtime
from trivet.transports.rest import body, problem
from trivet.transports.rest.bind import Binder, Slot
from trivet.transports.rest.disconnect import Watches
from trivet.transports.rest.exchange import REQUEST_ID, Receive, RestCall, Scope, Send
from trivet.transports.rest.expand import Expander
from trivet.transports.rest.media import accepts
from trivet.transports.rest.render import encoder_of, location_of
from trivet.transports.rest.router import Router
from trivet.transports.rest.stream import FIELDS as EVENT_FIELDS
from trivet.transports.rest.stream import Events, Streams, close

JSON = "application/json"
EVENT_STREAM = "text/event-stream"
CLIENT_CLOSED_REQUEST = 499


class Endpoint:
    """One operation as REST serves it.

    Args:
        op: The operation and its face.
        api: The model of the app.
        runtime: What is open while the process runs.
        watches: Stops what is done for clients that went away.

    Attributes:
        handler: The gate, then binding, then the call chain.
        streams: Whether the answer is a stream.
    """

    def __init__(self, op: ApiOperation, api: Api, runtime: Runtime, watches: Watches) -> None:
        self.op = op
        self.operation = op.operation
        self.streams = self.operation.kind is Kind.STREAM
        self._status = op.face.status
        self._locate = location_of(op, api)
        expander = Expander(op, api) if self.operation.kind in (Kind.QUERY, Kind.COMMAND) else None
        if not expander:
            expander = None
        extra = [Slot("expand", str)] if expander else []
        self._binder = Binder(op, extra)
        self._encode = encoder_of(op)
        self._limit = runtime.settings.limits.body
        inner = chain.call(self.operation, runtime)
        bound = self._streaming(inner) if self.streams else self._answering(inner, expander, watches)
        self.handler: Handler = chain.gate(self.operation, runtime, bound)

    def __str__(self) -> str:
        return f"{self.op.id} ({self.operation.place})"

    def head(self, call: RestCall, outcome: Outcome) -> tuple[int, list[tuple[bytes, bytes]]]:
        """Return the status and the header fields of a success."""
        status = self._status if outcome.body or self._status != 200 else 204
        fields = [(b"content-type", b"application/json")] if outcome.body else []
        if self._locate is not None:
            where = self._locate(outcome.value, call.arguments)
            fields.append((b"location", f"{call.root}{where}".encode()))
        elif self.operation.kind is Kind.JOB:
            fields.append((b"location", f"{call.root}{STATUS_PATH}{outcome.value.id}".encode()))
        return status, fields

    def _answering(self, inner: Handler, expander: Expander | None, watches: Watches) -> Handler:
        binder, encode, limit = self._binder, self._encode, self._limit
        described = binder.body

        async def answer(call: Call) -> Outcome:
            assert isinstance(call, RestCall)
            accept = call.fields.get(b"accept")
            if accept is not None and not accepts(accept, JSON):
                raise NotAcceptable(available=(JSON,))
            if described is None:
                body.refuse_content(call)
                arguments = binder.head(call)
            else:
                arguments = binder.bind(call, await body.read(call, described, limit))
            if expander is not None:
                _expanding(call, arguments, expander)
            call.arguments = arguments
            call.encode = encode
            watches.start(call)
            try:
                return await inner(call)
            finally:
                watches.stop(call)

        return answer

    def _streaming(self, inner: Handler) -> Handler:
        binder, limit = self._binder, self._limit
        described = binder.body

        async def answer(call: Call) -> Outcome:
            assert isinstance(call, RestCall)
            accept = call.fields.get(b"accept")
            if accept is not None and not accepts(accept, EVENT_STREAM):
                raise NotAcceptable(available=(EVENT_STREAM,))
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

    Raises:
        ValueError: Two operations have the same route; `describe` reports that as a fault before.
    """

    def __init__(self, api: Api, runtime: Runtime) -> None:
        self._runtime = runtime
        self._monotonic = runtime.clock.monotonic
        self._router: Router[Endpoint] = Router()
        self._unrouted = chain.unrouted(runtime, _refuse)
        self._new_request_id = request_ids(runtime)
        self._streams = Streams()
        runtime.at_end(self._streams.end)
        watches = Watches()
        for op in api.operations:
            self._router.add(op.face.method, op.path, Endpoint(op, api, runtime, watches))

    async def __call__(self, scope: Scope, receive: Receive, send: Send, path: str) -> None:
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
            await self.refuse(scope, receive, send, path, malformed)
            return
        if found is None:
            await self.refuse(scope, receive, send, path, RouteNotFound(detail=f"Nothing is served under {path}."))
            return
        routes, values = found
        verb = scope["method"]
        endpoint = routes.by_method.get(verb)
        if endpoint is None:
            if verb == "OPTIONS":
                await self.options(scope, receive, send, path, routes.allow)
            else:
                refusal = MethodNotAllowed(detail=f"{path} allows {', '.join(routes.allow)}.", allowed=routes.allow)
                await self.refuse(scope, receive, send, path, refusal)
            return
        call = RestCall(endpoint.operation, scope, receive, path, self._monotonic(), self._new_request_id)
        call.values = values
        if endpoint.streams:
            await self._stream(endpoint, call, send)
        else:
            await self._answer(endpoint, call, send)

    def request_id(self, fields: Mapping[bytes, bytes]) -> bytes:
        """Return the id that a request brought, or a new one."""
        given = fields.get(b"request-id")
        if given is not None and REQUEST_ID.fullmatch(given) is not None:
            return given
        return self._new_request_id().encode()

    async def refuse(self, scope: Scope, receive: Receive, send: Send, path: str, error: Error) -> None:
        """Answer a request that leads to no operation with an error."""
        call = RestCall(None, scope, receive, path, self._monotonic(), self._new_request_id)
        call.refusal = error
        try:
            await self._unrouted(call)
        except Error as refused:
            await self._send_problem(call, refused, send)

    async def options(self, scope: Scope, receive: Receive, send: Send, path: str, allow: tuple[str, ...]) -> None:
        """Answer ``OPTIONS`` with what is allowed."""
        call = RestCall(None, scope, receive, path, self._monotonic(), self._new_request_id)
        await self._unrouted(call)
        await _send(call, 204, [(b"allow", ", ".join(allow).encode())], b"", send)

    async def _answer(self, endpoint: Endpoint, call: RestCall, send: Send) -> None:
        try:
            try:
                outcome = await endpoint.handler(call)
                status, fields = endpoint.head(call, outcome)
            except Error as refused:
                await self._send_problem(call, refused, send)
            except Exception as broken:
                await self._broken(call, broken, send)
            else:
                await _send(call, status, fields, outcome.body or b"", send)
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
                await _send(call, 200, list(EVENT_FIELDS), b"", send)
            else:
                await self._follow(call, outcome.value, send)
        except Error as refused:
            await self._send_problem(call, refused, send)
        except OSError:  # by `send`: the client is gone, and the server says it like this (ASGI 2.4)
            call.code = Code.CANCELLED
        finally:
            call.finish(CLIENT_CLOSED_REQUEST, 0)  # where nothing was sent

    async def _follow(self, call: RestCall, items: AsyncIterator[Any], send: Send) -> None:
        """Send a stream to its end.

        Raises:
            Error: It failed before anything was sent; once it has begun, it says what is wrong in an event.
        """
        events = Events(call, items, _finished(call, list(EVENT_FIELDS)), send, self._streams)
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
        await _send(call, shown.status, shown.fields, shown.body, send)


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


async def _send(call: RestCall, status: int, fields: list[tuple[bytes, bytes]], content: bytes, send: Send) -> None:
    size = len(content)
    if status != 204:
        fields.append((b"content-length", b"%d" % size))
    await send({"type": "http.response.start", "status": status, "headers": _finished(call, fields)})
    if call.verb == "HEAD":
        content, size = b"", 0
    await send({"type": "http.response.body", "body": content})
    call.finish(status, size)


def _finished(call: RestCall, fields: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    fields.append((b"request-id", call.request_id.encode()))
    if call.notes is not None:
        fields.extend(call.notes)
    return fields
