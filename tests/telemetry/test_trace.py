"""Trace context as the specification has it."""

from __future__ import annotations

import pytest

from trivet.telemetry.trace import trace_of
from trivet.transports.rest.exchange import joined

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"
GOOD = f"00-{TRACE}-{SPAN}-01".encode()


def test_a_good_parent_is_continued_with_a_span_of_its_own() -> None:
    trace = trace_of(joined([(b"traceparent", GOOD), (b"tracestate", b"a=1"), (b"tracestate", b"b=2")]))
    assert (trace.trace_id, trace.parent_id, trace.sampled, trace.state) == (TRACE, SPAN, True, "a=1, b=2")
    assert trace.span_id != SPAN
    assert trace.traceparent == f"00-{TRACE}-{trace.span_id}-01"


def test_identifiers_of_a_new_trace_are_of_full_length_and_not_repeated() -> None:
    traces = [trace_of({}) for _ in range(1000)]
    assert {(len(trace.trace_id), len(trace.span_id)) for trace in traces} == {(32, 16)}
    assert len({trace.trace_id for trace in traces} | {trace.span_id for trace in traces}) == 2000


def test_a_later_version_is_read_as_far_as_it_is_known() -> None:
    assert trace_of({b"traceparent": b"01" + GOOD[2:] + b"-more"}).trace_id == TRACE
    assert trace_of({b"traceparent": b"cc" + GOOD[2:]}).trace_id == TRACE


@pytest.mark.parametrize(
    "parents",
    [
        [],
        [GOOD, GOOD],
        [b"01" + GOOD[2:] + b"-more", b"01" + GOOD[2:]],
        [b""],
        [b"ff" + GOOD[2:]],
        [GOOD + b"-more"],
        [GOOD.upper()],
        [f"00-{'0' * 32}-{SPAN}-01".encode()],
        [f"00-{TRACE}-{'0' * 16}-01".encode()],
        [GOOD[:-1]],
        [GOOD.replace(b"4bf9", b"4bg9")],
        [b"01" + GOOD[2:] + b"x"],
        [b" " + GOOD],
    ],
    ids=[
        "none",
        "twice",
        "twice-later",
        "empty",
        "ff",
        "more",
        "upper",
        "zero-trace",
        "zero-span",
        "short",
        "no-hex",
        "tail",
        "space",
    ],
)
def test_anything_else_starts_a_new_trace_without_state(parents: list[bytes]) -> None:
    trace = trace_of(joined([*((b"traceparent", parent) for parent in parents), (b"tracestate", b"a=1")]))
    assert trace.trace_id not in (TRACE, "0" * 32)
    assert len(trace.trace_id) == 32
    assert (trace.parent_id, trace.sampled, trace.state) == (None, False, "")


def test_an_oversize_state_is_dropped() -> None:
    assert trace_of({b"traceparent": GOOD, b"tracestate": b"a=" + b"x" * 600}).state == ""
