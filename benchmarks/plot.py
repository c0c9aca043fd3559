"""The report as a picture: one panel for each section."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.report import Chart, Report, Series

OURS = "#0b6e4f"
PEERS = "#8d99ae"
LINES = ("#0b6e4f", "#c8553d", "#3d5a80", "#e0a458")
COLUMNS = 2
PANEL = (5.6, 3.4)


def draw(report: Report, paths: Sequence[Path]) -> None:
    """Draw all sections into each of the files; the name says the format.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    import matplotlib

    matplotlib.use("Agg")
    # Text stays text and ids do not change from run to run, so a committed SVG is small and its changes can be read.
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "trivet", "font.size": 9})
    from matplotlib import pyplot

    rows = -(-len(report.sections) // COLUMNS)
    columns = min(COLUMNS, len(report.sections))
    figure, axes = pyplot.subplots(
        rows, columns, figsize=(PANEL[0] * columns, PANEL[1] * rows), squeeze=False, layout="constrained"
    )
    panels = list(axes.flat)
    for panel, section in zip(panels, report.sections, strict=False):
        (bars if section.chart.kind == "bars" else lines)(panel, section.chart)
        panel.set_title(section.title, fontsize=10, loc="left")
        panel.spines[["top", "right"]].set_visible(False)
    for panel in panels[len(report.sections) :]:
        panel.set_axis_off()
    machine = report.machine
    figure.suptitle(f"{report.day}, {machine.python}, {machine.cpus} processors. Lower is better.", fontsize=9)
    for path in paths:
        figure.savefig(path, dpi=150, metadata={"Date": None} if path.suffix == ".svg" else None)
    pyplot.close(figure)


def bars(panel: Any, chart: Chart) -> None:
    """Draw things side by side, ours in its own colour, each with its value."""
    series = chart.series[0]
    places = range(len(chart.labels))
    compared = any(label == "Trivet" for label in chart.labels)
    colours = [PEERS if compared and label != "Trivet" else OURS for label in chart.labels]
    panel.barh(places, series.values, color=colours, xerr=whiskers(series), error_kw={"elinewidth": 0.8, "capsize": 2})
    panel.set_yticks(places, chart.labels)
    panel.invert_yaxis()
    panel.set_xlim(0, max(series.high) * 1.18)
    panel.set_xlabel(chart.unit)
    for place, value, high in zip(places, series.values, series.high, strict=True):
        panel.annotate(f"{value:,.3g}" if value < 1000 else f"{value:,.0f}", (high, place), (4, 0),
                       textcoords="offset points", va="center", fontsize=8)  # fmt: skip


def lines(panel: Any, chart: Chart) -> None:
    """Draw something that grows, or does not, from zero up."""
    for series, colour in zip(chart.series, LINES, strict=False):
        panel.errorbar(chart.labels, series.values, yerr=whiskers(series), label=series.name, color=colour,
                       marker="o", markersize=4, linewidth=1.2, capsize=2)  # fmt: skip
    panel.set_ylim(0, max(max(series.high) for series in chart.series) * 1.25)
    panel.set_ylabel(chart.unit)
    panel.set_xlabel(chart.along)
    panel.legend(frameon=False, fontsize=8, ncols=2, loc="lower left")


def whiskers(series: Series) -> list[list[float]]:
    """Return how far the extremes are from each value."""
    return [
        [value - low for value, low in zip(series.values, series.low, strict=True)],
        [high - value for value, high in zip(series.values, series.high, strict=True)],
    ]
