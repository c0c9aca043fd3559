"""Items that come in while an operation runs, at the pace at which its handler asks for them.

Nothing is read ahead: the body is read when the next item is asked for and is not there yet. What the handler has no
time for stays in the connection, whose flow control stops who sends. So a stream of any length takes the memory of one
piece of the body and of one item.

Each item is checked like any input. One that is refused is refused alone: the error is raised where it was asked for,
with its place in the pointers (``#/products/17/sku``). A handler that does not catch it ends the call; one that does
can ask for the next. Where nobody knows any more where the next one would begin, or none will come, nothing more is
read: then there are no more items, and the call ends with that error whatever the handler returns.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any, Protocol

from trivet.core.call import Handler, Outcome
from trivet.core.declaration import Kind
from trivet.core.error import Cancelled, DeadlineExceeded, Error, InvalidArgument, Unavailable, Violation
from trivet.core.idempotency import refuse_key
from trivet.runtime import Runtime
from trivet.transports.disconnect import Watches


class Draining(Unavailable):
    """This process is about to end; continue elsewhere, after the last position."""


class Split(Protocol):
    """Takes a body apart into items, without I/O."""

    def feed(self, piece: bytes) -> None:
        """Add what came; to be used once nothing more can be taken."""

    def end(self) -> None:
        """Note that nothing more comes."""

    def take(self) -> bytes | None:
        """Return the next item, ``None`` where it is not there yet.

        Raises:
            Error: It is none, or too large, or cut by the end.
        """
        ...


class Items(AsyncIterator[Any]):
    """The items of one request; one task at a time may ask for the next.

    Args:
        call: The request.
        split: Takes its body apart.
        decode: Makes an item of its bytes.
        name: The parameter.
        idle: Seconds that the next item is waited for.
        intakes: All of them in this process.

    Attributes:
        ended: Whether the client has sent everything.
        then: Called when it has.
    """

    __slots__ = (
        "_call", "_count", "_decode", "_drained", "_failed", "_first", "_idle", "_intakes", "_name", "_split",
        "_waiting", "ended", "then",
    )  # fmt: skip

    def __init__(
        self,
        call: Any,
        split: Split,
        decode: Callable[[bytes], Any],
        name: str,
        idle: float,
        intakes: Intakes,
    ) -> None:
        self._call = call
        self._split = split
        self._decode = decode
        self._name = name
        self._idle = idle
        self._intakes = intakes
        self._count = 0
        self._first: tuple[Callable[[Any], Any], Any] | None = None
        self._failed: Error | None = None
        self._waiting: asyncio.Task[Any] | None = None
        self._drained = False
        self.ended = False
        self.then: Callable[[], Any] | None = None

    async def __anext__(self) -> Any:
        if self._first is not None:
            decode, given = self._first
            self._first = None
        else:
            decode, given = self._decode, await self.content()
            if given is None:
                raise StopAsyncIteration
        place = self._count
        self._count += 1
        try:
            return decode(given)
        except InvalidArgument as refused:
            raise self._placed(refused, place) from refused

    def begin(self, decode: Callable[[Any], Any], given: Any) -> None:
        """Let something be the first item that came with something else.

        Args:
            decode: Makes the item of it.
            given: What came.
        """
        self._first = decode, given

    def _placed(self, refused: InvalidArgument, place: int) -> InvalidArgument:
        where = f"#/{self._name}/{place}"
        found = refused.violations or (Violation(detail=refused.detail or refused.message),)
        moved = tuple(Violation(detail=each.detail, pointer=f"{where}{each.pointer[1:]}") for each in found)
        return InvalidArgument(detail=refused.detail, violations=moved)

    async def content(self) -> bytes | None:
        """Return the bytes of the next item, ``None`` after the last one.

        Raises:
            Error: They are none, they do not come in time, the client went away, or the process is about to end.
        """
        if self._failed is not None:
            return None
        try:
            while (found := self._split.take()) is None and not self.ended:
                await self._read()
        except Error as failed:
            self._failed = failed
            raise
        return found

    def check(self) -> None:
        """Hold the call to what could not be read, also where its handler went on.

        Raises:
            Error: Why nothing more could be.
        """
        if self._failed is not None:
            raise self._failed

    async def answered(self, inner: Handler, watches: Watches) -> Outcome:
        """Return the only answer to all items; a client that goes away after the last one ends the call.

        Args:
            inner: The rest of the chain.
            watches: Of clients that have sent everything.
        """
        self.then = partial(watches.start, self._call)
        try:
            outcome = await inner(self._call)
            self.check()
            return outcome
        finally:
            self.then = None
            watches.stop(self._call)

    async def _read(self) -> None:
        """Read the next piece of the body."""
        if self._waiting is not None:
            raise RuntimeError(f"{self._name}: two tasks ask for the next item at once; let one of them ask")
        task = asyncio.current_task()
        assert task is not None  # a coroutine runs in a task
        alarm = self._intakes.wait(self, self._idle, task)
        self._waiting = task
        try:
            message = await self._call.receive()
        except asyncio.CancelledError as cancelled:
            if task.cancelling() == 1 and (alarm.rang or self._drained):
                task.uncancel()
                raise self._late() if alarm.rang else Draining(retry_after=0) from cancelled
            raise
        finally:
            self._waiting = None
            self._intakes.go_on(self, alarm)
        if message["type"] == "http.disconnect":
            self._call.gone = True
            raise Cancelled
        self._split.feed(message.get("body", b""))
        if not message.get("more_body", False):
            self.ended = True
            self._split.end()
            if self.then is not None:
                self.then()

    def _late(self) -> DeadlineExceeded:
        return DeadlineExceeded(detail=f"No item came for {self._idle:g} seconds.")

    def drain(self) -> None:
        """Stop waiting: the process is about to end. Where items go out as well, who sends those cancels the wait."""
        self._drained = True
        if self._waiting is not None and self._call.operation.kind is Kind.INTAKE:
            self._waiting.cancel()


class Intakes:
    """All requests of this process whose items are waited for.

    Args:
        runtime: What is open while the process runs.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._waiting: set[Items] = set()
        self._ending = False
        runtime.at_end(self._end)

    def items(self, call: Any, split: Split, decode: Callable[[bytes], Any]) -> Items:
        """Return the items of a request, and let the call know them.

        Args:
            call: The request.
            split: Takes its body apart.
            decode: Makes an item of its bytes.

        Raises:
            InvalidArgument: It has an idempotency key, by which a stream can not be known.
        """
        refuse_key(call.fields)
        operation = call.operation
        items = call.items = Items(
            call, split, decode, operation.signature.items.name, operation.declaration.idle, self
        )
        return items

    def wait(self, items: Items, seconds: float, task: asyncio.Task[Any]) -> Any:
        """Return the alarm that ends a wait.

        Raises:
            Draining: There is none any more.
        """
        if self._ending:
            raise Draining(retry_after=0)
        self._waiting.add(items)
        return self._runtime.ages.arm(self._runtime.clock.monotonic() + seconds, task)

    def go_on(self, items: Items, alarm: Any) -> None:
        """Note that a wait is over."""
        self._waiting.discard(items)
        self._runtime.ages.disarm(alarm)

    def _end(self) -> None:
        self._ending = True
        for items in self._waiting:
            items.drain()
