"""Envoy's side of the seam of the server: calls the application, and takes Envoy through its end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, MutableMapping, Sequence
from contextlib import suppress
from typing import Any

from trivet.server.client_certificate import adopt_certificate
from trivet.server.envoy.admin import Admin, AdminGone
from trivet.server.envoy.connections import census
from trivet.server.envoy.deliveries import QUESTIONS, Deliveries
from trivet.server.envoy.exchange import Exchange
from trivet.server.envoy.websockets import WebSockets
from trivet.server.interface import ASGIApp, Receive, Scope, Send
from trivet.telemetry.log import Logger

STARTED = r"/stats?filter=^listener_manager\.workers_started$"
"""Asks whether Envoy listens; if it does, it has also told the process that it replaces to listen no more."""

TICK_SECONDS = 0.05
LIVE_SECONDS = 30.0
"""How long Envoy may take to listen once the application is open."""

LAST_SECONDS = 0.5
"""How long what is cut off when time is up may take to be counted, and to end."""

KEPT = 2 + QUESTIONS + 1 + 1 + 1
"""Connections kept for the end: two commands, the questions, one more when time is up, and the last command may each
cost one, and one may be lost."""


class EnvoyServer:
    """Serves with the Envoy that this process is; see :class:`trivet.server.interface.Server`.

    Args:
        admin: Envoy's administration.
        ports: Where it listens.
        websockets: What serves them.
        live: Called once it does.
        log: Where failures of the application are written.
        http3: Whether it serves HTTP/3, too.

    Attributes:
        when_open: Called when the application is open: lets Envoy listen.
        state: What the lifespan left for requests.
    """

    def __init__(
        self,
        admin: Admin,
        ports: Collection[int],
        websockets: WebSockets,
        live: Callable[[], None],
        log: Logger,
        *,
        http3: bool,
    ) -> None:
        self.when_open: Callable[[], Awaitable[None]] | None = None
        self.state: MutableMapping[str, Any] = {}
        self._live = live
        self._admin = admin
        self._ports = ports
        self._websockets = websockets
        self._log = log
        self._http3 = http3
        self._app: ASGIApp | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._requests: set[asyncio.Task[Any]] = set()
        self._winding: asyncio.Task[None] | None = None
        self._answered = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        assert self._app is not None  # Envoy listens only once it is open
        adopt_certificate(scope)
        task = asyncio.current_task(self._loop)
        assert task is not None
        self._requests.add(task)
        try:
            await Exchange(receive, send, self._log).run(self._app, scope)
        finally:
            self._requests.discard(task)
            self._answered = time.monotonic()

    async def start(self, app: ASGIApp, sockets: Sequence[Any], state: MutableMapping[str, Any]) -> None:
        """Let Envoy listen, and return when it does."""
        self._app, self.state = app, state
        self._loop = asyncio.get_running_loop()
        await self._websockets.start(app, state)
        assert self.when_open is not None
        await self.when_open()
        await self._admin.connect(KEPT)
        async with asyncio.timeout(LIVE_SECONDS):
            while not (await self._admin.ask(STARTED)).strip().endswith(": 1"):  # noqa: ASYNC110 - only Envoy knows when
                await asyncio.sleep(0.005)
        self._live()

    def renew(self) -> None:
        """Nothing to do: Envoy watches the file."""

    def wind_down(self) -> None:
        """Let every answer from now on close its connection, while new connections are still accepted."""
        if self._winding is None:
            self._winding = asyncio.create_task(self._command("/healthcheck/fail"), name="wind down")

    async def stop(self, idle: float, timeout: float, *, taken: bool) -> int:
        """Accept nothing more, and return when no connection is left, with the number of requests cut off."""
        self.wind_down()
        assert self._winding is not None
        await self._winding
        if not taken:  # else it is done, and saying it again undoes that packets of HTTP/3 are passed on
            await self._command("/drain_listeners")
        self._websockets.stop()
        deliveries = Deliveries(self._admin, self._log, timeout)
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._emptied(idle, deliveries)
                return 0
        held = 0
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_SECONDS):
                held = await deliveries.held()
        cut = [*self._requests, *self._websockets.running]
        for task in cut:
            task.cancel("the server is ending")
        if cut:
            await asyncio.wait(cut, timeout=LAST_SECONDS)
        return max(held, len(cut))

    async def _emptied(self, idle: float, deliveries: Deliveries) -> None:
        """Return when no connection is left that matters."""
        started = time.monotonic()
        while True:
            if not self._requests and not self._websockets.running:
                now = census(self._ports)
                anybody = now.connected > 0 or self._http3  # the kernel does not know its connections
                # Whoever got an answer whose head was sent before it could say that its connection closes, may be
                # about to send the next request on it.
                quiet = time.monotonic() - max(started, self._answered) >= idle
                if not (now.listening or now.sending) and (not anybody or (quiet and await deliveries.done())):
                    return
            await asyncio.sleep(TICK_SECONDS)

    async def part(self) -> None:
        """Say to the clients of HTTP/3 that their connections end, where the kernel does not."""
        if self._http3:
            await self._admin.quit()

    async def _command(self, path: str) -> None:
        try:
            await self._admin.post(path)
        except AdminGone as gone:
            self._log.error(f"Envoy did not take a command: {gone}", command=path)
