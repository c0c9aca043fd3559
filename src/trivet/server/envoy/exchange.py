"""One request between pyvoy and an application: what pyvoy leaves out of the ASGI specification is added here."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from trivet.core.error import Internal
from trivet.server.interface import ASGIApp, Message, Receive, Scope, Send
from trivet.server.refusal import refusal
from trivet.telemetry.log import Logger

T = TypeVar("T")

FIRST_SECONDS = 0.05
LAST_SECONDS = 1.0


def unbroken(awaited: Awaitable[T]) -> Awaitable[T]:
    """Return what to wait for instead: a future that has yet to be done is left alone when its waiter is cancelled."""
    return asyncio.shield(awaited) if isinstance(awaited, asyncio.Future) else awaited


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
        if self._read:
            return await self._disconnected()
        message = await self._next()
        if not message.get("more_body", False):
            self._read = True
        return message

    async def _next(self) -> Message:
        asked = self._asked
        if asked is None:
            asked = self._asked = self._receive()
        message = await unbroken(asked)
        self._asked = None
        return message

    async def send(self, message: Message) -> None:
        """Send a message of the answer."""
        if message["type"] == "http.response.start":
            self._started = True
        elif not message.get("more_body", False):
            self._ended = True
        await unbroken(self._send(message))

    async def _disconnected(self) -> Message:
        pause = FIRST_SECONDS
        while not self._ended:
            message = await self._next()
            if message["type"] == "http.disconnect":
                return message
            await asyncio.sleep(pause)
            pause = min(pause * 2, LAST_SECONDS)
        return {"type": "http.disconnect"}

    async def _fail(self) -> None:
        status, fields, body = refusal(Internal)
        await self.send({"type": "http.response.start", "status": status, "headers": fields})
        await self.send({"type": "http.response.body", "body": body})
