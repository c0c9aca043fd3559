"""A worker: imports the application, opens it, serves it, and ends in order when it is told to.

Run as ``python -m trivet.server.worker ORDER``; the supervisor does that. A worker leaves Ctrl-C to the supervisor, and
ends by itself when the supervisor is gone.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import sys
from collections.abc import MutableMapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec

from trivet.server.control import (
    Channel,
    Drain,
    Failed,
    FromSupervisor,
    FromWorker,
    Order,
    Ready,
    Renew,
    Report,
    frame,
)
from trivet.server.forwarded import BehindProxies, networks
from trivet.server.interface import ASGIApp, Server
from trivet.server.library_log import capture
from trivet.server.lifespan import Lifespan, LifespanFailed
from trivet.server.loading import CannotLoad, Target, explain, load_app, sources
from trivet.settings import Settings, SettingsError, load
from trivet.telemetry.log import Logger, Sink

if TYPE_CHECKING:
    from trivet.runtime import Runtime

CANNOT_START = 3
"""Exit status of a worker that would fail again in the same way."""


class Worker:
    """Serves one application in this process.

    Args:
        app: The application.
        settings: What the process was told.
        order: The sockets to serve on.
        channel: The way to the supervisor.
        server: What speaks HTTP.

    Attributes:
        orphaned: Whether the way to the supervisor ended; it does so a moment before the system says that it is gone.
    """

    def __init__(
        self, app: ASGIApp, settings: Settings, order: Order, channel: Channel[FromSupervisor], server: Server
    ) -> None:
        self._app = app
        self._settings = settings.server
        self._order = order
        self._channel = channel
        self._server = server
        self.orphaned = False
        self._lifespan = Lifespan(app)
        self._log = Logger(Sink(format=settings.log.format, level=settings.log.level)).bind(worker=order.name)
        self._drain: asyncio.Future[Drain] = asyncio.get_running_loop().create_future()

    async def run(self) -> int:
        """Serve until told to end; returns the exit status."""
        await self._channel.open()
        try:
            await self._lifespan.startup()
        except Exception as failed:
            self._channel.send(Failed(reason=_reason(self._order.target, failed), sources=tuple(sources(failed))))
            await self._channel.close()
            return CANNOT_START
        sockets = [socket.socket(fileno=descriptor) for descriptor in self._order.sockets]
        gc.collect()
        gc.freeze()  # what the start built stays as long as the process: the collector need not walk it again and again
        app = self._app
        if self._settings.trusted_proxies:
            app = BehindProxies(app, networks(self._settings.trusted_proxies))
        await self._server.start(app, sockets, self._lifespan.state)
        self._channel.send(Ready(sources=tuple(sources())))
        listening = asyncio.create_task(self._listen(), name="control")
        order = await self._drain
        cut_off = await self._finish(order)
        self._channel.send(Report(number=0, metrics=self._metrics(), cut_off=cut_off))
        listening.cancel()
        await self._close()
        await self._channel.close()
        return 0

    def end(self) -> None:
        """End in order, on SIGTERM."""
        self._end(Drain(wait=self._settings.drain_wait, idle=0, timeout=self._settings.drain_timeout))

    async def _listen(self) -> None:
        try:
            await self._obey()
            self._log.error("the supervisor is gone; ending")
        except Exception as broken:
            self._log.failure("the way to the supervisor is broken; ending", broken)
        self.orphaned = True
        self._end(Drain(wait=0, idle=0, timeout=self._settings.drain_timeout))

    async def _obey(self) -> None:
        while (message := await self._channel.receive()) is not None:
            if isinstance(message, Drain):
                self._end(message)
            elif isinstance(message, Renew):
                self._server.renew()
            else:
                ready = await is_ready(self._app) if message.health else None
                self._channel.send(Report(number=message.number, metrics=self._metrics(), ready=ready))

    def _end(self, order: Drain) -> None:
        if not self._drain.done():
            self._drain.set_result(order)

    async def _finish(self, order: Drain) -> int:
        runtime = runtime_of(self._app)
        if runtime is not None:
            runtime.draining = True
        self._server.wind_down()
        await asyncio.sleep(order.wait)
        if runtime is not None:
            runtime.end_streams()
        return await self._server.stop(order.idle, order.timeout, taken=order.taken)

    async def _close(self) -> None:
        try:
            async with asyncio.timeout(self._settings.close_timeout):
                await self._lifespan.shutdown()
        except TimeoutError:
            self._log.warning("closing took too long and was given up", seconds=self._settings.close_timeout)
        except Exception as failed:
            self._log.failure("closing failed", failed)

    def _metrics(self) -> bytes:
        runtime = runtime_of(self._app)
        return b"" if runtime is None else runtime.metrics.snapshot()


def runtime_of(app: Any) -> Runtime | None:
    """Return what an open App has running; ``None`` for an ASGI application that is none of ours."""
    ours = sys.modules.get("trivet.app")  # imported by whoever made an App
    if ours is None or not isinstance(app, ours.App):
        return None
    try:
        runtime: Runtime = app.service.runtime
    except RuntimeError:
        return None
    return runtime


async def is_ready(app: ASGIApp) -> bool:
    """Ask an application's own ``/readyz``; one that has none is ready."""
    status = 404
    scope: MutableMapping[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/readyz",
        "raw_path": b"/readyz",
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"localhost")],
        "server": None,
        "client": None,
        "state": {},
    }

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        nonlocal status
        status = message.get("status", status)

    try:
        async with asyncio.timeout(2):
            await app(scope, receive, send)
    except Exception:
        return False
    return status in (200, 404)


def _reason(target: Target, error: Exception) -> str:
    cause = error.__cause__ if isinstance(error, LifespanFailed) else error
    if cause is not None:
        return explain(target, cause).replace("can not be imported", "can not start", 1)
    return str(error) if "cannot start" in str(error) else f"{target} can not start: {error}"


def open_app(order: Order, control: socket.socket) -> tuple[ASGIApp, Settings, Logger] | None:
    """Load what the order names; ``None`` when that fails, which the supervisor then knows."""
    try:
        settings, _ = load(os.environ)
        log = Logger(Sink(format=settings.log.format, level=settings.log.level)).bind(worker=order.name)
        capture(log)
        return load_app(order.target), settings, log
    except (CannotLoad, SettingsError) as failed:
        cause = failed.__cause__ or failed
        message: FromWorker = Failed(reason=str(failed), sources=tuple(sources(cause)))
        with suppress(OSError):
            control.setblocking(True)
            control.sendall(frame(message))
        return None


def main(text: str) -> int:
    """Carry out an order, given as JSON; returns the exit status."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    order = msgspec.json.decode(text, type=Order)
    for descriptor in (*order.sockets, order.control):
        os.set_inheritable(descriptor, False)
    control = socket.socket(fileno=order.control)
    control.setblocking(False)
    opened = open_app(order, control)
    if opened is None:
        return CANNOT_START
    app, settings, _ = opened

    from trivet.server.uvicorn import UvicornServer, loop_factory

    async def run() -> int:
        channel: Channel[FromSupervisor] = Channel(control, FromSupervisor)
        worker = Worker(app, settings, order, channel, UvicornServer(settings, order))
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.end)
        return await worker.run()

    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(run())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
