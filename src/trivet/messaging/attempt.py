"""Attempts: runs the handlers of what was claimed, and records how each attempt ended.

Deliveries in one hand share a transaction: each handler runs on a savepoint, those that succeed are settled together
by one statement, and those that fail are undone and recorded as if each had been alone. What can not be helped that way
parts them: nothing is kept, and each is handled in a transaction of its own later. So it is when the commit fails, when
other writers are in the way, and when a handler is about to wait for what is outside. A handler that takes its time
leaves the company alone: it is undone, the others commit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from trivet.core.clock import Clock
from trivet.core.operation import Operation
from trivet.data.database import Contention, Database, DatabaseUnavailable, Session, TransactionFailed
from trivet.messaging import jobs
from trivet.messaging.brief import briefly
from trivet.messaging.deliveries import Claimed, Deliveries, LeaseLost, Queue
from trivet.messaging.handover import HANDOVER, read_handover, waits
from trivet.messaging.hands import Pace, Sharing
from trivet.messaging.inbox import HandledBefore, handle_once
from trivet.messaging.jobrun import JobCancelled, JobRun
from trivet.messaging.message import MessageKind
from trivet.messaging.observer import Observer
from trivet.messaging.retry import Again, RetryPolicy, after_failure
from trivet.messaging.runner import NotShared, Runner, Settle, Transaction
from trivet.messaging.subscribers import EventTarget, Subscribers
from trivet.messaging.tables import micros

JOB_LEASE_SECONDS = 30.0
"""How long a job is left alone by others after its process died; it is renewed while the job runs."""


HELD_SECONDS = 0.5
"""How long a queue that another node has something for is left alone."""


class NotSettled(RuntimeError):
    """The runner returned without settling; had it committed, the handler would take effect again."""


class UnknownSubscriber(LookupError):
    """This process has no handler for the message; another version of the program may."""


class _Parted(Exception):
    """Nothing of a shared transaction was kept."""


class _Together:
    """How the deliveries of one hand ended.

    Attributes:
        done: Their handlers took effect, with how long each took.
        failed: Their handlers raised.
        slow: Their handlers took too long to be waited for.
        left: Their turn did not come.
    """

    def __init__(self) -> None:
        self.done: list[tuple[Claimed, float]] = []
        self.failed: list[tuple[Claimed, Exception]] = []
        self.slow: list[Claimed] = []
        self.left: list[Claimed] = []

    @property
    def stuck(self) -> set[str]:
        """The queues that go no further."""
        return {each.queue for each in (*(claimed for claimed, _ in self.failed), *self.slow)}


class Attempts:
    """Runs what was claimed.

    Args:
        database: The store.
        deliveries: Where they are recorded.
        subscribers: Who handles what.
        runner: Runs handlers in units of work.
        clock: Time.
        observer: Is told what became of deliveries.
        retry: What follows a failure.
        sharing: How far deliveries share a transaction.
        pace: Learns how long handlers take.
        inbox: Whether handlers may change another database than the one that has their deliveries.
        nodes: The databases between which shards change, by name.
        chance: Random numbers in [0, 1), for jitter.
        freed: Is told of queues that can go on.
    """

    def __init__(
        self,
        database: Database,
        deliveries: Deliveries,
        subscribers: Subscribers,
        runner: Runner,
        clock: Clock,
        observer: Observer,
        retry: RetryPolicy,
        sharing: Sharing,
        pace: Pace,
        *,
        inbox: bool,
        nodes: Mapping[str, Database],
        chance: Callable[[], float],
        freed: Callable[[Queue], None],
    ) -> None:
        self._database = database
        self._deliveries = deliveries
        self._subscribers = subscribers
        self._runner = runner
        self._clock = clock
        self._observer = observer
        self._retry_policy = retry
        self._sharing = sharing
        self._pace = pace
        self._inbox = inbox
        self._nodes = nodes
        self._chance = chance
        self._freed = freed
        self.stopping = False

    async def run(self, hand: Sequence[Claimed]) -> None:
        """Handle the deliveries of one hand and record how that ended; only cancellation is raised."""
        if len(hand) == 1:
            await (self._held(hand[0]) if hand[0].message.type == HANDOVER else self._alone(hand[0]))
            return
        try:
            together = await self._share(hand)
        except _Parted as parted:
            self._pace.apart(hand[0].subscriber)
            self._observer.parted(hand[0].subscriber, parted.__cause__)
            await self._recorded(lambda session: self._give_back(session, hand, tried=True))
        except asyncio.CancelledError:
            await self._recorded(lambda session: self._give_back(session, hand))
            raise
        else:
            await self._after(together)

    # -- together

    async def _share(self, hand: Sequence[Claimed]) -> _Together:
        """Handle deliveries in one transaction.

        Raises:
            _Parted: They could not be committed together; nothing was kept.
        """
        together = _Together()
        transaction = self._runner.transaction(shared=True)
        try:
            await transaction.begin(lambda session: self._deliveries.check(session, hand))
            await self._each(transaction, hand, together)
            done = [claimed for claimed, _ in together.done]
            if done:
                await self._commit(transaction, done)
        except Exception as error:
            if transaction.outward:
                self._pace.single(hand[0].subscriber)
            raise _Parted from error
        finally:
            await transaction.close()
        return together

    async def _commit(self, transaction: Transaction, done: Sequence[Claimed]) -> None:
        settled = False

        async def settle(session: Session) -> None:
            nonlocal settled
            await self._deliveries.settle(session, done)
            settled = True

        await transaction.commit(settle)
        if not settled:
            raise NotSettled(f"{done[0].subscriber}: await settle(session) before the commit")

    async def _each(self, transaction: Transaction, hand: Sequence[Claimed], together: _Together) -> None:
        ends = self._clock.monotonic() + self._sharing.seconds
        for claimed in hand:
            began = self._clock.monotonic()
            late = began >= ends and claimed is not hand[0]
            if late or together.slow or claimed.queue in together.stuck:
                together.left.append(claimed)
                continue
            patience = asyncio.timeout(self._sharing.patience)
            try:
                async with patience:
                    await self._event(transaction, claimed)
            except (NotShared, Contention, DatabaseUnavailable, TransactionFailed):
                raise
            except asyncio.CancelledError as cancelled:
                if self.stopping:
                    raise
                together.failed.append((claimed, _cancelled(cancelled)))
            except Exception as error:
                if patience.expired():
                    together.slow.append(claimed)
                else:
                    together.failed.append((claimed, error))
            else:
                if transaction.outward:  # and the handler went on all the same
                    raise NotShared
                together.done.append((claimed, self._clock.monotonic() - began))

    async def _after(self, together: _Together) -> None:
        """Record what a shared transaction leaves behind it."""
        if together.done:
            subscriber = together.done[0][0].subscriber
            for claimed, seconds in together.done:
                self._freed((claimed.subscriber, claimed.queue))
                self._observer.delivered(subscriber, seconds)
            self._observer.committed(subscriber, len(together.done))
            self._pace.handled(subscriber, len(together.done), sum(seconds for _, seconds in together.done))
        if together.slow:
            self._pace.apart(together.slow[0].subscriber)
        if together.left or together.slow:  # first, or one that failed would have to wait for those behind it
            await self._recorded(lambda session: self._let_go(session, together))
        for claimed, error in together.failed:
            await self._end(claimed, error)

    async def _let_go(self, session: Session, together: _Together) -> None:
        if together.left:
            await self._give_back(session, together.left)
        if together.slow:
            await self._give_back(session, together.slow, tried=True)

    async def _give_back(self, session: Session, claimed: Sequence[Claimed], *, tried: bool = False) -> None:
        await self._deliveries.give_back(session, claimed, self._now(), tried=tried)

    async def _recorded(self, body: Callable[[Session], Any]) -> None:
        """Record something that is no tragedy when it fails: leases end by themselves."""
        try:
            await briefly(self._database, body)
        except Exception as trouble:
            self._observer.troubled(trouble)

    # -- held back

    async def _held(self, claimed: Claimed) -> None:
        """Let a queue go on if the node from which its shard came has nothing for it any more."""
        try:
            if await self._behind(claimed):
                later = self._now() + int(HELD_SECONDS * 1e6)
                attempts = claimed.attempts - 1
                await briefly(self._database, lambda s: self._deliveries.again(s, claimed, later, attempts, None))
            else:
                await briefly(self._database, lambda session: self._deliveries.settle(session, (claimed,)))
                self._free(claimed)
        except LeaseLost:
            self._observer.lost(claimed.subscriber)
        except Exception as trouble:  # its lease will end by itself
            self._observer.troubled(trouble)

    async def _behind(self, claimed: Claimed) -> bool:
        handover = read_handover(claimed.message.payload)
        source = self._nodes.get(handover.source)
        if source is None:  # it has left, with all that it had
            return False
        try:
            return await waits(source, claimed.subscriber, claimed.queue, handover.upto)
        except DatabaseUnavailable:
            return True

    # -- alone

    async def _alone(self, claimed: Claimed) -> None:
        began = self._clock.monotonic()
        try:
            if claimed.attempts > self._retry_policy.attempts_max:
                raise RuntimeError("the process ended while it handled this, each time")
            await self._handle(claimed)
        except asyncio.CancelledError as cancelled:
            if self.stopping:
                await self._end(claimed, None)
                raise
            await self._end(claimed, _cancelled(cancelled))
        except JobCancelled:
            self._observer.cancelled(claimed.subscriber)
        except LeaseLost:
            self._observer.lost(claimed.subscriber)
        except Exception as error:
            await self._end(claimed, error)
        else:
            self._free(claimed)
            self._observer.delivered(claimed.subscriber, self._clock.monotonic() - began)
            self._observer.committed(claimed.subscriber, 1)

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
                await self._deliveries.settle(session, (claimed,))
            settled = True

        try:
            async with asyncio.timeout(self._subscribers.seconds(claimed.subscriber, message)):
                if message.kind is MessageKind.EVENT:
                    await self._event_alone(claimed, settle)
                else:
                    await self._runner.command(self._request(claimed), message, settle)
        except HandledBefore:
            settled = elsewhere = True
        if not settled:
            raise NotSettled(f"{claimed.subscriber}: await settle(session) before the commit")
        if elsewhere:
            await briefly(self._database, lambda session: self._deliveries.settle(session, (claimed,)))

    async def _event_alone(self, claimed: Claimed, settle: Settle) -> None:
        transaction = self._runner.transaction(shared=False)
        try:
            began = self._clock.monotonic()
            await self._event(transaction, claimed)
            seconds = self._clock.monotonic() - began
            await transaction.commit(settle)
            if not self._inbox:
                self._pace.handled(claimed.subscriber, 1, seconds)
        finally:
            if transaction.outward:
                self._pace.single(claimed.subscriber)
            await transaction.close()

    async def _event(self, transaction: Transaction, claimed: Claimed) -> None:
        target, message = self._target(claimed), claimed.message
        await transaction.handle(target.subscription, target.decode(message.payload), message)

    async def _run_job(self, claimed: Claimed) -> None:
        run = JobRun(self._database, self._deliveries, claimed, self._clock, JOB_LEASE_SECONDS)
        operation, message = self._request(claimed), claimed.message
        try:
            await run.to_its_end(lambda: self._runner.job(operation, message, run.progress))
        except JobCancelled:
            await self._runner.discard(message)
            raise

    def _target(self, claimed: Claimed) -> EventTarget:
        type = claimed.message.type
        target = self._subscribers.event(claimed.subscriber, type)
        if target is None:
            raise UnknownSubscriber(f"{claimed.subscriber} does not handle {type} here")
        return target

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
            decision = after_failure(self._retry_policy, claimed.attempts, contended, self._chance())
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

    def _free(self, claimed: Claimed) -> None:
        if claimed.ordered:
            self._freed((claimed.subscriber, claimed.queue))

    def _now(self) -> int:
        return micros(self._clock.now())


def _cancelled(cancelled: BaseException) -> RuntimeError:
    return RuntimeError(f"the handler was cancelled from inside: {cancelled}")
