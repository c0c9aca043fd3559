"""What is looked at beside the event loop: one thing at a time, callers by turns, and only so much for each of them.

A thread reads new documents. Whoever brings many of them waits behind those that others bring: the thread takes one of
each caller, in turns. What waits is counted in characters of documents, so that long ones count for more; a caller has
room for a quarter of all, and is refused beyond it, so that one alone can not push others out.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address
from typing import Any, TypeVar

from trivet.core.call import Call
from trivet.transports.graphql.refusals import PlannerBusy, TooManyNewDocuments

T = TypeVar("T")

ROOM = 128 * 1024
"""How many characters of documents may wait at once."""

SHARE = ROOM // 4
"""How many of them one caller may bring."""

LEAST = 2 * 1024
"""What a document counts as at least: short ones can be dear as well."""

SITE_BITS = 64
"""How much of an IPv6 address says whose it is; the rest, its owner chooses (RFC 6177)."""


def caller_of(call: Call) -> str:
    """Return who brings a document: the subject of the credential, else the address that the request came from."""
    principal = call.principal
    if not principal.anonymous:
        return f"{principal.tenant or ''}/{principal.subject}"
    try:
        address = ip_address(call.peer or "")
    except ValueError:
        return call.peer or ""  # a socket of the machine has no address
    return call.peer or "" if address.version == 4 else str(int(address) >> (128 - SITE_BITS))


class Turns:
    """Runs functions in a thread of its own, for callers by turns; used from one event loop."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="trivet-graphql")
        self._queues: dict[str, deque[tuple[int, Callable[[], Any], asyncio.Future[Any]]]] = {}
        self._held: dict[str, int] = {}
        self._running = False

    def close(self) -> None:
        """End the thread; what waits is cancelled."""
        self._thread.shutdown(wait=False, cancel_futures=True)
        for queue in self._queues.values():
            for _, _, result in queue:
                result.cancel()
        self._queues.clear()

    def run(self, caller: str, length: int, make: Callable[[], T]) -> asyncio.Future[T]:
        """Return the result to come of a function.

        Args:
            caller: Who waits for it.
            length: Of the document that it looks at, in characters.
            make: The function.

        Raises:
            TooManyNewDocuments: The caller has its share of the room already.
            PlannerBusy: There is no room left.
        """
        size = min(max(length, LEAST), SHARE)
        held = self._held.get(caller, 0)
        if held + size > SHARE:
            raise TooManyNewDocuments(retry_after=1)
        if sum(self._held.values()) + size > ROOM:
            raise PlannerBusy(retry_after=1)
        self._held[caller] = held + size
        result: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._queues.setdefault(caller, deque()).append((size, make, result))
        if not self._running:
            self._next()
        return result

    def _next(self) -> None:
        """Begin with what is next of the caller whose turn it is, who is last from now on."""
        caller = next(iter(self._queues), None)
        self._running = caller is not None
        if caller is None:
            return
        queue = self._queues.pop(caller)
        size, make, result = queue.popleft()
        if queue:
            self._queues[caller] = queue

        def ended(done: asyncio.Future[Any]) -> None:
            left = self._held.pop(caller) - size
            if left:
                self._held[caller] = left
            if not result.done():
                _pass_on(done, result)
            self._next()

        asyncio.get_running_loop().run_in_executor(self._thread, make).add_done_callback(ended)


def _pass_on(done: asyncio.Future[T], result: asyncio.Future[T]) -> None:
    if done.cancelled():
        result.cancel()
    elif (broken := done.exception()) is not None:
        result.set_exception(broken)
    else:
        result.set_result(done.result())
