"""One worker as the supervisor sees it: a process and the socket to it."""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

from trivet.server.control import Ask, Channel, Drain, Failed, FromWorker, Ready, Renew, Report

EXIT_SECONDS = 5.0
"""How long a process may take to end after its socket closed."""


class CannotStart(Exception):
    """The worker said that it can not serve; the message is its reason."""


class Process:
    """A worker process, from start to end.

    Args:
        name: Names it in logs and metrics.
        start: Starts it with the other end of the socket to it.

    Attributes:
        ready: Done when the worker serves; holds `CannotStart` when it does not.
        ended: Done when the process is gone; the result is its exit status, negative for a signal.
        answered: When it last said anything, on the monotonic clock.
        report: What it last said about itself.
        sources: Directories of the user's code that it loaded.
    """

    def __init__(self, name: str, start: Callable[[socket.socket], subprocess.Popen[bytes]]) -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with theirs:
            self._process = start(theirs)
        loop = asyncio.get_running_loop()
        self.name = name
        self.pid = self._process.pid
        self.ready: asyncio.Future[None] = loop.create_future()
        self.ended: asyncio.Future[int] = loop.create_future()
        self.started = self.answered = time.monotonic()
        self.report: Report | None = None
        self.sources: tuple[str, ...] = ()
        self._channel: Channel[FromWorker] = Channel(ours, FromWorker)
        self._asked: dict[int, asyncio.Future[Report | None]] = {}
        self._numbers = itertools.count(1)
        self._task = asyncio.create_task(self._listen(), name=f"worker {name}")

    def __repr__(self) -> str:
        return f"Process({self.name!r}, pid={self.pid})"

    @property
    def serving(self) -> bool:
        """Whether it serves, as far as is known."""
        return self.ready.done() and self.ready.exception() is None and not self.ended.done()

    async def ask(self, *, health: bool = False, timeout: float = 2.0) -> Report | None:
        """Return a report as of now, ``None`` when the worker does not give one in time."""
        if not self.serving:
            return None
        number = next(self._numbers)
        answer: asyncio.Future[Report | None] = asyncio.get_running_loop().create_future()
        self._asked[number] = answer
        self._channel.send(Ask(number=number, health=health))
        try:
            async with asyncio.timeout(timeout):
                return await answer
        except TimeoutError:
            return None
        finally:
            self._asked.pop(number, None)

    def drain(self, order: Drain) -> None:
        """Tell the worker to end in order; one that does not serve yet is ended at once."""
        if self.serving:
            self._channel.send(order)
        else:
            self.kill()

    def renew(self) -> None:
        """Tell the worker that the certificate was replaced."""
        if self.serving:
            self._channel.send(Renew())

    def kill(self) -> None:
        """End the process now."""
        with suppress(ProcessLookupError):
            self._process.kill()

    async def _listen(self) -> None:
        await self._channel.open()
        while (message := await self._channel.receive()) is not None:
            self.answered = time.monotonic()
            if isinstance(message, Report):
                self.report = message
                answer = self._asked.get(message.number)
                if answer is not None and not answer.done():
                    answer.set_result(message)
            elif isinstance(message, Ready):
                self.sources = message.sources
                self._resolve(None)
            else:
                self._fail(message)
        status = await self._exit_status()
        for answer in self._asked.values():
            if not answer.done():
                answer.set_result(None)
        await self._channel.close()
        self._resolve(CannotStart(f"worker {self.name} {how(status)} while it started"))
        self.ended.set_result(status)

    def _fail(self, message: Failed) -> None:
        self.sources = message.sources
        self._resolve(CannotStart(message.reason))

    def _resolve(self, error: CannotStart | None) -> None:
        if self.ready.done():
            return
        if error is None:
            self.ready.set_result(None)
        else:
            self.ready.set_exception(error)
            self.ready.exception()  # whoever waits gets it; nobody has to

    async def _exit_status(self) -> int:
        until = time.monotonic() + EXIT_SECONDS
        while (status := self._process.poll()) is None:
            if time.monotonic() >= until:
                self.kill()
            await asyncio.sleep(0.01)
        return status


def how(status: int) -> str:
    """Say in words how a process ended."""
    if status < 0:
        return f"was ended by signal {-status}"
    return f"ended with status {status}"


def environment(extra: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a worker: ours, with what the command line changed."""
    return {**os.environ, **extra}
