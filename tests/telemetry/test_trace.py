"""Trace context as the specification has it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trivet.telemetry.trace import trace_of
from trivet.transports.rest.exchange import joined

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"
GOOD = f"00-{TRACE}-{SPAN}-01".encode()


def test_a_good_parent_is_continued_with_a_span_of_its_own() -> None:
    trace = trace_of(joined([(b"traceparent", GOOD), (b"tracestate", b"a=1"), (b"tracestate", b"b=2")]))
    assert (trace.trace_id, trace.parent_id, trace.sampled, trace.state) == (TRACE, SPAN, True, "a=1,b=2")
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


def state(value: str) -> str:
    return trace_of({b"traceparent": GOOD, b"tracestate": value.encode("latin-1")}).state


@pytest.mark.parametrize(
    ("value", "carried"),
    [
        ("", ""),
        ("foo=1", "foo=1"),
        ("foo=1 \t , \t bar=2, \t baz=3", "foo=1,bar=2,baz=3"),
        ("foo=1,,bar=2,", "foo=1,bar=2"),
        ("foo=1,bar=2,foo=3", "foo=1,bar=2"),
        ("0tenant@system=1", "0tenant@system=1"),
        ("a_-*/z=!\"#$%&'()*+-./:;<>?@[]^_`{|}~", "a_-*/z=!\"#$%&'()*+-./:;<>?@[]^_`{|}~"),
        ("foo=a b", "foo=a b"),
        ("z" * 256 + "=1", "z" * 256 + "=1"),
        ("t" * 241 + "@" + "v" * 14 + "=1", "t" * 241 + "@" + "v" * 14 + "=1"),
        (",".join(f"k{n}=1" for n in range(32)), ",".join(f"k{n}=1" for n in range(32))),
    ],
)
def test_a_good_state_is_carried_on(value: str, carried: str) -> None:
    assert state(value) == carried


@pytest.mark.parametrize(
    "value",
    [
        "foo",
        "=1",
        "foo=",
        "foo=a=b",
        "foo @=1",
        "foo\t=1",
        "foo;=1",
        "Foo=1",
        "0foo=1",
        "foo@=1",
        "@foo=1",
        "foo@@bar=1",
        "foo@bar@baz=1",
        "z" * 257 + "=1",
        "t" * 242 + "@v=1",
        "t@" + "v" * 15 + "=1",
        "foo=" + "v" * 257,
        "foo=\xe9",
        ",".join(f"k{n}=1" for n in range(33)),
    ],
)
def test_a_malformed_state_is_left_behind_and_the_trace_goes_on(value: str) -> None:
    trace = trace_of({b"traceparent": GOOD, b"tracestate": f"ok=1,{value}".encode("latin-1")})
    assert (trace.trace_id, trace.state) == (TRACE, "")


def test_an_oversize_state_loses_long_members_first_and_then_the_last_ones() -> None:
    short = [f"k{n:02}={'v' * 40}" for n in range(11)]
    assert state(",".join(["long=" + "x" * 200, *short[:10]])) == ",".join(short[:10])
    assert state(",".join([*short, "k11=" + "v" * 40])) == ",".join(short)
    assert state("a=" + "x" * 256 + ",b=" + "x" * 256) == "a=" + "x" * 256


@given(st.text(st.characters(max_codepoint=255), max_size=700))
def test_what_is_carried_on_is_well_formed_and_short(value: str) -> None:
    carried = state(value)
    assert len(carried) <= 512
    assert state(carried) == carried


def test_the_flags_that_the_specification_knows_are_carried_on_and_no_others() -> None:
    flags = {f"{given:02x}": trace_of({b"traceparent": GOOD[:-2] + b"%02x" % given}) for given in (0, 1, 2, 3, 0xFF)}
    assert {given: trace.traceparent[-2:] for given, trace in flags.items()} == {
        "00": "00",
        "01": "01",
        "02": "02",
        "03": "03",
        "ff": "03",
    }
    assert trace_of({}).traceparent.endswith("-02")
