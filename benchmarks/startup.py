"""What a process pays before its first request: importing Trivet, and building an application of 500 operations.

``python -m benchmarks.startup OPERATIONS TABLES`` measures one application, in an interpreter of its own.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from benchmarks import subject
from benchmarks.comparison import as_series
from benchmarks.effort import Effort
from benchmarks.figures import spread
from benchmarks.progress import Progress
from benchmarks.report import Chart, Section, Target
from benchmarks.server import ROOT, environment
from trivet.core.shape import Struct

OPERATIONS = 500
IMPORT_LIMIT = 0.15
READY_LIMIT = 1.0


class Ready(Struct):
    """Seconds until an application is ready, after ``import trivet``.

    Attributes:
        declare: Running the modules' own code.
        start: ``App(...)`` and its start-up.
    """

    declare: float
    start: float

    @property
    def total(self) -> float:
        """All of it."""
        return self.declare + self.start


class Startup:
    """Import time, and time until 500 operations are ready."""

    name = "startup"
    title = "Start"

    def steps(self, effort: Effort) -> int:
        """Return how many steps of progress a run takes."""
        return effort.repeats

    def run(self, effort: Effort, workplace: Path, progress: Progress) -> Section:
        """Measure everything by turns, in fresh interpreters."""
        bare: list[float] = []
        imported: list[float] = []
        reported: list[float] = []
        plain: list[Ready] = []
        stored: list[Ready] = []
        for tables in (0, 1):  # leaves the bytecode that every later start finds
            subject.run(["-m", "benchmarks.startup", str(OPERATIONS), str(tables)], Ready)
        for _ in range(effort.repeats):
            progress.doing("startup: import trivet")
            bare.append(interpreter("pass"))
            imported.append(interpreter("import trivet"))
            reported.append(import_time("trivet"))
            for tables, results in ((0, plain), (1, stored)):
                progress.doing(f"startup: {OPERATIONS} operations{' and their tables' * tables}")
                results.append(subject.run(["-m", "benchmarks.startup", str(OPERATIONS), str(tables)], Ready))
            progress.step()
        seconds = {
            "import trivet": [whole - without for whole, without in zip(imported, bare, strict=True)],
            "import trivet, as -X importtime says": reported,
            f"{OPERATIONS} operations ready": [ready.total for ready in plain],
            f"{OPERATIONS} operations and their tables ready": [ready.total for ready in stored],
        }
        found = {what: spread(values) for what, values in seconds.items()}
        first, _, third, _ = found.values()
        return Section(
            name=self.name,
            title=self.title,
            about="Fresh interpreters with the bytecode cached. The import is the time of `python -c 'import trivet'` "
            "less that of `python -c pass`. Ready is everything after that: the modules' own code, `App(...)`, what "
            "it imports, and its start-up. The tables are created in a new SQLite database, one for five operations.",
            columns=["what", "median s", "fastest s", "slowest s"],
            rows=[[what, f"{s.median:.3f}", f"{s.low:.3f}", f"{s.high:.3f}"] for what, s in found.items()],
            chart=Chart(
                kind="bars", unit="seconds", labels=list(found), series=[as_series("seconds", list(found.values()))]
            ),
            targets=[
                target("`import trivet`", first.median, IMPORT_LIMIT),
                target(f"{OPERATIONS} operations are ready", third.median, READY_LIMIT),
            ],
            data={
                **seconds,
                "median of the steps": {
                    step: median([getattr(ready, step) for ready in stored]) for step in ("declare", "start")
                },
            },
        )


def target(what: str, found: float, limit: float) -> Target:
    """Return the claim that something takes less than so many seconds."""
    return Target(claim=f"{what} in under {limit:g} s", found=f"{found:.3f} s", met=found < limit)


def interpreter(code: str) -> float:
    """Return the seconds that a fresh interpreter takes to run the code.

    Raises:
        SubjectFailed: The code failed.
    """
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment(), capture_output=True, check=False)
    elapsed = time.perf_counter() - began
    if done.returncode:
        raise subject.SubjectFailed(f"python -c {code!r}:\n{done.stderr.decode(errors='replace')}")
    return elapsed


def import_time(package: str) -> float:
    """Return the cumulative seconds that ``-X importtime`` reports for a package."""
    command = [sys.executable, "-X", "importtime", "-c", f"import {package}"]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, check=False)
    for line in done.stderr.decode().splitlines():
        _, *figures = line.removeprefix("import time:").split("|")
        if len(figures) == 2 and figures[1].strip() == package:
            return int(figures[0]) / 1e6
    raise subject.SubjectFailed(f"python -X importtime says nothing about {package}: {done.stderr[-500:]!r}")


async def measure(operations: int, tables: bool) -> Ready:
    """Measure one application in this process."""
    from benchmarks.apps import trivet_many
    from benchmarks.inside import started

    began = time.perf_counter()
    modules = trivet_many.declare(operations, tables=tables)
    declared = time.perf_counter()
    async with started(trivet_many.compose(modules)):
        opened = time.perf_counter()
    return Ready(declare=declared - began, start=opened - declared)


if __name__ == "__main__":
    subject.answer(lambda: measure(int(sys.argv[1]), sys.argv[2] == "1"))
