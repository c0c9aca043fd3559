"""Alarms: cancel a task when its time is up, without a timer of the event loop for each of them.

A timer per request costs several microseconds to set and to cancel. Here a request is put into a set and taken out
again; while the set is not empty, one timer looks at it at every tick. An alarm may be late by that much.
"""

from __future__ import annotations

import asyncio
from typing import Any

from trivet.core.clock import Clock, Deadline

TICK_SECONDS = 0.01


class Alarm(Deadline, eq=False):
    """A deadline that cancels a task when it is over.

    Attributes:
        armed: Whether it will.
        rang: Whether it did.
    """

    task: asyncio.Task[Any]
    armed: bool = True
    rang: bool = False

    def rings(self) -> bool:
        """Whether the running task is the one that it cancels."""
        return self.armed and asyncio.current_task() is self.task


class Alarms:
    """All alarms of one process.

    Args:
        clock: Says what time it is.
        tick: Seconds between two looks.
    """

    def __init__(self, clock: Clock, *, tick: float = TICK_SECONDS) -> None:
        self._clock = clock
        self._tick = tick
        self._armed: set[Alarm] = set()
        self._looking = False

    def arm(self, at: float, task: asyncio.Task[Any]) -> Alarm:
        """Cancel a task at an instant unless the alarm is disarmed before."""
        alarm = Alarm(at, self._clock, task)
        self._armed.add(alarm)
        if not self._looking:
            self._look_soon(task.get_loop())
        return alarm

    def rearm(self, alarm: Alarm) -> None:
        """Set an alarm again that was disarmed; harmless where it was not."""
        alarm.armed = True
        self._armed.add(alarm)
        if not self._looking:
            self._look_soon(alarm.task.get_loop())

    def disarm(self, alarm: Alarm) -> None:
        """Forget the alarm; harmless after it rang."""
        alarm.armed = False
        self._armed.discard(alarm)

    def _look(self) -> None:
        now = self._clock.monotonic()
        for alarm in [alarm for alarm in self._armed if alarm.at <= now]:
            self.disarm(alarm)
            alarm.rang = True
            alarm.task.cancel()
        self._looking = False
        if self._armed:
            self._look_soon(asyncio.get_running_loop())

    def _look_soon(self, loop: asyncio.AbstractEventLoop) -> None:
        self._looking = True
        loop.call_later(self._tick, self._look)
