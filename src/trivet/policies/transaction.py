"""One unit of work per call: a command's is one transaction, begun at its first use and committed after the handler.

When other writers are in the way (serialization failure, deadlock, a busy store) the whole handler runs again, at most
three times, after a pause with full jitter.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from trivet.core.backoff import full_jitter
from trivet.core.call import Call, Handler, Outcome
from trivet.core.declaration import Kind
from trivet.core.error import Code, Error
from trivet.core.operation import Operation
from trivet.data.database import Contention
from trivet.policies.isolate import arguments_copier
from trivet.policies.work import UnitOfWork
from trivet.runtime import Runtime

RETRIES = 3
FIRST_SECONDS, LONGEST_SECONDS = 0.02, 0.08

NOTHING_SEEN = (Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED, Code.CANCELLED)
"""Who is answered with these has seen nothing of the store, and it may not be there to be asked."""


def transaction(operation: Operation[..., Any] | None, runtime: Runtime, next: Handler) -> Handler:
    """Open the unit of work that the operation's context stands on, and end it."""
    if operation is None:
        return next
    if operation.kind in (Kind.COMMAND, Kind.JOB):
        return _committed(operation, runtime, next)
    if operation.kind is Kind.STREAM:
        return _streamed(operation, runtime, next)
    return _read(operation, runtime, next)


def _committed(operation: Operation[..., Any], runtime: Runtime, next: Handler) -> Handler:
    copy = arguments_copier(operation) if operation.kind is Kind.COMMAND else None

    async def committed(call: Call) -> Outcome:
        attempt = 0
        given = call.arguments
        while True:
            if copy is not None:
                call.arguments = copy(given)  # whatever an attempt did to them, the next one sees what was sent
            work = call.work = UnitOfWork(runtime, call, operation.declaration, True)
            try:
                outcome = await next(call)
                if work.idle:  # as with a command that only asks others
                    work.end()
                    return outcome
                await work.commit()
            except Contention as contended:
                await work.close()
                attempt += 1
                wait = full_jitter(attempt, FIRST_SECONDS, LONGEST_SECONDS)
                if attempt > RETRIES or (call.deadline is not None and call.deadline.remaining() <= wait):
                    raise Contention(retry_after=1) from contended
                await asyncio.sleep(wait)
            except BaseException as failed:
                await _account(work, failed)
                await work.close()
                raise
            else:
                await work.close()
                return outcome

    return committed


def _read(operation: Operation[..., Any], runtime: Runtime, next: Handler) -> Handler:
    if operation.declaration.snapshot and runtime.replicated:
        return _snapshot(operation, runtime, next)

    async def read(call: Call) -> Outcome:
        work = call.work = UnitOfWork(runtime, call, operation.declaration, False)
        try:
            outcome = await next(call)
            if work.asked:
                await work.account()
            return outcome
        except Error as failed:
            await _account(work, failed)
            raise
        finally:
            if work.idle:
                work.end()
            else:
                await work.close()

    return read


async def _account(work: UnitOfWork, failed: BaseException | None = None) -> None:
    """Tell a caller that keeps account what it has seen, also by what it was refused: there was no such row."""
    if work.asked and (failed is None or (isinstance(failed, Error) and failed.code not in NOTHING_SEEN)):
        await work.account()


def _snapshot(operation: Operation[..., Any], runtime: Runtime, next: Handler) -> Handler:
    """Read as of one instant; where the node can not go on with that, the handler runs again on the primary."""
    copy = arguments_copier(operation)

    async def snapshot(call: Call) -> Outcome:
        given = call.arguments
        for last in (False, True):
            if copy is not None:
                call.arguments = copy(given)
            work = call.work = UnitOfWork(runtime, call, operation.declaration, False)
            if last:
                work.reads = "primary"
            try:
                outcome = await next(call)
                await _account(work)
                return outcome
            except Contention:
                if last:
                    raise
            except Error as failed:
                await _account(work, failed)
                raise
            finally:
                await work.close()
        raise AssertionError("unreachable")

    return snapshot


def _streamed(operation: Operation[..., Any], runtime: Runtime, next: Handler) -> Handler:
    async def streamed(call: Call) -> Outcome:
        call.witness = None  # what an event leads to is on the primary: a replica may not have it yet
        if runtime.feed is not None:  # before the handler reads anything: it misses nothing
            call.resume_after = await runtime.feed.start(call.resume_after)
        work = call.work = UnitOfWork(runtime, call, operation.declaration, False)
        outcome = await next(call)
        outcome.value = closing(outcome.value, call, work)
        return outcome

    async def closing(items: AsyncIterator[Any], call: Call, work: UnitOfWork) -> AsyncIterator[Any]:
        try:
            async for item in items:
                if call.position is None or call.position.give():
                    yield item
        finally:
            close = getattr(items, "aclose", None)
            if close is not None:
                await close()
            await work.close()

    return streamed
