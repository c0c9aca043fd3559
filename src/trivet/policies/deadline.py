"""Deadlines: an answer exists in time or not at all. Streams have an idle time and an age instead.

The time counts from the arrival, queueing included. A caller may shorten it, never lengthen it past the operation's
maximum. What is left travels on: nested calls and database statements see the same deadline.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

from trivet.core.backoff import spread
from trivet.core.call import Call, Handler, Outcome
from trivet.core.clock import Clock
from trivet.core.declaration import Kind
from trivet.core.error import DeadlineExceeded, InvalidArgument, Violation
from trivet.core.operation import Operation
from trivet.resilience.alarm import Alarm, Alarms
from trivet.runtime import Runtime

T = TypeVar("T")

GRPC_UNITS = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}


def seconds_of(value: bytes) -> float | None:
    """Read ``Request-Timeout``: decimal seconds."""
    return float(value) if re.fullmatch(rb"\d{1,9}(\.\d{1,9})?", value) and float(value) > 0 else None


def grpc_seconds_of(value: bytes) -> float | None:
    """Read ``grpc-timeout``: at most eight digits and a unit."""
    match = re.fullmatch(rb"(\d{1,8})([HMSmun])", value)
    return int(match[1]) * GRPC_UNITS[match[2]] if match else None


def connect_seconds_of(value: bytes) -> float | None:
    """Read ``Connect-Timeout-Ms``: at most ten digits."""
    return int(value) / 1000 if re.fullmatch(rb"\d{1,10}", value) else None


REQUESTED: dict[str, tuple[bytes, Callable[[bytes], float | None]]] = {
    "rest": (b"request-timeout", seconds_of),
    "graphql": (b"request-timeout", seconds_of),
    "grpc": (b"grpc-timeout", grpc_seconds_of),
    "grpc-web": (b"grpc-timeout", grpc_seconds_of),
    "connect": (b"connect-timeout-ms", connect_seconds_of),
}


def allowed(default: float, maximum: float, requested: float | None) -> float:
    """Return the seconds that a call gets: what the caller asked for up to the maximum, else the default."""
    return default if requested is None else min(requested, maximum)


def deadline(operation: Operation[..., Any] | None, runtime: Runtime, next: Handler) -> Handler:
    """End a call that is late with `DeadlineExceeded`, and a stream that is idle or old without an error.

    A stream whose items come in is a call: its caller would take an end without an error for an answer to all of them.
    """
    if operation is None:
        return next
    declared = operation.declaration
    clock = runtime.clock
    if operation.kind is Kind.STREAM and operation.takes:

        async def exchanged(call: Call) -> Outcome:
            requested = requested_by(call)
            until = call.arrival + allowed(declared.age, declared.age, requested)
            alarms = runtime.ages if requested is None else runtime.alarms
            outcome = await in_time(next(call), until, alarms)
            outcome.value = timed_out(outcome.value, until, clock, alarms)
            return outcome

        return exchanged
    if operation.kind is Kind.STREAM:

        async def streamed(call: Call) -> Outcome:
            outcome = await next(call)
            outcome.value = bounded(outcome.value, call, declared.idle, declared.age, runtime)
            return outcome

        return streamed

    default = declared.timeout
    maximum = declared.timeout_max or default
    alarms = runtime.alarms
    if operation.kind is Kind.INTAKE:  # how long it takes is up to who sends: it has an age, and its items an idle time
        default = maximum = declared.age

    async def timed(call: Call) -> Outcome:
        until = call.arrival + allowed(default, maximum, requested_by(call))
        if until <= clock.monotonic():
            raise DeadlineExceeded
        alarm: Alarm | None = call.alarm
        if alarm is not None and alarm.at == until:  # its request's, which waits for nothing else
            alarms.rearm(alarm)
        else:
            running = asyncio.current_task()
            assert running is not None  # a coroutine runs in a task
            alarm = call.alarm = alarms.arm(until, running)
        task = call.task = alarm.task
        call.deadline = alarm
        try:
            return await next(call)
        except asyncio.CancelledError as cancelled:
            if alarm.rang and task.cancelling() == 1:
                raise DeadlineExceeded from cancelled
            raise
        finally:
            alarms.disarm(alarm)
            if alarm.rang:
                alarm.rang = False  # it is heard
                task.uncancel()  # also where the handler kept the cancellation to itself

    return timed


def requested_by(call: Call) -> float | None:
    """Return how many seconds the caller gives, `None` if it does not say.

    Raises:
        InvalidArgument: The header field can not be read.
    """
    known = REQUESTED.get(call.protocol)
    if known is None:
        return None
    name, read = known
    value = call.fields.get(name)
    if value is None:
        return None
    seconds = read(value)
    if seconds is None:
        field = name.decode()
        raise InvalidArgument(violations=(Violation(detail=f"{field}: not a time-out", pointer=f"#/{field}"),))
    return seconds


async def in_time(awaited: Awaitable[T], until: float, alarms: Alarms) -> T:
    """Return what comes of something in time.

    Raises:
        DeadlineExceeded: It took longer.
    """
    task = asyncio.current_task()
    assert task is not None  # a coroutine runs in a task
    alarm = alarms.arm(until, task)
    try:
        return await awaited
    except asyncio.CancelledError as cancelled:
        if alarm.rang and task.cancelling() == 1:
            raise DeadlineExceeded from cancelled
        raise
    finally:
        alarms.disarm(alarm)
        if alarm.rang:
            task.uncancel()


async def timed_out(items: AsyncIterator[Any], until: float, clock: Clock, alarms: Alarms) -> AsyncIterator[Any]:
    """Yield items until the time is up.

    Raises:
        DeadlineExceeded: It is.
    """
    try:
        while clock.monotonic() < until:
            try:
                item = await in_time(anext(items), until, alarms)
            except StopAsyncIteration:
                return
            yield item
        raise DeadlineExceeded
    finally:
        close = getattr(items, "aclose", None)
        if close is not None:
            await close()


async def bounded(
    items: AsyncIterator[Any], call: Call, idle: float, age: float, runtime: Runtime
) -> AsyncIterator[Any]:
    """Yield items until none came for `idle` seconds or the stream is `age` seconds old; then close the source.

    Streams that began together do not end together: up to a tenth of the age is left out.
    """
    monotonic, alarms = runtime.clock.monotonic, runtime.ages
    end = monotonic() + spread(age, 0.1)
    try:
        while (now := monotonic()) < end:
            task = asyncio.current_task()
            assert task is not None  # a coroutine runs in a task
            alarm = alarms.arm(min(now + idle, end), task)
            try:
                item = await anext(items)
            except StopAsyncIteration:
                return
            except asyncio.CancelledError:
                if alarm.rang and task.cancelling() == 1:
                    call.cut = True
                    return
                raise
            finally:
                alarms.disarm(alarm)
                if alarm.rang:
                    task.uncancel()
            yield item
        call.cut = True
    finally:
        close = getattr(items, "aclose", None)
        if close is not None:
            await close()
