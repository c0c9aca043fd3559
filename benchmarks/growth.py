"""Does a request cost more when the application has more operations? Called in process, so nothing else is measured.

``python -m benchmarks.growth OPERATIONS BLOCKS`` measures one size, in an interpreter of its own, and prints `Figures`.
"""

from __future__ import annotations

import sys
import time
import tracemalloc
from pathlib import Path
from statistics import median

import msgspec

from benchmarks import subject
from benchmarks.apps import trivet_many
from benchmarks.comparison import as_series
from benchmarks.effort import Effort
from benchmarks.figures import ratio, spread
from benchmarks.inside import Caller, started
from benchmarks.progress import Progress
from benchmarks.report import Chart, Section, Target
from trivet.core.shape import Struct

SIZES = (10, 100, 1000)
ENDS = ("first", "last")
BLOCK = 200
BLOCKS_PER_SECOND = 10
TRACED = 50
FLAT = 1.10


class Cost(Struct):
    """What one request costs.

    Attributes:
        cpu: Processor time in seconds.
        memory: Bytes that are allocated at the highest point of the request.
        kept: Bytes that are still allocated after a request, on average over many.
    """

    cpu: float
    memory: float
    kept: float


class Figures(Struct):
    """The cost of the first and of the last operation of an application."""

    first: Cost
    last: Cost


class Growth:
    """Time and memory per request with 10, 100 and 1,000 operations."""

    name = "growth"
    title = "Cost per request as operations are added"

    def steps(self, effort: Effort) -> int:
        """Return how many steps of progress a run takes."""
        return effort.rounds * len(SIZES)

    def run(self, effort: Effort, workplace: Path, progress: Progress) -> Section:
        """Measure all sizes by turns."""
        taken: dict[int, list[Figures]] = {size: [] for size in SIZES}
        blocks = max(2, round(effort.seconds * BLOCKS_PER_SECOND))
        for _ in range(effort.rounds):
            for size in SIZES:
                progress.doing(f"growth: {size} operations")
                taken[size].append(subject.run(["-m", "benchmarks.growth", str(size), str(blocks)], Figures))
                progress.step()
        return self._section(taken)

    def _section(self, taken: dict[int, list[Figures]]) -> Section:
        cpu = {(size, end): [getattr(f, end).cpu * 1e6 for f in taken[size]] for size in SIZES for end in ENDS}
        memory = {(size, end): [getattr(f, end).memory for f in taken[size]] for size in SIZES for end in ENDS}
        kept = {(size, end): [getattr(f, end).kept for f in taken[size]] for size in SIZES for end in ENDS}
        base = (SIZES[0], "first")
        top = (SIZES[-1], "last")
        time_ratio, memory_ratio = ratio(cpu[top], cpu[base]), ratio(memory[top], memory[base])
        text = f"the last of {SIZES[-1]:,} operations costs at most {FLAT:g} times the first of {SIZES[0]}"
        return Section(
            name=self.name,
            title=self.title,
            about="`GET` of an item that needs no database, called in process as an ASGI application, the access log "
            f"written to a file: the first and the last entity of applications with {', '.join(map(str, SIZES))} "
            "operations. Memory is the highest point of a request over its beginning; kept is what is still there "
            "afterwards, on average.",
            columns=["operations", "which", "CPU µs/request", "memory bytes/request", "kept bytes/request"],
            rows=[
                [
                    f"{size:,}",
                    end,
                    f"{median(cpu[size, end]):.1f}",
                    f"{median(memory[size, end]):,.0f}",
                    f"{median(kept[size, end]):.1f}",
                ]
                for size in SIZES
                for end in ENDS
            ],
            chart=Chart(
                kind="lines",
                unit="CPU µs per request",
                along="operations in the application",
                labels=[f"{size:,}" for size in SIZES],
                series=[as_series(f"{end} operation", [spread(cpu[size, end]) for size in SIZES]) for end in ENDS],
            ),
            targets=[
                Target(claim=f"Time: {text}", found=f"{time_ratio.median:.2f}", met=time_ratio.median <= FLAT),
                Target(claim=f"Memory: {text}", found=f"{memory_ratio.median:.2f}", met=memory_ratio.median <= FLAT),
            ],
            data={str(size): [msgspec.to_builtins(figures) for figures in taken[size]] for size in SIZES},
        )


async def measure(operations: int, blocks: int) -> Figures:
    """Measure one size in this process."""
    app = trivet_many.build(operations)
    async with started(app):
        callers = [Caller(app, trivet_many.path(entity)) for entity in (0, trivet_many.entities(operations) - 1)]
        times: list[list[float]] = [[], []]
        for number in range(blocks + 1):
            for caller, durations in zip(callers, times, strict=True):
                began = time.process_time()
                for _ in range(BLOCK):
                    await caller.call()
                if number:  # the first block warms up
                    durations.append((time.process_time() - began) / BLOCK)
        memory = [await trace(caller) for caller in callers]
    first, last = (
        Cost(cpu=median(durations), memory=peak, kept=kept)
        for durations, (peak, kept) in zip(times, memory, strict=True)
    )
    return Figures(first=first, last=last)


async def trace(caller: Caller) -> tuple[float, float]:
    """Return the median peak of a request in bytes, and what each leaves behind."""
    tracemalloc.start()
    try:
        for _ in range(TRACED):
            await caller.call()
        peaks = []
        begin = tracemalloc.get_traced_memory()[0]
        for _ in range(TRACED):
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            await caller.call()
            peaks.append(tracemalloc.get_traced_memory()[1] - before)
        kept = (tracemalloc.get_traced_memory()[0] - begin) / TRACED
    finally:
        tracemalloc.stop()
    return median(peaks), kept


if __name__ == "__main__":
    subject.answer(lambda: measure(int(sys.argv[1]), int(sys.argv[2])))
