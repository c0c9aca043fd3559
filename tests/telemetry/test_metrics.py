"""Metrics: bound children, honest merging of workers, the Prometheus text format."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trivet.telemetry.metrics import MAX_CHILDREN, Registry, merge, render


def text(*registries: Registry, gone: tuple[Registry, ...] = ()) -> list[str]:
    """Return the samples of several workers as they are scraped, comments left out."""
    merged = merge([(str(i), r.snapshot()) for i, r in enumerate(registries)], [r.snapshot() for r in gone])
    return [line for line in render(merged).splitlines() if not line.startswith("#")]


def test_counters_of_workers_are_summed_and_those_that_ended_still_count() -> None:
    workers = [Registry(), Registry(), Registry()]
    for worker in workers:
        worker.counter("jobs_total", "Jobs.", ["kind"]).bind("mail").inc(2)
    assert text(*workers[:2], gone=(workers[2],)) == ['jobs_total{kind="mail"} 6']


def test_gauges_keep_their_worker_and_end_with_it() -> None:
    a, b, ended = Registry(), Registry(), Registry()
    for worker, value in ((a, 1), (b, 2), (ended, 3)):
        worker.gauge("open", "Open.").bind().set(value)
    assert text(a, b, gone=(ended,)) == ['open{worker="0"} 1', 'open{worker="1"} 2']


def test_a_watched_gauge_is_read_at_the_snapshot() -> None:
    registry, things = Registry(), [1, 2]
    registry.gauge("things", "Things.").bind().watch(lambda: len(things))
    things.append(3)
    assert text(registry) == ['things{worker="0"} 3']


@given(st.lists(st.floats(0, 20), max_size=30), st.lists(st.floats(0, 20), max_size=30))
def test_a_merged_histogram_is_the_histogram_of_all_values(left: list[float], right: list[float]) -> None:
    bounds = (0.5, 1.0, 10.0)
    a, b, both = Registry(), Registry(), Registry()
    for registry, values in ((a, left), (b, right), (both, [*left, *right])):
        child = registry.histogram("seconds", "Seconds.", bounds=bounds).bind()
        for value in values:
            child.observe(value)
    buckets = [line for line in text(a, b) if "sum" not in line]
    assert buckets == [line for line in text(both) if "sum" not in line]
    assert f'seconds_bucket{{le="1"}} {sum(v <= 1 for v in left + right)}' in buckets
    assert f"seconds_count {len(left + right)}" in buckets


def test_labels_are_escaped() -> None:
    registry = Registry()
    registry.counter("odd_total", 'Back\\slash\nand "quotes".', ["what"]).bind('a"b\\c\nd').inc()
    assert render(merge([("0", registry.snapshot())])) == (
        '# HELP odd_total Back\\\\slash\\nand "quotes".\n# TYPE odd_total counter\nodd_total{what="a\\"b\\\\c\\nd"} 1\n'
    )


def test_label_sets_are_bounded() -> None:
    family = Registry().counter("callers_total", "Callers.", ["who"])
    for number in range(MAX_CHILDREN + 50):
        family.bind(str(number)).inc()
    assert len(family.children) == MAX_CHILDREN + 1
    assert family.children[("overflow",)].value == 50


def test_a_family_is_declared_once_and_not_differently() -> None:
    registry = Registry()
    assert registry.counter("a_total", "A.") is registry.counter("a_total", "A.")
    with pytest.raises(ValueError, match="a counter with the labels"):
        registry.gauge("a_total", "A.")
    with pytest.raises(ValueError, match="ends in _total"):
        registry.counter("a", "A.")
    with pytest.raises(ValueError, match="has the labels"):
        registry.counter("b_total", "B.", ["x"]).bind()
    with pytest.raises(ValueError, match="increase"):
        registry.histogram("h", "H.", bounds=[2, 1])
    with pytest.raises(ValueError, match="Prometheus"):
        registry.gauge("no-dash", "N.")


def test_a_worker_of_another_release_does_not_spoil_the_sum() -> None:
    old, new = Registry(), Registry()
    old.histogram("s", "S.", bounds=[1]).bind().observe(0.5)
    new.histogram("s", "S.", bounds=[1, 2]).bind().observe(0.5)
    assert "s_count 1" in text(old, new)
