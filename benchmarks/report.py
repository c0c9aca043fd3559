"""What a run found: sections with their tables, charts and targets, and the files that show them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from benchmarks.effort import Effort
from benchmarks.machine import Machine
from trivet.core.shape import Struct, field


class Target(Struct):
    """Something that we said would be true, and whether it was."""

    claim: str
    found: str
    met: bool


class Series(Struct):
    """Values along a chart's labels, with the extremes behind each."""

    name: str
    values: list[float]
    low: list[float]
    high: list[float]


class Chart(Struct):
    """A section as a picture.

    Attributes:
        kind: Bars for things side by side, lines for something that grows.
        unit: What the values are, the label of their axis.
        along: Label of the other axis.
        labels: One for each value of each series.
    """

    kind: Literal["bars", "lines"]
    unit: str
    labels: list[str]
    series: list[Series]
    along: str = ""


class Section(Struct):
    """One measured question and its answer.

    Attributes:
        name: As on the command line.
        title: The question in a few words.
        about: How it was measured.
        columns: Of the table.
        rows: Of the table; the first column is text, the others are numbers as shown.
        chart: The same as a picture.
        targets: What was claimed about it.
        data: Everything that was measured.
    """

    name: str
    title: str
    about: str
    columns: list[str]
    rows: list[list[str]]
    chart: Chart
    targets: list[Target] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)


class Report(Struct):
    """A whole run.

    Attributes:
        complete: Whether it has all sections and contenders at full effort; only then are its figures worth keeping.
    """

    day: str
    complete: bool
    effort: Effort
    machine: Machine
    sections: list[Section]


def markdown(report: Report, picture: str | None) -> str:
    """Return the report for people; `picture` is the path of the plot as seen from the document."""
    machine, effort = report.machine, report.effort
    parts = [
        "# Benchmarks",
        f"Measured on {report.day} by `make bench` with {machine.python} on {machine.system}, "
        f"{machine.cpus} processor{'s' if machine.cpus != 1 else ''}, driver and servers on the same machine.",
    ]
    if not report.complete:
        parts.append("**A partial or quick run: good for a look, not for a claim.**")
    targets = [target for section in report.sections for target in section.targets]
    if targets:
        rows = [[target.claim, target.found, "yes" if target.met else "**no**"] for target in targets]
        parts += ["## What we claim", table(["claim", "found", "holds"], rows, numbers_from=3)]
    if picture:
        parts.append(f"![The figures below as a picture]({picture})")
    for section in report.sections:
        parts += [f"## {section.title}", section.about, table(section.columns, section.rows)]
    versions = ", ".join(f"{name} {version}" for name, version in machine.packages.items())
    parts += [
        "## How",
        f"All servers of a section run at the same time and are driven by turns, {effort.rounds} rounds of "
        f"{effort.seconds:g} s after {effort.warmup:g} s of warm-up, over {effort.connections} kept-alive connections "
        "that always have one request in flight. The order changes from round to round. Before that the answers of all "
        "servers are compared; during it every status is checked.",
        "The main figure is processor time per request, user and system, of the server's whole process tree: on a "
        "shared machine throughput says more about the neighbours. Figures are medians over the rounds. Ratios are "
        "taken within each round, and their median is shown. Every server is one process of uvicorn with httptools "
        "and uvloop and the same settings. The peers write no access log; Trivet writes its own, to a file, because "
        "it is part of the product.",
        f"Versions: {versions}.",
    ]
    return "\n\n".join(parts) + "\n"


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], numbers_from: int = 1) -> str:
    """Return a Markdown table whose columns line up in a terminal too."""
    widths = [max(len(row[i]) for row in (columns, *rows)) for i in range(len(columns))]

    def line(cells: Sequence[str]) -> str:
        padded = (
            cell.ljust(width) if i < numbers_from else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return f"| {' | '.join(padded)} |"

    rule = [
        "-" * width if i < numbers_from else "-" * (width - 1) + ":"
        for i, width in enumerate(max(w, 3) for w in widths)
    ]
    widths = [max(width, 3) for width in widths]
    return "\n".join([line(columns), line(rule), *(line(row) for row in rows)])
