"""The dispatcher: hands committed messages to their handlers, at least once, in order within each queue.

One runs in each process. It looks for due deliveries when this process committed some (`wake`) and otherwise once per
poll for what others committed; looking is one cheap read, and only when something is due it claims, in one short
transaction, as many as it has hands free. A handler runs in a transaction of its own in which its delivery is removed
under the lease that was claimed, so what it changes in the database happens once: a holder whose lease ended can not
commit. A process that dies lets its leases end, and others go on.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Annotated, Any
from uuid import uuid4

from msgspec import Meta

from trivet.core.clock import Clock, SystemClock
from trivet.core.operation import Operation
from trivet.core.shape import Struct
from trivet.data.database import Contention, Database, Session
from trivet.messaging import jobs
from trivet.messaging.brief import briefly
from trivet.messaging.deliveries import Batch, Claimed, Deliveries, LeaseLost, Queue
from trivet.messaging.inbox import HandledBefore, handle_once
from trivet.messaging.jobrun import JobRun
from trivet.messaging.message import Message, MessageKind
from trivet.messaging.observer import Observer, Silent
from trivet.messaging.retry import Again, RetryPolicy, Seconds, after_failure, idle
from trivet.messaging.runner import Runner, Settle
from trivet.messaging.subscribers import Subscribers
from trivet.messaging.tables import micros

JOB_LEASE_SECONDS = 30.0
"""How long a job is left alone by others after its process died; it is renewed while the job runs."""


class DispatcherOptions(Struct):
    """How a dispatcher works.

    Attributes:
        concurrency: How many handlers of one process run at a time.
        poll: Seconds between two looks for what other processes committed.
        margin: Seconds that a lease outlasts the time that its handler has.
        retry: What follows a failure.
    """

    concurrency: Annotated[int, Meta(ge=1, le=1000)] = 16
    poll: Seconds = 1.0
    margin: Seconds = 10.0
    retry: RetryPolicy = RetryPolicy()


class NotSettled(RuntimeError):
    """The runner returned without settling; had it committed, the handler would take effect again."""


class UnknownSubscriber(LookupError):
    """This process has no handler for the message; another version of the program may."""


class Dispatcher:
    """Delivers what the outbox stored.

    Args:
        database: The store.
        subscribers: Who gets which message.
        runner: Runs handlers in units of work.
        clock: Time; leases of all processes are compared, so their clocks must agree to within the margin.
        observer: Is told what became of deliveries.
        options: How it works.
        inbox: Whether handlers may change another database than the one that has their deliveries.
        chance: Random numbers in [0, 1), for jitter.
    """

    def __init__(
        self,
        database: Database,
        subscribers: Subscribers,
        runner: Runner,
        *,
        clock: Clock | None = None,
        observer: Observer | None = None,
        options: DispatcherOptions | None = None,
        inbox: bool = False,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._database = database
        self._subscribers = subscribers
        self._runner = runner
        self._clock: Clock = clock or SystemClock()
        self._observer: Observer = observer or Silent()
        self._options = options or DispatcherOptions()
        self._chance = chance
        self._inbox = inbox
        self._deliveries = Deliveries(subscribers.ids)
        self._process = uuid4().hex
        self._claims = 0
        self._running: set[asyncio.Task[None]] = set()
        self._freed: list[Queue] = []
        self._woken = asyncio.Event()
        self._stopping = False
        self._loop: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"Dispatcher(running={len(self._running)}, stopping={self._stopping})"

    # -- life

    def start(self) -> None:
        """Begin to deliver, in the running event loop; an app without handlers and commands has nothing to do."""
        if self._subscribers.ids:
            self._loop = asyncio.create_task(self._run(), name="trivet-dispatcher")

    def wake(self) -> None:
        """Say that this process committed messages; cheap, and harmless when it did not."""
        self._woken.set()

    async def stop(self, grace: float = 3.0) -> None:
        """Claim nothing more, let handlers finish, then cancel and release those that did not.

        Args:
            grace: Seconds that handlers have to finish.
        """
        self._stopping = True
        self.wake()
        if self._loop is not None:
            await asyncio.wait((self._loop,), timeout=grace)  # longer only where the store does not answer
        if self._running:
            await asyncio.wait(self._running, timeout=grace)
        left = [*self._running, *([self._loop] if self._loop is not None else [])]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    # -- looking and claiming

    async def _run(self) -> None:
        while not self._stopping:
            self._woken.clear()
            try:
                pause = await self._round()
            except Exception as error:
                self._observer.troubled(error)
                pause = idle(0.0, None, self._options.poll, self._chance())
            if pause > 0 and not self._stopping:
                await self._sleep(pause)

    async def _sleep(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        except TimeoutError:
            return

    async def _round(self) -> float:
        """Claim what is due and begin to handle it; return for how many seconds there is nothing to do."""
        free = self._options.concurrency - len(self._running)
        if free <= 0:
            return self._options.poll  # whoever finishes wakes
        session = self._database.session(write=False, reads="primary")
        try:
            due = await self._deliveries.next_due(session)
        finally:
            await session.close()
        now = self._now()
        self._observer.lag(0.0 if due is None else max(0, now - due) / 1e6)
        if not self._freed and (due is None or due > now):
            return idle(now / 1e6, None if due is None else due / 1e6, self._options.poll, self._chance())
        freed = tuple(self._freed)
        batch = await briefly(self._database, lambda session: self._claim(session, free, freed))
        del self._freed[: len(freed)]
        for claimed in batch.claimed:
            task = asyncio.create_task(self._deliver(claimed), name=f"trivet-deliver-{claimed.subscriber}")
            self._running.add(task)
            task.add_done_callback(self._finished)
        return 0.0

    async def _claim(self, session: Session, limit: int, freed: Sequence[Queue]) -> Batch:
        self._claims += 1
        lease = f"{self._process}.{self._claims}"
        return await self._deliveries.claim(session, self._now(), limit, lease, self._lease_end, freed)

    def _free(self, claimed: Claimed) -> None:
        if claimed.ordered:
            self._freed.append((claimed.subscriber, claimed.queue))

    def _lease_end(self, subscriber: str, message: Message) -> int:
        if message.kind is MessageKind.JOB:
            return self._now() + int(JOB_LEASE_SECONDS * 1e6)
        return self._now() + int((self._seconds(subscriber, message) + self._options.margin) * 1e6)

    def _seconds(self, subscriber: str, message: Message) -> float:
        if message.kind is MessageKind.EVENT:
            target = self._subscribers.event(subscriber, message.type)
            return target.seconds if target else 0.0
        request = self._subscribers.request(subscriber)
        return request.seconds if request else 0.0

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._woken.set()

    # -- delivering

    async def _deliver(self, claimed: Claimed) -> None:
        began = self._clock.monotonic()
        try:
            if claimed.attempts > self._options.retry.attempts_max:
                raise RuntimeError("the process ended while it handled this, each time")
            await self._handle(claimed)
        except asyncio.CancelledError as cancelled:
            if self._stopping:
                await self._end(claimed, None)
                raise
            await self._end(claimed, RuntimeError(f"the handler was cancelled from inside: {cancelled}"))
        except LeaseLost:
            self._observer.lost(claimed.subscriber)
        except Exception as error:
            await self._end(claimed, error)
        else:
            self._free(claimed)
            self._observer.delivered(claimed.subscriber, self._clock.monotonic() - began)

    async def _handle(self, claimed: Claimed) -> None:
        message = claimed.message
        if message.kind is MessageKind.JOB:
            await self._run_job(claimed)
            return
        settled = elsewhere = False

        async def settle(session: Session) -> None:
            nonlocal settled, elsewhere
            if self._inbox:
                elsewhere = not await handle_once(session, self._database, claimed, self._now())
            if not elsewhere:
                await self._deliveries.settle(session, claimed)
            settled = True

        try:
            await self._run_handler(claimed, settle)
        except HandledBefore:
            settled = elsewhere = True
        if not settled:
            raise NotSettled(f"{claimed.subscriber}: await settle(session) before the commit")
        if elsewhere:
            await briefly(self._database, lambda session: self._deliveries.settle(session, claimed))

    async def _run_handler(self, claimed: Claimed, settle: Settle) -> None:
        message = claimed.message
        async with asyncio.timeout(self._seconds(claimed.subscriber, message)):
            if message.kind is MessageKind.EVENT:
                target = self._subscribers.event(claimed.subscriber, message.type)
                if target is None:
                    raise UnknownSubscriber(f"{claimed.subscriber} does not handle {message.type} here")
                await self._runner.event(target.subscription, target.decode(message.payload), message, settle)
            else:
                await self._runner.command(self._request(claimed), message, settle)

    async def _run_job(self, claimed: Claimed) -> None:
        run = JobRun(self._database, self._deliveries, claimed, self._clock, JOB_LEASE_SECONDS)
        operation = self._request(claimed)
        await run.to_its_end(lambda: self._runner.job(operation, claimed.message, run.progress))

    def _request(self, claimed: Claimed) -> Operation[..., Any]:
        target = self._subscribers.request(claimed.subscriber)
        if target is None:
            raise UnknownSubscriber(f"there is no operation {claimed.subscriber} here")
        return target.operation

    # -- what follows a failure

    async def _end(self, claimed: Claimed, error: Exception | None) -> None:
        """Record how an attempt ended: with an error, or with none because the process stops."""
        try:
            if error is None:
                await briefly(self._database, lambda session: self._release(session, claimed))
                return
            contended = isinstance(error, Contention)
            decision = after_failure(self._options.retry, claimed.attempts, contended, self._chance())
            if isinstance(decision, Again):
                await briefly(self._database, lambda session: self._retry(session, claimed, decision, error))
                self._observer.retried(claimed.subscriber, claimed.attempts, error)
            else:
                await briefly(self._database, lambda session: self._bury(session, claimed, error))
                self._free(claimed)
                self._observer.buried(claimed.subscriber, claimed.attempts, error)
        except LeaseLost:
            self._observer.lost(claimed.subscriber)
        except Exception as trouble:  # its lease will end by itself
            self._observer.troubled(trouble)

    async def _release(self, session: Session, claimed: Claimed) -> None:
        await self._deliveries.again(session, claimed, self._now(), claimed.attempts - 1, None)
        if claimed.message.kind is MessageKind.JOB:
            await jobs.release(session, claimed.message.id)

    async def _retry(self, session: Session, claimed: Claimed, decision: Again, error: Exception) -> None:
        due = self._now() + int(decision.pause * 1e6)
        attempts = claimed.attempts if decision.counts else claimed.attempts - 1
        await self._deliveries.again(session, claimed, due, attempts, error)
        if claimed.message.kind is MessageKind.JOB:
            await jobs.release(session, claimed.message.id)

    async def _bury(self, session: Session, claimed: Claimed, error: Exception) -> None:
        await self._deliveries.bury(session, claimed, self._now(), error)
        if claimed.message.kind is MessageKind.JOB:
            await jobs.fail(session, claimed.message.id, error, self._clock.now())

    def _now(self) -> int:
        return micros(self._clock.now())
