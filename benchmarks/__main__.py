"""The command: choose, measure, show, keep."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from benchmarks.comparison import DifferentAnswers
from benchmarks.effort import FULL, QUICK, Effort
from benchmarks.machine import describe
from benchmarks.plot import draw
from benchmarks.progress import Progress
from benchmarks.report import Report, markdown
from benchmarks.server import ServerFailed
from benchmarks.subject import SubjectFailed
from benchmarks.suite import SUITE, Unknown, chosen

HERE = Path(__file__).parent
RESULTS = HERE / "results"
EPILOG = """\
examples:
  python -m benchmarks                        everything, at full effort: some minutes
  python -m benchmarks --quick                everything, with little effort: is the suite sound?
  python -m benchmarks --only order           one benchmark
  python -m benchmarks --only order/trivet --only order/bare
                                              two contenders of one benchmark
  python -m benchmarks --keep                 also replace the committed RESULTS.md and RESULTS.svg
  python -m benchmarks --only growth --json | jq .sections[0].rows

benchmarks:
"""


def parser() -> argparse.ArgumentParser:
    """Return what reads the command line."""
    width = max(len(benchmark.name) for benchmark in SUITE) + 2
    listed = "\n".join(f"  {benchmark.name:<{width}}{benchmark.title}" for benchmark in SUITE)
    result = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure Trivet beside its peers: in one run, as ratios and as processor time per request.",
        epilog=EPILOG + listed,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    result.add_argument("--quick", action="store_true", help="little effort: for a look, not for a claim")
    result.add_argument(
        "--only", action="append", metavar="NAME[/CONTENDER]", help="measure only this; may be repeated"
    )
    result.add_argument("--json", action="store_true", help="print JSON instead of Markdown")
    result.add_argument("--keep", action="store_true", help="replace RESULTS.md and RESULTS.svg; needs a full run")
    result.add_argument("--no-plot", action="store_true", help="draw nothing; then matplotlib is not needed")
    result.add_argument(
        "--output", type=Path, default=RESULTS, metavar="DIR", help="where files go (benchmarks/results)"
    )
    result.add_argument("--rounds", type=int, help=f"rounds of turns ({FULL.rounds})")
    result.add_argument("--seconds", type=float, help=f"length of one measurement ({FULL.seconds:g})")
    result.add_argument("--connections", type=int, help=f"connections that are kept busy ({FULL.connections})")
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its status: 0, 1 when something could not be measured, 130 when interrupted."""
    options = parser().parse_args(arguments)
    said = {
        name: value for name in ("rounds", "seconds", "connections") if (value := getattr(options, name)) is not None
    }
    effort = msgspec.convert(
        msgspec.to_builtins(msgspec.structs.replace(QUICK if options.quick else FULL, **said)), Effort
    )
    complete = not (options.quick or options.only or said)
    if options.keep and not complete:
        print(
            "--keep needs a full run: leave out --quick, --only, --rounds, --seconds, --connections.", file=sys.stderr
        )
        return 1
    try:
        report = measure(options.only, effort, complete)
    except (DifferentAnswers, ServerFailed, SubjectFailed, Unknown) as failure:
        print(f"error: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; nothing was written", file=sys.stderr)
        return 130
    write(report, options.output, plot=not options.no_plot)
    if options.keep:
        draw(report, [HERE / "RESULTS.svg"])
        (HERE / "RESULTS.md").write_text(markdown(report, "RESULTS.svg"))
    if options.json:
        print(msgspec.json.format(msgspec.json.encode(report), indent=2).decode())
    else:
        print(markdown(report, None))
        print(f"Written to {options.output}/", file=sys.stderr)
    return 0


def measure(only: Sequence[str] | None, effort: Effort, complete: bool) -> Report:
    """Run the chosen benchmarks, one after the other.

    Raises:
        Unknown: `only` names something that does not exist.
    """
    benchmarks = chosen(only)
    progress = Progress(sum(benchmark.steps(effort) for benchmark in benchmarks))
    try:
        with tempfile.TemporaryDirectory(prefix="benchmarks-") as workplace:
            sections = [benchmark.run(effort, Path(workplace), progress) for benchmark in benchmarks]
    finally:
        progress.close()
    return Report(
        day=datetime.now(UTC).date().isoformat(),
        complete=complete,
        effort=effort,
        machine=describe(),
        sections=sections,
    )


def write(report: Report, folder: Path, *, plot: bool) -> None:
    """Leave the report in a folder: ``results.json``, ``results.md`` and the plot as SVG and PNG."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2))
    if plot:
        draw(report, [folder / "results.svg", folder / "results.png"])
    (folder / "results.md").write_text(markdown(report, "results.svg" if plot else None))


if __name__ == "__main__":
    sys.exit(main())
