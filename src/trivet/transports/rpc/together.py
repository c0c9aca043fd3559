"""What is there without waiting is sent together; before anything is waited for, what is there is sent.

Sending costs more than most messages do. An iterator whose next item is ready gives it without suspending its task, so
items are collected for as long as that lasts, up to a bound. The moment it suspends, what was collected goes out, and
only then the task waits: no message is ever held back.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from typing import Any

BOUND = 16 * 1024
"""Bytes that are sent at once at most, unless one message is larger: what HTTP/2 puts into one frame."""


class Together:
    """Collects pieces, and sends them as one.

    Args:
        send: Sends a piece.
    """

    __slots__ = ("_pieces", "_send", "_size")

    def __init__(self, send: Callable[[bytes], Awaitable[None]]) -> None:
        self._send = send
        self._pieces: list[bytes] = []
        self._size = 0

    async def add(self, piece: bytes) -> None:
        """Take a piece; sends when there are enough."""
        self._pieces.append(piece)
        self._size += len(piece)
        if self._size >= BOUND:
            await self.flush()

    async def flush(self) -> None:
        """Send what is there."""
        if self._pieces:
            content = b"".join(self._pieces) if len(self._pieces) > 1 else self._pieces[0]
            self._pieces, self._size = [], 0
            await self._send(content)

    def next(self, items: AsyncIterator[Any]) -> Awaitable[Any]:
        """Return the next item; before it is waited for, what is there is sent."""
        return _Next(items.__anext__(), self)

    @property
    def empty(self) -> bool:
        """Whether there is nothing to send."""
        return not self._pieces


class _Next:
    __slots__ = ("_awaited", "_together")

    def __init__(self, awaited: Awaitable[Any], together: Together) -> None:
        self._awaited = awaited
        self._together = together

    def __await__(self) -> Generator[Any, Any, Any]:
        step: Any = self._awaited.__await__()
        try:
            waits_for = next(step)
        except StopIteration as ready:
            return ready.value
        if not self._together.empty:
            try:
                yield from self._together.flush().__await__()
            except (asyncio.CancelledError, GeneratorExit) as ended:
                return (yield from _thrown(step, ended))
            except BaseException:  # it can not be sent: the iterator stops waiting, as for a cancelled task
                with contextlib.suppress(asyncio.CancelledError, StopAsyncIteration):
                    yield from _thrown(step, asyncio.CancelledError())
                raise
        return (yield from _resumed(step, waits_for))


def _resumed(step: Any, waits_for: Any) -> Generator[Any, Any, Any]:
    """Go on with what was begun, as ``yield from`` would, from what it waits for."""
    while True:
        try:
            yield waits_for
        except BaseException as thrown:
            return (yield from _thrown(step, thrown))
        try:
            waits_for = next(step)
        except StopIteration as done:
            return done.value


def _thrown(step: Any, thrown: BaseException) -> Generator[Any, Any, Any]:
    """Raise an exception inside of what was begun, and go on with it."""
    try:
        waits_for = step.throw(thrown)
    except StopIteration as done:
        return done.value
    return (yield from _resumed(step, waits_for))
