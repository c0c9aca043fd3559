"""One run of a job: no transaction is open while it works; its lease is renewed and its progress written beside it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

from trivet.core.clock import Clock
from trivet.core.error import Unavailable
from trivet.core.job import JobProgress, JobState
from trivet.data.database import Database, Session
from trivet.messaging import jobs
from trivet.messaging.brief import briefly
from trivet.messaging.deliveries import Claimed, Deliveries, LeaseLost
from trivet.messaging.tables import micros

PROGRESS_SECONDS = 1.0
"""How often progress is written at most, and how often a run looks whether the job was cancelled."""


class JobCancelled(Exception):
    """The job was cancelled while it ran, and what it was doing was cut off."""


class JobRun:
    """A claimed job on its way to its end.

    Args:
        database: The store.
        deliveries: Renews and settles the claim.
        claimed: The job's delivery.
        clock: Time.
        lease: Seconds for which a lease lasts; it is renewed three times as often.
    """

    def __init__(
        self, database: Database, deliveries: Deliveries, claimed: Claimed, clock: Clock, lease: float
    ) -> None:
        self._database = database
        self._deliveries = deliveries
        self._claimed = claimed
        self._clock = clock
        self._lease = lease
        self._said: JobProgress | None = None
        self._written: JobProgress | None = None

    def progress(self, done: int, total: int | None) -> None:
        """Take what the job says about itself; it is written within a second."""
        self._said = JobProgress(done=done, total=total)

    async def to_its_end(self, work: Callable[[], Awaitable[bytes]]) -> None:
        """Run the job and record its result, or why it failed.

        An error of the job is final, except for `Unavailable`: the caller has it tried again.

        Raises:
            Unavailable: The job, or the store, says to try later.
            JobCancelled: It was cancelled before its end.
            LeaseLost: Somebody else runs the job by now.
        """
        try:
            await self._run(work)
        except LeaseLost:
            if await self._cancelled():
                raise JobCancelled from None
            raise

    async def _run(self, work: Callable[[], Awaitable[bytes]]) -> None:
        await briefly(self._database, self._begin)
        working = asyncio.ensure_future(work())
        keeping = asyncio.create_task(self._keep())
        try:
            await asyncio.wait((working, keeping), return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                keeping.result()  # only a lost lease ends it first
            result = await working
        except (Unavailable, LeaseLost):
            raise
        except Exception as error:
            failed = error
            await briefly(self._database, lambda session: self._fail(session, failed))
        else:
            await briefly(self._database, lambda session: self._succeed(session, result))
        finally:
            await _cancel(working, keeping)

    async def _keep(self) -> None:
        pause = min(PROGRESS_SECONDS, self._lease / 3)
        renewed = self._clock.monotonic()
        while True:
            await asyncio.sleep(pause)
            renew = self._clock.monotonic() - renewed >= self._lease / 3
            said = self._said
            try:
                if not renew and said is self._written:
                    await self._look()
                    continue
                await briefly(self._database, self._renew)
            except Unavailable:
                continue  # as long as the lease lasts there is time to try again
            renewed, self._written = self._clock.monotonic(), said

    async def _look(self) -> None:
        """Return when the lease has not ended; whoever cancels the job ends it."""
        session = self._reading()
        try:
            await self._deliveries.check(session, (self._claimed,))
        finally:
            await session.close()

    async def _cancelled(self) -> bool:
        session = self._reading()
        try:
            found = await jobs.get(session, self._claimed.message.id)
        finally:
            await session.close()
        return found is not None and found.status.state is JobState.CANCELLED

    def _reading(self) -> Session:
        return self._database.session(write=False, reads="primary")

    async def _begin(self, session: Session) -> None:
        await self._renew(session)
        await jobs.start(session, self._claimed.message.id, self._clock.now())

    async def _renew(self, session: Session) -> None:
        until = self._clock.now() + timedelta(seconds=self._lease)
        await self._deliveries.renew(session, self._claimed, micros(until))
        await self._report(session)

    async def _report(self, session: Session) -> None:
        if self._said is not None:
            await jobs.report(session, self._claimed.message.id, self._said)

    async def _succeed(self, session: Session, result: bytes) -> None:
        await self._deliveries.settle(session, (self._claimed,))
        await self._report(session)
        await jobs.succeed(session, self._claimed.message.id, result, self._clock.now())

    async def _fail(self, session: Session, error: Exception) -> None:
        await self._deliveries.settle(session, (self._claimed,))
        await self._report(session)
        await jobs.fail(session, self._claimed.message.id, error, self._clock.now())


async def _cancel(*tasks: asyncio.Future[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
