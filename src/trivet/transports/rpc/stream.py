"""Streams on their way to readers: at the reader's pace, until it goes away or the process is about to end.

Nothing is kept for a slow reader: the next item is asked for when the last ones are sent, and only items that are there
without waiting are sent `together`. A reader that goes away is heard of by a
task of its own; a process that drains ends its streams with `Draining`, and readers continue elsewhere after the last
position that they saw.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

from trivet.core.error import Code, Error, Internal
from trivet.transports.intake import Draining
from trivet.transports.rpc.exchange import RpcCall
from trivet.transports.rpc.status import Status
from trivet.transports.rpc.together import Together


class Reading:
    """One stream and the task that sends it."""

    __slots__ = ("call", "drained", "listener", "task")

    def __init__(self, call: RpcCall, task: asyncio.Task[Any]) -> None:
        self.call = call
        self.task = task
        self.drained = False
        self.listener: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Hear of the reader going away; where items come in, who asks for them hears of it until all are there."""
        items = self.call.items
        if items is None or items.ended:
            self.listener = asyncio.ensure_future(self._listen())
        else:
            items.then = self.start

    def stop(self) -> None:
        """Leave the reader alone from now on."""
        if self.call.items is not None:
            self.call.items.then = None
        if self.listener is not None:
            self.listener.cancel()

    async def _listen(self) -> None:
        while (await self.call.receive())["type"] != "http.disconnect":
            pass
        self.call.gone = True
        self.task.cancel()


class Streams:
    """All streams of this process that are being read.

    Args:
        status: Says an error to the reader.
        broken: Told of what no policy saw.
    """

    def __init__(
        self, status: Callable[[RpcCall, Error], Status], broken: Callable[[RpcCall, Exception], None]
    ) -> None:
        self._status = status
        self._broken = broken
        self._open: set[Reading] = set()
        self._ending = False

    def end(self) -> None:
        """End every stream, those that are still to come included: their readers continue elsewhere."""
        self._ending = True
        for reading in self._open:
            reading.drained = True
            reading.task.cancel()

    async def send(self, call: RpcCall, items: AsyncIterator[Any], write: Callable[[Any, str | None], bytes]) -> None:
        """Send a stream to its end.

        Args:
            call: The request.
            items: What is streamed; closed in any case.
            write: Makes a message of an item and its position.
        """
        task = asyncio.current_task()
        assert task is not None  # a coroutine runs in a task
        reading = Reading(call, task)
        reading.start()
        self._open.add(reading)
        failed: Error | None = None
        together = Together(call.speech.piece)
        try:
            await call.speech.begin(call)
            item = call.speech.item
            if self._ending:
                raise Draining(retry_after=0)
            while True:
                try:
                    each = await together.next(items)
                except StopAsyncIteration:
                    if call.items is not None:
                        call.items.check()
                    break
                place = call.position
                await together.add(item(write(each, None if place is None else str(place))))
        except Error as refused:
            failed = refused
        except asyncio.CancelledError:
            if not (call.gone or reading.drained) or task.uncancel() > 0:
                raise  # not by us
            failed = Draining(retry_after=0)
        except OSError:  # by `send`: the client is gone, and the server says it like this (ASGI 2.4)
            call.gone = True
        except Exception as unwritable:  # an item that can not be written
            self._broken(call, unwritable)
            failed = Internal()
        finally:
            self._open.discard(reading)
            reading.stop()
            close = getattr(items, "aclose", None)
            if close is not None:
                await close()
        if call.gone:
            call.code = Code.CANCELLED
            return
        if failed is not None:
            call.code, call.error = failed.code, call.error or failed
        await together.flush()
        await call.speech.end(call, None if failed is None else self._status(call, failed))
