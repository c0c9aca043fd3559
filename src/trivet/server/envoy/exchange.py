"""One request between pyvoy and an application: what pyvoy leaves out of the ASGI specification is added here."""

from __future__ import annotations

import asyncio
from asyncio import Future
from collections.abc import Awaitable, Callable, Generator
from contextvars import Context
from typing import Any, TypeVar

from trivet.core.error import Internal
from trivet.server.interface import ASGIApp, Message, Receive, Scope, Send
from trivet.server.refusal import refusal
from trivet.telemetry.log import Logger

T = TypeVar("T")

FIRST_SECONDS = 0.05
LAST_SECONDS = 1.0


def unbroken(awaited: Awaitable[T]) -> Awaitable[T]:
    """Return what to wait for instead: a future that has yet to be done is left alone when its waiter is cancelled."""
    return Unbroken(awaited) if isinstance(awaited, Future) else awaited


class Unbroken(Awaitable[T]):
    """Waits for a future as `asyncio.shield` does, without a second future and a turn of the event loop in between.

    Args:
        future: What is waited for, by one task.
    """

    __slots__ = ("_future",)

    def __init__(self, future: Future[T]) -> None:
        self._future = future

    def __await__(self) -> Generator[Any, None, T]:
        if not self._future.done():
            try:
                yield Wait(self._future)
            except asyncio.CancelledError:
                self._future.add_done_callback(_heard)
                raise
        return self._future.result()


def _heard(future: Future[Any]) -> None:
    """Take note of how a future failed, which asyncio would log otherwise: nobody waits for it any more."""
    if not future.cancelled():
        future.exception()


class Wait:
    """What a task is told to wait for (`asyncio.isfuture` has what it must look like); can be given up.

    Args:
        future: What wakes the task.
    """

    __slots__ = ("_asyncio_future_blocking", "_context", "_future", "_wake")

    def __init__(self, future: Future[Any]) -> None:
        self._asyncio_future_blocking = True
        self._future = future
        self._wake: Callable[[Future[Any]], object]
        self._context: Context | None = None

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """Return the loop of the future."""
        return self._future.get_loop()

    def add_done_callback(self, wake: Callable[[Future[Any]], object], *, context: Context | None = None) -> None:
        """Let the task be woken."""
        self._wake, self._context = wake, context
        self._future.add_done_callback(wake, context=context)

    def cancel(self, msg: Any = None) -> bool:
        """Wake the task with its cancellation, and leave the future alone."""
        future = self._future
        if future.done():  # the task is being woken
            return False
        future.remove_done_callback(self._wake)
        loop = future.get_loop()
        given_up = loop.create_future()
        given_up.cancel(msg)
        loop.call_soon(self._wake, given_up, context=self._context)
        return True


class Exchange:
    """Gives an application a `receive` that waits for the disconnect, and sees that the request is answered.

    Once the body is read, pyvoy's own `receive` returns at once, again and again, until the client is gone. An
    application that waits there for the disconnect would take all of the processor. So it is asked now and then, and
    only while somebody waits. Nor does pyvoy bear that somebody stops waiting for it: a task that is cancelled stops,
    and what it waited for is left as it is.

    Args:
        receive: pyvoy's.
        send: pyvoy's.
        log: Where failures of the application are written.
    """

    __slots__ = ("_asked", "_ended", "_log", "_read", "_receive", "_send", "_started")

    def __init__(self, receive: Receive, send: Send, log: Logger) -> None:
        self._receive = receive
        self._asked: Awaitable[Message] | None = None
        self._send = send
        self._log = log
        self._read = self._started = self._ended = False

    async def run(self, app: ASGIApp, scope: Scope) -> None:
        """Let the application answer; one that fails is answered for, or cut off in the middle of its answer."""
        try:
            await app(scope, self.receive, self.send)
        except asyncio.CancelledError:
            return  # the server is ending, and Envoy closes the connection
        except Exception as failed:
            if isinstance(failed, OSError) and (await self._receive())["type"] == "http.disconnect":
                return  # the client is gone, and `send` says so (ASGI 2.4)
            if not self._started:
                self._log.failure("the application failed", failed)
            elif not self._ended:
                raise  # resets the stream: what was sent is not the whole answer
        if not self._started:
            await self._fail()

    async def receive(self) -> Message:
        """Return the next message of the request."""
        pause = FIRST_SECONDS
        while not (self._read and self._ended):
            asked = self._asked
            if asked is None:
                asked = self._asked = self._receive()
            message = await unbroken(asked)
            self._asked = None
            if not self._read:
                self._read = not message.get("more_body", False)
                return message
            if message["type"] == "http.disconnect":
                return message
            await asyncio.sleep(pause)
            pause = min(pause * 2, LAST_SECONDS)
        return {"type": "http.disconnect"}

    def send(self, message: Message) -> Awaitable[None]:
        """Send a message of the answer."""
        if not self._started:
            self._started = message["type"] == "http.response.start"
        elif not message.get("more_body", False):
            self._ended = True
        return unbroken(self._send(message))

    async def _fail(self) -> None:
        status, fields, body = refusal(Internal)
        await self.send({"type": "http.response.start", "status": status, "headers": fields})
        await self.send({"type": "http.response.body", "body": body})
