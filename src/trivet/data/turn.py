"""Taking turns: a lock for what is asked again and again, and hardly ever by two at once."""

from __future__ import annotations

import asyncio
from collections import deque


class Turn:
    """One at a time, in the order of arrival, as `asyncio.Lock` has it.

    Where nobody is in the way it is taken without a coroutine, at a quarter of the price::

        if not turn.free():
            await turn.wait()
        try:
            ...
        finally:
            turn.release()
    """

    __slots__ = ("_taken", "_waiting")

    def __init__(self) -> None:
        self._taken = False
        self._waiting: deque[asyncio.Future[None]] | None = None  # made when somebody waits

    def free(self) -> bool:
        """Take it where nobody has it, and return whether that was so."""
        if self._taken:
            return False
        self._taken = True
        return True

    async def wait(self) -> None:
        """Take it when whoever has it, and all who waited before, are done."""
        if self._waiting is None:
            self._waiting = deque()
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            await waiter
        except BaseException:
            if not waiter.cancelled():  # it was given at the moment at which the wait ended
                self.release()
            raise

    def release(self) -> None:
        """Give it to the next one."""
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)  # it stays taken: nobody else can come in between
                return
        self._taken = False

    def locked(self) -> bool:
        """Whether somebody has it."""
        return self._taken

    async def __aenter__(self) -> None:
        if not self.free():
            await self.wait()

    async def __aexit__(self, *exc: object) -> None:
        self.release()
