"""The supervisor: keeps as many workers serving as it was told, whatever happens to them.

::

    SIGTERM, SIGINT   1. not ready, still accepting, for `drain_wait`   2. finish what is in flight, at most
                      `drain_timeout`   3. close, at most `close_timeout`; then exit 0. A second signal: now.
    SIGHUP            replace the workers one by one: the new one serves before the old one stops accepting
    a worker dies     start another one, at once the first time, then after growing pauses
    a worker hangs    after `worker_timeout` it is killed, and so dies
    files change      with a watch: replace the workers by ones that run the new code
"""

from __future__ import annotations

import asyncio
import signal
import socket
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any, TypeVar
from weakref import WeakSet

import msgspec

from trivet.server.backoff import failures_after, restart_delay
from trivet.server.control import Drain
from trivet.server.cores import pin
from trivet.server.fleet import Fleet
from trivet.server.launcher import Launcher
from trivet.server.management import Management, Page
from trivet.server.process import CannotStart, Process, how
from trivet.server.reload import Watch
from trivet.server.tls import CertificateStore
from trivet.settings import ServerSettings
from trivet.telemetry.log import Logger
from trivet.telemetry.metrics import CONTENT_TYPE, Registry

T = TypeVar("T")

PULSE_SECONDS = 5.0
"""How often workers are asked how they are; also how old the counts of one that is killed may be."""
WAITING = "waiting for a file to change; Ctrl-C ends"
RELOAD_DRAIN = Drain(wait=0, idle=0, timeout=1)


