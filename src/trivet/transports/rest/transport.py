"""REST: a route for every operation, bound to its chains when the app is built."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import count
from typing import Any

from trivet.contracts.jobs import FILE_PATH, get_job, writes_files
from trivet.contracts.model import Api
from trivet.contracts.problem import MethodNotAllowed, NotAcceptable, RouteNotFound
from trivet.core.call import Call, Outcome
from trivet.core.error import Cancelled, Code, Error, Internal
from trivet.policies import chain
from trivet.runtime import Runtime
from trivet.transports.cors import Cors
from trivet.transports.disconnect import Watches
from trivet.transports.intake import Intakes
from trivet.transports.rest import problem
from trivet.transports.rest.caching import NOT_KEPT
from trivet.transports.rest.coding import AS_IT_IS, NO_CODING, Codings
from trivet.transports.rest.conditions import for_reading
from trivet.transports.rest.download import Download
from trivet.transports.rest.endpoint import Endpoint
from trivet.transports.rest.exchange import Receive, RestCall, Scope, Send
from trivet.transports.rest.render import location_of, readers_of
from trivet.transports.rest.reply import NOSNIFF, Finished, Reply, finished
from trivet.transports.rest.router import Router
from trivet.transports.rest.stream import FIELDS as EVENT_FIELDS
from trivet.transports.rest.stream import Events, Streams, WriteEvent, close, event
from trivet.transports.rest.timing import Timing

WITHOUT_CONTENT = (204, 304)
CLIENT_CLOSED_REQUEST = 499
EVENT_HEAD = (*EVENT_FIELDS, NOSNIFF)


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
        self._router: Router[Endpoint | Download] = Router()
        self._unrouted = chain.unrouted(runtime, _refuse)
        self.new_request_id = request_ids(runtime)
        self._development = runtime.settings.development
        self.codings = Codings(runtime.settings.compression)
        self._streams = Streams()
        runtime.at_end(self._streams.end)
        watches, intakes, readers = Watches(), Intakes(runtime), readers_of(api)
        for op in api.operations:
            endpoint = Endpoint(op, api, runtime, watches, intakes, self.codings, location_of(op, readers))
            self._router.add(op.face.method, op.path, endpoint)
            if op.operation is get_job and writes_files(api.modules):
                self._router.add("GET", FILE_PATH, Download(op, runtime, self.codings))

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
        if isinstance(endpoint, Download):
            return self._download(endpoint, call, send)
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

    async def _download(self, download: Download, call: RestCall, send: Send) -> None:
        try:
            outcome = await download.handler(call)
            await download.send(call, outcome.value, _finished, send)
        except Error as refused:
            await self._send_problem(call, refused, send)
        except OSError:  # by `send`: the client is gone, and the server says it like this (ASGI 2.4)
            call.code = Code.CANCELLED
        finally:
            if call.observer is not None:  # nothing was sent to the end
                call.finish(CLIENT_CLOSED_REQUEST, 0)

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
        return f"{prefix}-{next(numbers)}"  # in decimal, at half of what hexadecimal takes

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
