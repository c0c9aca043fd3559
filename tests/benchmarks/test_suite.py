from __future__ import annotations

import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import subject
from benchmarks.comparison import DifferentAnswers, difference, turns
from benchmarks.consistency import Caller
from benchmarks.data import Figures
from benchmarks.driver import UnexpectedAnswer
from benchmarks.figures import percentile, ratio, spread
from benchmarks.protocols import Clients, Load
from benchmarks.report import Report, table
from benchmarks.server import Request
from benchmarks.suite import SUITE, Unknown, chosen
from trivet.testing import serve

ROOT = Path(__file__).parent.parent.parent
VALUES = st.lists(st.floats(0.001, 1e6), min_size=1, max_size=50)


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)


def test_a_quick_run_over_bare_asgi_leaves_a_well_formed_report(tmp_path: Path) -> None:
    done = bench(
        "--quick", "--only", "order/bare", "--rounds", "2", "--seconds", "0.1", "--no-plot", "--json",
        "--output", str(tmp_path),
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    report = msgspec.json.decode(done.stdout, type=Report)
    assert report == msgspec.json.decode((tmp_path / "results.json").read_bytes(), type=Report)
    assert not report.complete
    (section,) = report.sections
    assert section.name == "order"
    assert [len(row) for row in section.rows] == [len(section.columns)]
    rounds = section.data["bare"]["rounds"]
    assert [taken["seen"]["requests"] > 0 for taken in rounds] == [True, True]
    assert section.data["bare"]["cpu_ratio"] == {"median": 1.0, "low": 1.0, "high": 1.0}
    assert "| bare ASGI + msgspec |" in (tmp_path / "results.md").read_text()


def test_the_data_layer_and_the_driver_answer_alike_and_each_round_has_a_figure_of_both(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/data.db"

    figures = subject.run(["-m", "benchmarks.data", "sqlite", url, "2", "10", "20"], Figures)

    for side in (figures.driver, figures.trivet):
        assert {question: [cost > 0 for cost in costs] for question, costs in side.items()} == {
            "get": [True, True],
            "page": [True, True],
        }
    assert len(figures.event_cpu) == len(figures.event_rate) == 2


async def test_the_client_of_the_protocols_counts_answers_and_stops_at_one_that_was_not_expected() -> None:
    with serve("benchmarks.apps.trivet_spine:app", app_dir=ROOT) as served:
        page = Request(method="GET", target="/v1/products?page_size=1")
        load = Load(
            url=served.url, requests=[page], version="1", kept=False, authority=b"", at_once=2, warmup=0, seconds=0.1
        )
        seen = await Clients(load).drive(load.seconds)
        missing = msgspec.structs.replace(load, requests=[msgspec.structs.replace(page, target="/v1/nothing")])
        with pytest.raises(ExceptionGroup) as failed:
            await Clients(missing).drive(missing.seconds)

    assert seen.requests >= 2
    assert 0 < seen.p50 <= seen.p99
    assert failed.group_contains(UnexpectedAnswer, match="status 404 instead of 200")


class Mistaken(Caller):
    """Hears another number than the one that was answered."""

    def ask(self, method: str, body: bytes | None, token: str = "") -> tuple[Any, str]:
        found, token = super().ask(method, body, token)
        return {"value": found["value"] - 1}, token


def test_who_reads_what_it_wrote_measures_pairs_and_stops_at_another_number() -> None:
    with serve("benchmarks.apps.trivet_ledger:app", app_dir=ROOT) as served:
        port = int(served.url.rpartition(":")[2])
        with closing(Caller(port)) as caller:
            seen = caller.drive(0.05)
        with closing(Mistaken(port)) as mistaken, pytest.raises(DifferentAnswers, match="1 was written, 0 was read"):
            mistaken.drive(0.05)

    assert seen.pairs >= 1
    assert 0 < seen.p50 <= seen.p99


def test_a_partial_run_can_not_replace_the_committed_results() -> None:
    done = bench("--keep", "--quick")

    assert done.returncode == 1
    assert "--keep needs a full run" in done.stderr


def test_a_name_that_is_not_measured_is_refused_with_what_there_is() -> None:
    with pytest.raises(Unknown, match="there is no benchmark 'orders'; there are order, product, products"):
        chosen(["orders"])
    with pytest.raises(Unknown, match="growth has no contender 'bare'; it has none"):
        chosen(["growth/bare"])


def test_choices_keep_the_order_of_the_suite() -> None:
    assert chosen(None) == list(SUITE)
    assert [benchmark.name for benchmark in chosen(["startup", "order/bare", "order"])] == ["order", "startup"]


def test_each_round_begins_with_another_contender() -> None:
    assert list(turns(["a", "b"], 3)) == ["a", "b", "b", "a", "a", "b"]


@pytest.mark.parametrize(
    ("one", "other", "place"),
    [
        pytest.param({"a": [1, {"b": 2}]}, {"a": [1, {"b": 2}]}, None, id="equal"),
        pytest.param({"a": [1, {"b": 2}]}, {"a": [1, {"b": 3}]}, "#/a/1/b: 2 and 3", id="a value"),
        pytest.param({"a": 1}, {"b": 1}, "#: fields ['a', 'b'] are not on both sides", id="a field"),
        pytest.param([1], [1, 2], "#: 1 and 2 items", id="a length"),
        pytest.param(1, 1.0, "#: 1 and 1.0", id="a type"),
    ],
)
def test_a_difference_between_answers_is_found_and_named(one: object, other: object, place: str | None) -> None:
    assert difference(one, other) == place


@given(VALUES, st.floats(0.01, 1))
def test_a_percentile_is_the_smallest_value_that_enough_values_do_not_exceed(values: list[float], share: float) -> None:
    found = percentile(sorted(values), share)

    assert sum(value <= found for value in values) >= share * len(values) - 1e-9
    assert sum(value < found for value in values) < share * len(values)


@given(VALUES, st.floats(0.1, 10))
def test_a_ratio_does_not_change_when_a_round_is_slower_for_everybody(values: list[float], slowness: float) -> None:
    halves = [value / 2 for value in values]
    slowed = [value * slowness for value in halves]

    assert ratio(values, halves) == spread([2.0] * len(values))
    assert ratio([value * slowness for value in values], slowed).median == pytest.approx(2.0)


def test_columns_of_numbers_are_aligned_to_the_right() -> None:
    assert table(["what", "ms"], [["a", "1.00"], ["long name", "12.00"]]).splitlines() == [
        "| what      |    ms |",
        "| --------- | ----: |",
        "| a         |  1.00 |",
        "| long name | 12.00 |",
    ]
