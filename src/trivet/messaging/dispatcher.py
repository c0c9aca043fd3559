"""The dispatcher: hands committed messages to their handlers, at least once, in order within each queue.

One runs in each process. It looks for due deliveries when this process committed some (`wake`) and otherwise once per
poll for what others committed; looking is one cheap read, and only when something is due it claims, in one short
transaction, as many as it has hands free. A delivery is removed in the transaction of its handler, under the lease that
was claimed, so what it changes in the database happens once: a holder whose lease ended can not commit. Deliveries to a
handler that is quick share a transaction. A process that dies lets its leases end, and others go on.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Annotated
from uuid import uuid4

from msgspec import Meta

from trivet.core.clock import Clock, SystemClock
from trivet.core.shape import Struct
from trivet.data.database import Database, Session
from trivet.messaging.attempt import JOB_LEASE_SECONDS, Attempts
from trivet.messaging.brief import briefly
from trivet.messaging.deliveries import WINDOW, Batch, Deliveries, Queue
from trivet.messaging.hands import Pace, Sharing
from trivet.messaging.message import Message, MessageKind
from trivet.messaging.observer import Observer, Silent
from trivet.messaging.retry import RetryPolicy, Seconds, idle
from trivet.messaging.runner import Runner
from trivet.messaging.subscribers import Subscribers
from trivet.messaging.tables import micros
from trivet.messaging.trouble import Trouble


class DispatcherOptions(Struct):
    """How a dispatcher works.

    Attributes:
        concurrency: How many transactions of handlers one process has open at a time.
        sharing: How far deliveries to one handler share a transaction.
        poll: Seconds between two looks for what other processes committed.
        margin: Seconds that a lease outlasts the time that its handler has.
        retry: What follows a failure.
    """

    concurrency: Annotated[int, Meta(ge=1, le=1000)] = 16
    sharing: Sharing = Sharing()
    poll: Seconds = 1.0
    margin: Seconds = 10.0
    retry: RetryPolicy = RetryPolicy()


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
        nodes: The databases between which shards change, by name.
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
        nodes: Mapping[str, Database] | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._database = database
        self._subscribers = subscribers
        self._clock: Clock = clock or SystemClock()
        self._observer: Observer = observer or Silent()
        self._options = options or DispatcherOptions()
        self._chance = chance
        self._deliveries = Deliveries(subscribers.ids, database.dialect)
        self._pace = Pace(self._options.sharing)
        self._freed: dict[Queue, None] = {}
        self._attempts = Attempts(
            database,
            self._deliveries,
            subscribers,
            runner,
            self._clock,
            self._observer,
            self._options.retry,
            self._options.sharing,
            self._pace,
            inbox=inbox,
            nodes=nodes or {},
            chance=chance,
            freed=self._free,
        )
        self._process = uuid4().hex
        self._claims = 0
        self._running: set[asyncio.Task[None]] = set()
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
        self._stopping = self._attempts.stopping = True
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
        trouble = Trouble(self._observer.troubled)
        while not self._stopping:
            self._woken.clear()
            pause = None
            with trouble:
                pause = await self._round()
            if pause is None:
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
        freed, self._freed = self._freed, {}
        try:
            batch = await briefly(self._database, lambda session: self._claim(session, free, tuple(freed)))
        except BaseException:
            self._freed |= freed
            raise
        for hand in batch.hands:
            task = asyncio.create_task(self._attempts.run(hand), name=f"trivet-deliver-{hand[0].subscriber}")
            self._running.add(task)
            task.add_done_callback(self._finished)
        return 0.0

    async def _claim(self, session: Session, hands: int, freed: Sequence[Queue]) -> Batch:
        self._claims += 1
        lease, now = f"{self._process}.{self._claims}", self._now()
        until, window = partial(self._lease_end, now), min(WINDOW, hands * self._pace.largest)
        return await self._deliveries.claim(session, now, hands, lease, until, freed, self._pace.size, window)

    def _free(self, queue: Queue) -> None:
        self._freed[queue] = None

    def _lease_end(self, now: int, subscriber: str, message: Message) -> int:
        if message.kind is MessageKind.JOB:
            return now + int(JOB_LEASE_SECONDS * 1e6)
        return now + int((self._subscribers.seconds(subscriber, message) + self._options.margin) * 1e6)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._woken.set()

    def _now(self) -> int:
        return micros(self._clock.now())
