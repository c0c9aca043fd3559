"""Servers side by side over HTTP: start them all, verify that they answer the same, drive them by turns, compare.

A case is a list of contenders and a plan. The plan asks one server, as any client would, and returns what to drive it
with, each request beside the part of its answer that must be equal everywhere. It runs once for each server, so
requests may differ where servers do, as opaque page tokens do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.effort import Effort
from benchmarks.figures import Spread, ratio, spread
from benchmarks.progress import Progress
from benchmarks.report import Chart, Section, Series, Target
from benchmarks.server import Request, Sample, Server, serving
from trivet.core.shape import Struct

Ask = Callable[[Request], Any]
Plan = Callable[[Ask, Effort], list[tuple[Request, Any]]]
Prepare = Callable[[Path], Mapping[str, str]]

REFERENCE = "trivet"


class DifferentAnswers(Exception):
    """Two contenders do not do the same work, so comparing their cost would mean nothing."""


class Contender(Struct):
    """An application that takes part.

    Attributes:
        name: As on the command line; the one called ``trivet`` is what the others are compared with.
        title: As the report shows it.
        app: ``module:attribute``.
        prepare: Makes what the application needs in a directory of its own, its database for example, and returns
            environment variables that say where it is.
    """

    name: str
    title: str
    app: str
    prepare: Prepare | None = None


class Claim(Struct):
    """That a contender spends at least so many times what the reference spends."""

    contender: str
    at_least: float
    text: str


class Case(Struct):
    """A comparison over HTTP."""

    name: str
    title: str
    about: str
    contenders: tuple[Contender, ...]
    plan: Plan
    claims: tuple[Claim, ...] = ()

    def narrowed(self, names: frozenset[str]) -> Case:
        """Return the case with these contenders only."""
        return msgspec.structs.replace(self, contenders=tuple(c for c in self.contenders if c.name in names))

    def steps(self, effort: Effort) -> int:
        """Return how many steps of progress a run takes."""
        return len(self.contenders) * (effort.rounds + 1)

    def run(self, effort: Effort, workplace: Path, progress: Progress) -> Section:
        """Measure all contenders.

        Raises:
            DifferentAnswers: They do not answer the same.
            ServerFailed: One does not serve.
        """
        with ExitStack() as stack:
            servers = {}
            for contender in self.contenders:
                progress.doing(f"{self.name}: starting {contender.title}")
                servers[contender.name] = stack.enter_context(self._serving(contender, workplace))
            requests = self._verified(servers, effort, progress)
            samples: dict[str, list[Sample]] = {name: [] for name in servers}
            for name in turns(list(servers), effort.rounds):
                progress.doing(f"{self.name}: driving {name}")
                samples[name].append(servers[name].measure(requests[name], effort))
                progress.step()
        return self._section(samples)

    def _serving(self, contender: Contender, workplace: Path) -> Any:
        home = workplace / f"{self.name}-{contender.name}"
        home.mkdir(parents=True)
        environment = contender.prepare(home) if contender.prepare else {}
        return serving(f"{self.name}-{contender.name}", contender.app, environment, home)

    def _verified(self, servers: Mapping[str, Server], effort: Effort, progress: Progress) -> dict[str, list[Request]]:
        plans: dict[str, list[tuple[Request, Any]]] = {}
        for name, server in servers.items():
            progress.doing(f"{self.name}: verifying {name}")
            plans[name] = self.plan(server.ask, effort)
            progress.step()
        (first, expected), *others = plans.items()
        for name, found in others:
            if len(found) != len(expected):
                raise DifferentAnswers(f"{self.name}: {first} has {len(expected)} requests, {name} {len(found)}")
            for (request, one), (_, other) in zip(expected, found, strict=True):
                place = difference(one, other)
                if place:
                    raise DifferentAnswers(
                        f"{self.name}: {request.method} {request.target}: {first} and {name}: {place}"
                    )
        return {name: [request for request, _ in plan] for name, plan in plans.items()}

    def _section(self, samples: Mapping[str, list[Sample]]) -> Section:
        reference = REFERENCE if REFERENCE in samples else next(iter(samples))
        titles = {contender.name: contender.title for contender in self.contenders}
        cpu = {name: spread([sample.cpu * 1e6 for sample in taken]) for name, taken in samples.items()}
        ratios = {
            name: ratio([s.cpu for s in taken], [s.cpu for s in samples[reference]]) for name, taken in samples.items()
        }
        rows = [
            [
                titles[name],
                f"{cpu[name].median:,.0f}",
                f"{ratios[name].median:.2f}",
                f"{ratios[name].low:.2f} to {ratios[name].high:.2f}",
                f"{spread([s.rate for s in taken]).median:,.0f}",
                f"{spread([s.seen.p50 * 1e3 for s in taken]).median:.2f}",
                f"{spread([s.seen.p99 * 1e3 for s in taken]).median:.2f}",
                f"{spread([s.memory / 2**20 for s in taken]).median:.0f}",
            ]
            for name, taken in samples.items()
        ]
        return Section(
            name=self.name,
            title=self.title,
            about=self.about,
            columns=[
                "server",
                "CPU µs/request",
                f"CPU, {titles[reference]} = 1",
                "range",
                "requests/s",
                "p50 ms",
                "p99 ms",
                "RSS MiB",
            ],
            rows=rows,
            chart=Chart(
                kind="bars",
                unit="CPU µs per request",
                labels=[titles[name] for name in samples],
                series=[as_series("CPU per request", [cpu[name] for name in samples])],
            ),
            targets=[
                self._target(claim, ratios[claim.contender])
                for claim in self.claims
                if reference == REFERENCE and claim.contender in ratios
            ],
            data={
                name: {
                    "cpu_us": msgspec.to_builtins(cpu[name]),
                    "cpu_ratio": msgspec.to_builtins(ratios[name]),
                    "rounds": [msgspec.to_builtins(sample) for sample in taken],
                }
                for name, taken in samples.items()
            },
        )

    def _target(self, claim: Claim, found: Spread) -> Target:
        return Target(
            claim=claim.text,
            found=f"{found.median:.2f} ({found.low:.2f} to {found.high:.2f})",
            met=found.median >= claim.at_least,
        )


def turns(names: Sequence[str], rounds: int) -> Iterator[str]:
    """Yield every name once in each round; each round begins with another one."""
    for number in range(rounds):
        start = number % len(names)
        yield from (*names[start:], *names[:start])


def as_series(name: str, spreads: Sequence[Spread]) -> Series:
    """Return spreads as a chart has them."""
    return Series(
        name=name,
        values=[s.median for s in spreads],
        low=[s.low for s in spreads],
        high=[s.high for s in spreads],
    )


def difference(one: Any, other: Any, at: str = "#") -> str | None:
    """Return where two decoded JSON values differ first and how, or ``None``."""
    if isinstance(one, dict) and isinstance(other, dict):
        if one.keys() != other.keys():
            return f"{at}: fields {sorted(one.keys() ^ other.keys())} are not on both sides"
        inner: Iterator[tuple[Any, Any, Any]] = ((key, one[key], other[key]) for key in one)
    elif isinstance(one, list) and isinstance(other, list):
        if len(one) != len(other):
            return f"{at}: {len(one)} and {len(other)} items"
        inner = ((i, a, b) for i, (a, b) in enumerate(zip(one, other, strict=True)))
    else:
        return None if type(one) is type(other) and one == other else f"{at}: {one!r} and {other!r}"
    return next((place for key, a, b in inner if (place := difference(a, b, f"{at}/{key}"))), None)