class Slot:
    """A place for one worker.

    Attributes:
        name: Names whoever holds it.
        current: The worker that holds it; ``None`` while there is none.
        failures: Crashes in a row.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.current: Process | None = None
        self.failures = 0


class Supervisor:
    """Runs workers until it is told to end.

    Args:
        launcher: Starts the workers.
        workers: How many.
        settings: How to serve.
        management: Listening sockets for `/metrics`; empty when it is off.
        log: Where it says what happens.
        certificate: Present when TLS is served.
        patient: Whether a worker that does not respond is left alone, because it may be stopped in a debugger.
        watch: Notices changed files, in development.
        started: Called once, when all workers serve.
        failed: Called with the reason when the application can not be served.
    """

    def __init__(
        self,
        launcher: Launcher,
        workers: int,
        settings: ServerSettings,
        *,
        management: Sequence[socket.socket] = (),
        log: Logger,
        certificate: CertificateStore | None = None,
        patient: bool = False,
        watch: Watch | None = None,
        started: Callable[[], None] = lambda: None,
        failed: Callable[[str], None] = lambda reason: None,
    ) -> None:
        self._launcher = launcher
        self._settings = settings
        self._management = management
        self._log = log
        self._certificate = certificate
        self._patient = patient
        self._watch = watch
        self._started = started
        self._failed = failed
        self._slots = [Slot(str(number + 1)) for number in range(workers)]
        self._alive: set[Process] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._turn = asyncio.Lock()  # one replacement of workers at a time
        self._announced = False
        self._ending = asyncio.Event()
        self._now = asyncio.Event()
        self._signal = 0
        metrics = Registry()
        metrics.gauge("trivet_workers", "Workers that serve.").bind().watch(self._serving)
        self._restarts = metrics.counter("trivet_worker_restarts_total", "Workers started again, by why.", ["reason"])
        self._fleet = Fleet(metrics)

    async def run(self) -> int:
        """Serve until a signal; returns the exit status."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._end, number)
        loop.add_signal_handler(signal.SIGHUP, self._hang_up)
        management = Management({"/metrics": self._metrics, "/livez": self._livez, "/readyz": self._readyz})
        try:
            await management.start(self._management)
            if not await self._start() and not self._ending.is_set():
                return 1
            await self._ending.wait()
            return await self._finish()
        finally:
            for process in self._alive:
                process.kill()
            if self._alive:
                await asyncio.wait([process.ended for process in self._alive], timeout=2)
            management.close()
            for task in self._tasks:
                task.cancel()
            self._launcher.close()

    # -- starting

    async def _start(self) -> bool:
        """Start a worker in every slot; returns whether to go on."""
        processes = [self._spawn(slot) for slot in self._slots]
        results = await self._unless(
            self._ending, asyncio.gather(*(self._is_ready(process) for process in processes), return_exceptions=True)
        )
        if results is None:
            return False
        refused = next((result for result in results if isinstance(result, BaseException)), None)
        if refused is not None:
            self._failed(str(refused))
            if self._watch is None:
                return False
            self._log.info(WAITING)
        else:
            self._announce()
        self._later(self._pulse())
        if self._certificate is not None:
            self._later(self._certificate.follow(self._renew))
        if self._watch is not None:
            self._later(self._follow(self._watch))
        return True

    def _announce(self) -> None:
        if not self._announced:
            self._announced = True
            self._started()

    def _spawn(self, slot: Slot) -> Process:
        replaces = slot.current is not None and slot.current.serving
        process = Process(slot.name, lambda control: self._launcher.start(slot.name, control, replaces=replaces))
        if self._settings.pin:
            pin(process.pid, self._slots.index(slot))
        slot.current = process
        self._alive.add(process)
        self._later(self._tend(slot, process))
        return process

    async def _is_ready(self, process: Process) -> bool:
        """Return when the worker serves, with whether it took over the sockets of the one that it replaces.

        Raises:
            CannotStart: It does not.
        """
        try:
            async with asyncio.timeout(self._settings.start_timeout):
                await asyncio.shield(process.ready)
        except TimeoutError:
            process.kill()
            raise CannotStart(
                f"worker {process.name} was not ready within {self._settings.start_timeout:g} s "
                "(TRIVET_SERVER__START_TIMEOUT)"
            ) from None
        if self._watch is not None:
            self._watch.add(process.sources)
        return self._launcher.serves(process.name)

    async def _tend(self, slot: Slot, process: Process) -> None:
        """See a worker to its end, and replace it if it was not meant to end."""
        status = await process.ended
        last = process.report
        if last is not None and last.number == 0:
            self._fleet.report(process.pid, process.name, last.metrics)
            if last.cut_off:
                self._log.warning("requests were cut off", worker=process.name, requests=last.cut_off)
        self._fleet.ended(process.pid)
        self._alive.discard(process)
        self._launcher.ended(process.pid)
        taking = slot.current
        if taking is not None and taking is not process and not self._launcher.queues and not taking.serving:
            taking.kill()  # it waits for sockets of one that is gone; whoever waits for it decides
        if taking is not process or self._ending.is_set():
            return
        slot.current = None
        ready = process.ready.exception() is None
        if not ready:
            return  # whoever waits for it decides
        self._restarts.bind("crash").inc()
        slot.failures = failures_after(slot.failures, time.monotonic() - process.started)
        await self._revive(slot, f"worker {slot.name} (pid {process.pid}) {how(status)}")

    async def _revive(self, slot: Slot, reason: str) -> None:
        while not self._ending.is_set() and slot.current is None:
            delay = restart_delay(slot.failures)
            self._log.error(f"{reason}; starting another one in {delay:g} s")
            await asyncio.sleep(delay)
            async with self._turn:
                if slot.current is not None or self._ending.is_set():
                    return
                try:
                    await self._is_ready(self._spawn(slot))
                except CannotStart as refused:
                    slot.current = None
                    slot.failures += 1
                    reason = str(refused)

    # -- watching

    async def _pulse(self) -> None:
        quiet: WeakSet[Process] = WeakSet()
        while True:
            await asyncio.sleep(min(PULSE_SECONDS, self._settings.worker_timeout / 3))
            await self._ask_all()
            for process in list(self._alive):
                silent = time.monotonic() - process.answered
                if not process.serving or silent <= self._settings.worker_timeout:
                    continue
                if self._patient:
                    if process not in quiet:
                        quiet.add(process)
                        self._log.warning(
                            f"worker {process.name} (pid {process.pid}) has not responded for {silent:.0f} s: "
                            "it waits in a debugger, or code of the app blocks it"
                        )
                else:
                    self._log.error(
                        f"worker {process.name} (pid {process.pid}) did not respond for {silent:.0f} s; ending it"
                    )
                    process.kill()

    async def _ask_all(self, *, health: bool = False) -> list[bool | None]:
        asked = [process for process in self._alive if process.serving]
        reports = await asyncio.gather(*(process.ask(health=health) for process in asked))
        for process, report in zip(asked, reports, strict=True):
            if report is not None and process in self._alive:
                self._fleet.report(process.pid, process.name, report.metrics)
        return [report.ready for report in reports if report is not None]

    def _serving(self) -> float:
        return sum(slot.current is not None and slot.current.serving for slot in self._slots)

    async def _metrics(self) -> Page:
        await self._ask_all()
        return Page(status=200, body=self._fleet.text(), type=CONTENT_TYPE)

    async def _livez(self) -> Page:
        return Page(status=200, body='{"status":"ok"}')

    async def _readyz(self) -> Page:
        if self._ending.is_set():
            return Page(status=503, body='{"status":"draining"}')
        if any(await self._ask_all(health=True)):
            return Page(status=200, body='{"status":"ok"}')
        return Page(status=503, body='{"status":"unavailable"}')

    # -- replacing

    def _hang_up(self) -> None:
        self._later(self._roll())

    async def _renew(self) -> None:
        for process in self._alive:
            process.renew()

    async def _roll(self) -> None:
        async with self._turn:
            if self._certificate is not None:
                await asyncio.to_thread(self._certificate.refresh)
            self._log.info("replacing the workers one by one")
            order = Drain(wait=0, idle=self._settings.drain_wait, timeout=self._settings.drain_timeout)
            try:
                await self._replace_each(order, "hangup")
            except CannotStart as refused:
                self._log.error(f"the new worker can not serve, the old ones stay: {refused}")
            else:
                self._log.info("the workers are replaced")

    async def _replace_each(self, order: Drain, why: str) -> None:
        """Replace every worker by a new one that serves before the old one stops.

        Raises:
            CannotStart: A new one does not serve; it and those after it are not replaced.
        """
        for slot in self._slots:
            if self._ending.is_set():
                return
            old = slot.current
            new = self._spawn(slot)
            try:
                taken = await self._is_ready(new)
            except CannotStart:
                slot.current = old if old in self._alive else None
                if slot.current is None and old is not None:
                    slot.failures += 1
                    self._later(self._revive(slot, f"worker {slot.name} crashed meanwhile"))
                raise
            self._restarts.bind(why).inc()
            slot.failures = 0
            if old is not None and not old.ended.done():
                old.drain(msgspec.structs.replace(order, taken=taken))
                await self._gone(old, order)

    async def _gone(self, process: Process, order: Drain) -> None:
        limit = order.wait + order.timeout + self._settings.close_timeout + 2
        await asyncio.wait({process.ended}, timeout=limit)
        if not process.ended.done():
            self._log.error(f"worker {process.name} (pid {process.pid}) did not end in time; ending it")
            process.kill()
            await asyncio.wait({process.ended}, timeout=2)

    async def _follow(self, watch: Watch) -> None:
        """Run the new code whenever files change."""
        while not self._ending.is_set():
            for process in self._alive:
                watch.add(process.sources)
            files = await watch.change()
            async with self._turn:
                self._log.info(
                    f"{files[0]} changed; reloading" if len(files) == 1 else f"{len(files)} files changed; reloading"
                )
                try:
                    if self._launcher.queues:
                        await self._replace_all()
                    else:
                        await self._replace_each(RELOAD_DRAIN, "reload")
                except CannotStart as refused:
                    self._failed(str(refused))
                    self._log.info(WAITING)
                else:
                    self._announce()

    async def _replace_all(self) -> None:
        """Replace all workers at once: no request is answered by old code any more, new ones wait in the queue.

        Raises:
            CannotStart: A new worker does not serve.
        """
        old = [slot.current for slot in self._slots if slot.current is not None]
        for process in old:
            process.drain(RELOAD_DRAIN)
        try:
            for process in [self._spawn(slot) for slot in self._slots]:
                await self._is_ready(process)
            self._restarts.bind("reload").inc()
        finally:
            for process in old:
                await self._gone(process, RELOAD_DRAIN)

    # -- ending

    def _end(self, number: int) -> None:
        if self._ending.is_set():
            self._now.set()
        self._signal = number
        self._ending.set()

    async def _finish(self) -> int:
        settings = self._settings
        order = Drain(wait=settings.drain_wait, idle=0, timeout=settings.drain_timeout)
        self._log.info("ending", drain_wait=settings.drain_wait, drain_timeout=settings.drain_timeout)
        self._launcher.stop_listening()
        for process in self._alive:
            process.drain(order)
        gone = asyncio.gather(*(self._gone(process, order) for process in self._alive))
        if await self._unless(self._now, gone) is None:
            self._log.warning("ended at once by a second signal")
            return 128 + self._signal
        self._log.info("ended")
        return 0

    @staticmethod
    async def _unless(event: asyncio.Event, work: asyncio.Future[list[T]]) -> list[T] | None:
        """Return the result of the work, or ``None`` when the event comes first."""
        came: asyncio.Future[Any] = asyncio.ensure_future(event.wait())
        both: tuple[asyncio.Future[Any], ...] = (came, work)
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        came.cancel()
        if work.done():
            return work.result()
        work.cancel()
        with suppress(asyncio.CancelledError):
            await work
        return None

    def _later(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._log.failure("the supervisor failed", task.exception() or RuntimeError())
