"""What is measured. A new comparison is a `Case` in this list; a new kind of question is a class like `Growth`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from benchmarks import graphql, orders, products, products_postgresql, rpc
from benchmarks.comparison import Case
from benchmarks.consistency import Consistency
from benchmarks.data import Data
from benchmarks.effort import Effort
from benchmarks.growth import Growth
from benchmarks.progress import Progress
from benchmarks.protocols import Protocols
from benchmarks.report import Section
from benchmarks.startup import Startup


class Benchmark(Protocol):
    """One question to be measured."""

    @property
    def name(self) -> str:
        """As on the command line."""
        ...

    @property
    def title(self) -> str:
        """The question in a few words."""
        ...

    def steps(self, effort: Effort) -> int:
        """Return how many steps of progress a run takes."""
        ...

    def run(self, effort: Effort, workplace: Path, progress: Progress) -> Section:
        """Measure, counting the steps on `progress`; files go below `workplace`."""
        ...


SUITE: tuple[Benchmark, ...] = (
    orders.ORDER,
    products.PRODUCT,
    products.PRODUCTS,
    products_postgresql.PRODUCT,
    products_postgresql.PRODUCTS,
    Data(),
    Consistency(),
    Protocols(),
    graphql.GRAPHQL,
    rpc.RPC,
    Growth(),
    Startup(),
)


class Unknown(Exception):
    """The command line names something that is not measured."""


def chosen(only: Sequence[str] | None) -> list[Benchmark]:
    """Return the benchmarks that ``NAME`` or ``NAME/CONTENDER`` choose, in the order of the suite; all for none.

    Raises:
        Unknown: There is no such benchmark or contender; the message lists what there is.
    """
    if not only:
        return list(SUITE)
    wanted: dict[str, set[str]] = {}
    for choice in only:
        name, _, contender = choice.partition("/")
        benchmark = next((benchmark for benchmark in SUITE if benchmark.name == name), None)
        if benchmark is None:
            raise Unknown(f"there is no benchmark {name!r}; there are {', '.join(b.name for b in SUITE)}")
        names = [c.name for c in benchmark.contenders] if isinstance(benchmark, Case) else []
        if contender and contender not in names:
            raise Unknown(f"{name} has no contender {contender!r}; it has {', '.join(names) or 'none'}")
        wanted.setdefault(name, set()).update([contender] if contender else names)
    return [
        benchmark.narrowed(frozenset(wanted[benchmark.name])) if isinstance(benchmark, Case) else benchmark
        for benchmark in SUITE
        if benchmark.name in wanted
    ]
