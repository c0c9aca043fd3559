"""Which cores there are to use, by the machine and its control groups, and how a worker is kept to one of them."""

from __future__ import annotations

import math
import os
from contextlib import suppress
from pathlib import Path, PurePosixPath

GROUPS = Path("/sys/fs/cgroup")


def usable_cores() -> int:
    """Return the number of cores, at least 1; a quota of part of a core counts as one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cpu_quota(GROUPS, _own_group())
    return max(1, cores if quota is None else min(cores, math.ceil(quota)))


def pin(pid: int, number: int) -> None:
    """Keep a process that was just started to one core, and let its threads take turns there (Linux).

    A thread that wakes another one would make way for it at once, for every single piece of work; under `SCHED_BATCH`
    it goes on until it waits itself, and what it left is done together.

    Args:
        pid: The process; threads and processes that it starts are kept to the same core.
        number: Which of the cores of this process it gets; beyond the last one they are given out anew.
    """
    cores = sorted(os.sched_getaffinity(0))
    with suppress(ProcessLookupError):  # it has ended already
        os.sched_setaffinity(pid, {cores[number % len(cores)]})
        os.sched_setscheduler(pid, os.SCHED_BATCH, os.sched_param(0))


def cpu_quota(groups: Path, own: str) -> float | None:
    """Return how many cores' time the control groups allow; ``None`` when they set no limit.

    Args:
        groups: Where control groups are mounted, version 2 or 1.
        own: The path of this process's group; each group above it limits it too.
    """
    quotas = []
    for group in (PurePosixPath(own), *PurePosixPath(own).parents):
        with suppress(OSError, ValueError):
            quota, period = (groups / str(group).strip("/") / "cpu.max").read_text().split()
            quotas.append(int(quota) / int(period))  # "max" is no number
    with suppress(OSError, ValueError):
        quota, period = ((groups / "cpu" / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        if int(quota) > 0:
            quotas.append(int(quota) / int(period))
    return min(quotas, default=None)


def _own_group() -> str:
    with suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            if line.startswith("0::"):
                return line.removeprefix("0::")
    return "/"
