"""Alarms cancel what is late and leave everything else alone."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from trivet.core.clock import SystemClock
from trivet.resilience.alarm import Alarms


def this_task() -> asyncio.Task[Any]:
    """Return the running task."""
    task = asyncio.current_task()
    assert task is not None
    return task


async def sleeper(alarms: Alarms, seconds: float, sleep: float) -> str:
    """Sleep under an alarm and say what happened."""
    alarm = alarms.arm(SystemClock().monotonic() + seconds, this_task())
    try:
        await asyncio.sleep(sleep)
    except asyncio.CancelledError:
        if alarm.rang and alarm.task.uncancel() == 0:
            return "late"
        raise
    finally:
        alarms.disarm(alarm)
    return "in time"


async def test_what_is_late_is_cancelled_and_what_is_not_is_left_alone() -> None:
    alarms = Alarms(SystemClock())
    ended = await asyncio.gather(*(sleeper(alarms, 0.02, 30) for _ in range(20)), sleeper(alarms, 30, 0.1))
    assert ended == ["late"] * 20 + ["in time"]


async def test_a_disarmed_alarm_never_rings() -> None:
    alarms = Alarms(SystemClock())
    alarms.disarm(alarms.arm(SystemClock().monotonic() + 0.01, this_task()))
    await asyncio.sleep(0.05)


async def test_a_cancellation_from_outside_stays_one() -> None:
    alarms = Alarms(SystemClock())
    task = asyncio.create_task(sleeper(alarms, 30, 30))
    await asyncio.sleep(0.03)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_alarms_ring_again_after_there_were_none() -> None:
    alarms = Alarms(SystemClock())
    for _ in range(2):
        assert await sleeper(alarms, 0.01, 30) == "late"
        await asyncio.sleep(0.05)
