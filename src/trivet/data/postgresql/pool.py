"""A pool of connections: bounded, first come first served, and without a leak whatever is cancelled.

Its theory: nobody who wants a connection ever does anything slow for it. There either is a free one, which is taken
without waiting, or one waits for a future. Everything slow (to connect, to probe what was idle, to clean what was left
in the middle of something, to say goodbye) is done by tasks of the pool's own, which hand the connection on when they
are done. So a caller who is cancelled can be in one of two states only: it still waits and forgets its future, or it
was just given a connection and gives it back.

A connection counts against the pool's size from the moment at which it begins to open until it is closed. Free ones
are taken from the end at which they were put back, so that a few are busy and the rest grows old and goes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any, Generic, Protocol, TypeVar

from trivet.core.backoff import spread
from trivet.core.clock import Deadline
from trivet.core.error import DeadlineExceeded, Error
from trivet.core.shape import Struct
from trivet.data.database import DatabaseUnavailable
from trivet.data.pooled import UNCOUNTED, PoolObserver

CLEAN_SECONDS = 5.0
"""How long cleaning or probing a connection may take before it is dropped."""

PROBE_SECONDS = 30.0
"""After so long without use a connection is asked whether it still works: firewalls forget silently."""

AGAIN_SECONDS = 0.5
"""When a further connection can not be opened, how long those that are open have to do."""


class Pooled(Protocol):
    """What a pool keeps."""

    @property
    def closed(self) -> bool:
        """Whether it can not be used any more."""
        ...

    @property
    def clean(self) -> bool:
        """Whether the next one can use it as it is."""
        ...

    async def tidy(self) -> None:
        """Make it clean; raises when that is not possible."""
        ...

    async def probe(self) -> None:
        """Ask for a sign of life; raises when there is none."""
        ...

    def terminate(self) -> None:
        """Close it this instant."""
        ...


C = TypeVar("C", bound=Pooled)


class PoolOptions(Struct):
    """How a pool behaves.

    Attributes:
        size: Connections at most.
        queue: How many may wait for one.
        timeout: Seconds to wait for one.
        lifetime: Seconds for which one is used.
    """

    size: int = 10
    queue: int = 1000
    timeout: float = 3.0
    lifetime: float = 1800.0


class PoolFigures(Struct):
    """What a pool is doing just now.

    Attributes:
        size: Connections at most.
        open: Connections that exist or are being opened.
        free: Connections that nobody uses.
        waiting: How many wait for one.
    """

    size: int
    open: int
    free: int
    waiting: int


class Pool(Generic[C]):
    """Connections to one server, for one event loop.

    Args:
        connect: Opens a connection; raises `DatabaseUnavailable`.
        options: How it behaves.
        name: Of the server, for messages.

    Attributes:
        observer: Counts what it does.
    """

    def __init__(self, connect: Callable[[], Awaitable[C]], options: PoolOptions, name: object) -> None:
        self.observer: PoolObserver = UNCOUNTED
        self._connect = connect
        self._options = options
        self._name = name
        self._loop = asyncio.get_running_loop()
        self._free: list[tuple[C, float]] = []  # and when each was put back
        self._waiting: deque[asyncio.Future[C]] = deque()
        self._ends: dict[C, float] = {}  # of every connection that is open: when it is to be replaced
        self._opening = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._empty = asyncio.Event()
        self._empty.set()
        self._closed = False
        self._refused = False
        self._suspended: DatabaseUnavailable | None = None

    def __repr__(self) -> str:
        figures = self.figures
        return f"Pool({figures.open}/{figures.size} open, {figures.free} free, {figures.waiting} waiting)"

    @property
    def figures(self) -> PoolFigures:
        """What it is doing just now."""
        return PoolFigures(size=self._options.size, open=self._count, free=len(self._free), waiting=len(self._waiting))

    @property
    def _count(self) -> int:
        return len(self._ends) + self._opening

    # -- taking and giving back

    async def take(self, deadline: Deadline | None = None) -> C:
        """Return a connection that is the caller's alone, until it is given back.

        Raises:
            DatabaseUnavailable: None was free in time, too many wait already, or none can be opened.
            DeadlineExceeded: The deadline passed first.
        """
        connection = self.free()
        return connection if connection is not None else await self._wait(deadline)

    def free(self) -> C | None:
        """Take a connection that can be had without waiting, `None` where there is none."""
        if self._free and not self._waiting:
            now = self._loop.time()
            while self._free:
                connection, since = self._free.pop()
                if connection.closed:
                    self._forget(connection)
                elif now >= self._ends[connection]:
                    self._drop(connection)
                elif now - since >= PROBE_SECONDS:
                    self._begin(self._made_sure(connection, connection.probe))
                else:
                    self.observer.acquired(0.0)
                    return connection
        return None

    async def _wait(self, deadline: Deadline | None) -> C:
        options = self._options
        if self._closed:
            raise DatabaseUnavailable.because(f"{self._name} is closed")
        if self._suspended is not None:
            self.observer.refused("unavailable")
            raise _again(self._suspended)
        if len(self._waiting) >= options.queue:
            self.observer.refused("queue")
            raise DatabaseUnavailable.because(
                f"{self._name}: all {options.size} connections are in use and {len(self._waiting)} wait for one. "
                "Raise TRIVET_DATABASE__POOL_SIZE if the server has connections to spare",
                retry_after=1,
            )
        left = None if deadline is None else deadline.remaining()
        hurried = left is not None and left < options.timeout
        waiter: asyncio.Future[C] = self._loop.create_future()
        self._waiting.append(waiter)
        self._grow()
        began = self._loop.time()
        try:
            async with asyncio.timeout(left if hurried else options.timeout):
                connection = await waiter
        except BaseException as ended:
            if not waiter.done():
                waiter.cancel()
            if waiter.cancelled():
                with suppress(ValueError):  # whoever had a connection to hand on may have passed it by already
                    self._waiting.remove(waiter)
            elif waiter.exception() is None:
                self.give_back(waiter.result())  # it came at the moment at which the wait ended
            if isinstance(ended, DatabaseUnavailable):
                self.observer.refused("unavailable")
            if not isinstance(ended, TimeoutError):
                raise
            self.observer.refused("deadline" if hurried else "timeout")
            raise self._late(hurried) from ended
        self.observer.acquired(self._loop.time() - began)
        return connection

    def _late(self, hurried: bool) -> Error:
        if hurried:
            return DeadlineExceeded()
        options = self._options
        return DatabaseUnavailable.because(
            f"{self._name}: none of {options.size} connections was free for {options.timeout:g} s. "
            "Look for what holds them so long, or raise TRIVET_DATABASE__POOL_SIZE",
            retry_after=1,
        )

    def give_back(self, connection: C) -> None:
        """Return what was taken; never waits."""
        if connection.closed:
            self._forget(connection)
        elif self._closed:
            self._drop(connection)
        elif not connection.clean:
            self._begin(self._made_sure(connection, connection.tidy))
        elif self._loop.time() >= self._ends[connection]:
            self._drop(connection)
        else:
            self._hand_on(connection)

    def put_back(self, connection: C) -> None:
        """Return what was taken and did nothing but read, to the end; what is amiss with it shows when it is taken."""
        if self._waiting or self._closed:
            self.give_back(connection)
        else:
            self._free.append((connection, self._loop.time()))

    async def tidy(self, connection: C) -> None:
        """Return what was taken, and wait until it is clean or gone, however often one is cancelled meanwhile."""
        if connection.closed or connection.clean or self._closed:
            self.give_back(connection)
            return
        await asyncio.shield(self._task(self._made_sure(connection, connection.tidy)))

    def _hand_on(self, connection: C) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(connection)
                return
        self._free.append((connection, self._loop.time()))

    # -- what the pool does by itself

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        _ = self._task(work)

    def _task(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _grow(self) -> None:
        """Begin to open as many connections as are missing."""
        while self._opening < len(self._waiting) and self._count < self._options.size:
            if self._refused and self._ends:
                return  # those that are open come back
            self._opening += 1
            self._empty.clear()
            self._begin(self._open())

    async def _open(self) -> None:
        try:
            connection = await self._connect()
        except BaseException as error:
            self._opening -= 1
            self._note_empty()
            if not isinstance(error, Exception):
                raise
            self._note_refused(error)
            return
        self._opening -= 1
        self._ends[connection] = self._loop.time() + spread(self._options.lifetime, 0.1)  # so that not all go at once
        self.give_back(connection)

    def _note_refused(self, error: Exception) -> None:
        """Tell those who wait that none can be opened, unless one that is open will come back to them."""
        if self._ends:
            if not self._refused:
                self._refused = True
                self._loop.call_later(AGAIN_SECONDS, self._try_again)
            return
        waiting, self._waiting = self._waiting, deque()
        for waiter in waiting:
            if not waiter.done():
                waiter.set_exception(_again(error))

    def _try_again(self) -> None:
        self._refused = False
        self._grow()

    async def _made_sure(self, connection: C, act: Callable[[], Awaitable[None]]) -> None:
        """Do something to a connection and hand it on; drop it when that fails or takes too long."""
        try:
            async with asyncio.timeout(CLEAN_SECONDS):
                await act()
            sure = connection.clean
        except Exception:
            sure = False
        except BaseException:
            self._drop(connection)
            raise
        if sure:
            self.give_back(connection)
        else:
            self._drop(connection)

    def _drop(self, connection: C) -> None:
        connection.terminate()
        self._forget(connection)

    def _drop_free(self) -> None:
        free, self._free = self._free, []
        for connection, _ in free:
            self._drop(connection)

    def _forget(self, connection: C) -> None:
        del self._ends[connection]
        self._note_empty()
        if not self._closed:
            self._grow()

    def _note_empty(self) -> None:
        if not self._count:
            self._empty.set()

    # -- life

    def renew(self, because_of: C) -> None:
        """Replace every connection as soon as nobody uses it: the server is not what it was when they were opened.

        Args:
            because_of: Which connection showed that; what was opened after a renewal that it missed is kept.
        """
        if self._ends.get(because_of) == 0.0:
            return
        for connection in self._ends:
            self._ends[connection] = 0.0
        self._drop_free()

    def suspend(self, why: DatabaseUnavailable) -> None:
        """Refuse whoever wants a connection, and end what runs on one, until `resume`: the server says nothing.

        Args:
            why: What those are told that want a connection.
        """
        self._suspended = why
        waiting, self._waiting = self._waiting, deque()
        for waiter in waiting:
            if not waiter.done():
                waiter.set_exception(_again(why))
        self._drop_free()
        for connection in self._ends:
            connection.terminate()

    def resume(self) -> None:
        """Give connections again."""
        self._suspended = None

    async def close(self, grace: float = CLEAN_SECONDS) -> None:
        """Close every connection; those in use once they are given back, or when the grace is over.

        Args:
            grace: Seconds to wait for them.
        """
        self._closed = True
        waiting, self._waiting = self._waiting, deque()
        for waiter in waiting:
            if not waiter.done():
                waiter.set_exception(DatabaseUnavailable.because(f"{self._name} is closed"))
        self._drop_free()
        try:
            async with asyncio.timeout(grace):
                await self._empty.wait()
        except TimeoutError:
            for connection in [*self._ends]:
                connection.terminate()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _again(error: Exception) -> Exception:
    """Return the same error for one more of those who wait: a traceback belongs to one of them."""
    if isinstance(error, DatabaseUnavailable):
        return DatabaseUnavailable.because(str(error.args[0]) if error.args else str(error), retry_after=1)
    return error
