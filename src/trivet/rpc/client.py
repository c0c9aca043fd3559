"""The client of another app: operations are called as ``ctx.call`` calls them, and run over there.

What is sent follows from the operation, so that types hold on both sides. A call that is made for another call
(`Client.within`) takes along what is left of its time, its trace, its consistency token and what it is known by; a
command always has an idempotency key, so that asking again changes nothing more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar, overload
from uuid import uuid4

from trivet.app import App
from trivet.core.context import Read, Run, Write
from trivet.core.declaration import Kind
from trivet.core.error import DeadlineExceeded, Error, Internal, Unauthenticated
from trivet.core.job import JobStatus
from trivet.core.operation import Command, Intake, Job, Operation, Query, Stream
from trivet.core.resource import Resource
from trivet.policies.work import permitted
from trivet.rpc.dialect import Connect, Dialect, Grpc, Refused
from trivet.rpc.errors import AnswerUnreadable, error_of
from trivet.rpc.http import Http, HttpVersion, Tls
from trivet.rpc.incoming import Incoming
from trivet.rpc.method import RemoteApi, RemoteMethod
from trivet.rpc.onward import CONSISTENCY, Onward
from trivet.rpc.outgoing import Outgoing
from trivet.rpc.retry import Budget, pause_of, retryable

if TYPE_CHECKING:
    from pyqwest import Response

P = ParamSpec("P")
R = TypeVar("R")

Authorization = Callable[[], str] | Literal["caller"] | None

DIALECTS: Mapping[str, Dialect] = {"connect": Connect(), "grpc": Grpc()}


class Client:
    """Calls the operations of another app, wherever it runs.

    ::

        async with Client("http://catalog.internal:8000", catalog_app) as client:
            product = await client.call(get_product, product_id)

    Any number of tasks may use it at the same time.

    Args:
        url: Where the app is served.
        app: The app, as this process knows it. It is only read, never run here.
        protocol: What is spoken. gRPC needs a server with trailers, which uvicorn is not.
        http_version: HTTP/2, or HTTP/1.1 for a server that has nothing else.
        tls: Whom to trust, and who we are, for ``https``.
        authorization: Returns ``Authorization`` for each request; ``"caller"`` passes on what the calling request had.
        calls_max: Calls at once; further ones wait until their time is up.
        streams_max: Streams at once.
        answer_max: Bytes that a message may have.

    Raises:
        FaultyApp: The app could not start.
        RuntimeError: pyqwest is not installed.
        ValueError: The URL or the certificates can not be used.
    """

    def __init__(
        self,
        url: str,
        app: App,
        *,
        protocol: Literal["connect", "grpc"] = "connect",
        http_version: HttpVersion = "2",
        tls: Tls | None = None,
        authorization: Authorization = None,
        calls_max: int = 100,
        streams_max: int = 100,
        answer_max: int = 16 * 1024 * 1024,
    ) -> None:
        self.url = url
        self.api = RemoteApi(app)
        self.dialect = DIALECTS[protocol]
        self.answer_max = answer_max
        self.http = Http(url, http_version, tls or Tls())
        self.streams = asyncio.Semaphore(streams_max)
        self._calls = asyncio.Semaphore(calls_max)
        self._budget = Budget()
        self._authorization: Authorization = authorization
        self._timeout: float | None = None
        self._key: str | None = None
        self._headers: Mapping[str, str] = {}
        self._onward: Onward | None = None
        self._ctx: Read | None = None
        self._service: Resource[Any] | None = None
        self._token: str | None = None

    def __repr__(self) -> str:
        return f"Client({self.url!r}, {self.api.name!r})"

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self.http.close()

    # -- the same client, in other circumstances

    def within(self, ctx: Read, service: Resource[Any] | None = None) -> Client:
        """Return this client for what one operation calls: on its behalf, in its time, as a part of its trace.

        It remembers the consistency token of what it changed, so that what it reads afterwards is not older.

        Args:
            ctx: The context of the operation.
            service: What the client is a resource of; it may be called inside a transaction only where that is
                declared.
        """
        client = self._copy()
        client._ctx, client._onward, client._service = ctx, Onward(ctx._work.root), service
        return client

    def with_options(
        self,
        *,
        timeout: float | None = None,
        idempotency_key: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Client:
        """Return this client with something said about its calls.

        Args:
            timeout: Seconds that an answer is waited for; the operation's own when absent.
            idempotency_key: By which a command takes effect once, however often it is called; drawn when absent.
            headers: Further header fields.
        """
        client = self._copy()
        client._timeout = timeout if timeout is not None else self._timeout
        client._key = idempotency_key if idempotency_key is not None else self._key
        client._headers = {**self._headers, **(headers or {})}
        return client

    def _copy(self) -> Client:
        client = Client.__new__(Client)
        client.__dict__.update(self.__dict__)
        return client

    # -- calling

    @overload
    async def call(self, operation: Query[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    async def call(self, operation: Command[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    async def call(self, operation: Stream[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Incoming[R]: ...
    @overload
    async def call(self, operation: Intake[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    async def call(self, operation: Job[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> JobStatus: ...
    async def call(self, operation: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Run an operation over there and return its result; a stream gives its items, a job its status.

        A stream whose connection ends is resumed after its last item. Whoever leaves it early closes it (``aclose``).
        Items that are sent are taken from their iterator as the other process asks for them, and once: such a call is
        never repeated.

        Raises:
            Error: What the operation raised, as the class that it is, or why it could not be asked.
            TypeError: The arguments do not fit, or it may not be called from here.
        """
        self._permit(operation)
        arguments = operation.signature.arguments(args, kwargs)
        method = self.api.method(operation)
        if operation.signature.items is not None:
            outgoing = Outgoing(method, arguments, arguments.pop(operation.signature.items.name))
            if operation.kind is Kind.STREAM:
                return await Incoming[Any].start(self, method, arguments, outgoing)
            return await self._send(method, outgoing)
        if operation.kind is Kind.STREAM:
            return await Incoming[Any].start(self, method, arguments)
        message = method.request(arguments)
        headers = self.headers(operation, message)
        seconds = self._seconds(operation)
        try:
            async with asyncio.timeout(seconds) as limit:
                return await self._attempts(method, message, headers, limit.when() or 0.0)
        except TimeoutError as late:
            raise DeadlineExceeded(detail=f"{self.api.name} did not answer within {seconds:g} s.") from late

    async def _send(self, method: RemoteMethod, outgoing: Outgoing) -> Any:
        """Send items, and return what is answered to all of them."""
        seconds = self.given()
        fields = self.dialect.headers(self.api.format, True, seconds) | self.headers(method.operation, b"")
        try:
            async with asyncio.timeout(seconds), self.streams:
                with outgoing.failing():
                    async with await self.http.post(method.path, fields, outgoing.content()) as response:
                        return method.result(await self._only(method, response))
        except TimeoutError as late:
            raise DeadlineExceeded(detail=f"{self.api.name} did not answer within {seconds:g} s.") from late

    async def _only(self, method: RemoteMethod, response: Response) -> bytes:
        try:
            await self.dialect.check(response)
            found = [message async for message in self.dialect.messages(response, self.answer_max)]
        except Refused as refused:
            raise self.error(refused, method.operation) from None
        if len(found) != 1:
            raise AnswerUnreadable(detail=f"The answer has {len(found)} messages.")
        return found[0]

    def given(self) -> float | None:
        """Return the seconds that a call with items is given; ``None`` where it takes what it takes."""
        seconds = self._timeout if self._timeout is not None else float("inf")
        if self._onward is not None:
            seconds = min(seconds, self._onward.remaining())
        if seconds <= 0:
            raise DeadlineExceeded(detail="There was no time left to ask.")
        return seconds if seconds < float("inf") else None

    def _permit(self, operation: Operation[..., Any]) -> None:
        """Hold calls from an operation to the rules of calls between modules."""
        ctx = self._ctx
        if ctx is None:
            return
        permitted(ctx, operation)
        if (operation.kind.writes or operation.takes) and not isinstance(ctx, Write | Run):
            raise TypeError(f"{operation.id} changes something; a query can not call it: make the caller a command")
        if self._service is not None:
            ctx._work.leave(self._service)

    def _seconds(self, operation: Operation[..., Any]) -> float:
        declared = operation.declaration
        seconds = self._timeout if self._timeout is not None else declared.timeout_max or declared.timeout
        if self._onward is not None:
            seconds = min(seconds, self._onward.remaining())
        if seconds <= 0:
            raise DeadlineExceeded(detail="There was no time left to ask.")
        return seconds

    async def _attempts(self, method: RemoteMethod, message: bytes, headers: Mapping[str, str], until: float) -> Any:
        """Ask until there is an answer that stands."""
        monotonic = asyncio.get_running_loop().time
        attempt = 0
        while True:
            attempt += 1
            try:
                async with self._calls:
                    answer = await self._once(method, message, headers, until - monotonic())
            except Error as refused:
                pause = self.pause(refused, attempt, until - monotonic())
                if pause is None:
                    raise
                await asyncio.sleep(pause)
            else:
                self._budget.succeeded()
                return method.result(answer)

    async def _once(self, method: RemoteMethod, message: bytes, headers: Mapping[str, str], seconds: float) -> bytes:
        fields = {**self.dialect.headers(self.api.format, False, seconds), **headers}
        async with await self.http.post(method.path, fields, self.dialect.content(message, False)) as response:
            try:
                answer = await self.dialect.message(response, self.answer_max)
            except Refused as refused:
                raise self.error(refused, method.operation) from None
            if method.operation.kind.writes:
                self._token = response.headers.get(CONSISTENCY) or response.trailers.get(CONSISTENCY) or self._token
            return answer

    # -- what streams need too

    def pause(self, refused: Error, attempt: int, remaining: float) -> float | None:
        """Count a failure, and return after how many seconds to ask again, if at all.

        Args:
            refused: What went wrong.
            attempt: Which attempt it was; 0 for a stream that gave something before, which is no failure to answer.
            remaining: Seconds that are left.
        """
        pause = pause_of(refused, attempt, remaining, self._budget)
        if attempt and retryable(refused):
            self._budget.failed()
        return pause

    def headers(self, operation: Operation[..., Any], message: bytes) -> dict[str, str]:
        """Return the header fields of a call that its protocol does not say."""
        onward = self._onward
        found = onward.headers() if onward is not None else {}
        if self._authorization == "caller":
            given = onward.authorization() if onward is not None else None
        else:
            given = self._authorization() if self._authorization is not None else None
        if given is not None:
            found["authorization"] = given
        if self._token is not None:
            found[CONSISTENCY] = self._token
        if operation.kind.writes:
            drawn = onward.key(operation, message) if onward is not None else uuid4().hex
            found["idempotency-key"] = self._key or drawn
        return {**found, **self._headers}

    def error(self, refused: Refused, operation: Operation[..., Any]) -> Error:
        """Return what the other process said as an error of ours."""
        error = error_of(refused.said, operation)
        if isinstance(error, Unauthenticated) and self._onward is not None and self._authorization != "caller":
            error = Internal(detail=f"{self.api.name} does not accept the credentials of this process.")
        return error
