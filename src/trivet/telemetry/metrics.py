"""The metrics core: counters, gauges and histograms whose children are bound once, when the app is built.

A bound child costs an addition. Nothing is looked up by label while a request runs. Each worker has a `Registry`; the
process that answers ``/metrics`` merges their snapshots: counters and histograms are summed, so that a scrape sees the
service and not one worker of it; gauges keep a ``worker`` label, because a sum of them would mean nothing.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Generic, Literal, TypeVar

import msgspec

from trivet.core.shape import Struct

LATENCY_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Bounds for durations in seconds: what a request takes, from a cache hit to the longest default deadline."""

NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
MAX_CHILDREN = 10_000
"""Label sets of one family; further ones share the child whose labels are all ``overflow``."""


class CounterChild:
    """A number that only grows."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def inc(self, amount: float = 1.0) -> None:
        """Add `amount`, which is not negative."""
        self.value += amount


class GaugeChild:
    """A number that goes up and down."""

    __slots__ = ("read", "value")

    def __init__(self) -> None:
        self.value = 0.0
        self.read: Callable[[], float] | None = None

    def set(self, value: float) -> None:
        """Set the number."""
        self.value = value

    def inc(self, amount: float = 1.0) -> None:
        """Add `amount`."""
        self.value += amount

    def dec(self, amount: float = 1.0) -> None:
        """Take `amount` away."""
        self.value -= amount

    def watch(self, read: Callable[[], float]) -> None:
        """Ask `read` for the number at each snapshot instead."""
        self.read = read


class HistogramChild:
    """How observed values are spread over the bounds of the family."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


Child = TypeVar("Child", CounterChild, GaugeChild, HistogramChild)
Type = Literal["counter", "gauge", "histogram"]


class Family(Generic[Child]):
    """All children of one metric, one for each set of label values."""

    def __init__(
        self, name: str, help: str, type: Type, labels: tuple[str, ...], make: Callable[[], Child], unbounded: bool
    ) -> None:
        self.name = name
        self.help = help
        self.type: Type = type
        self.labels = labels
        self.children: dict[tuple[str, ...], Child] = {}
        self._make: Callable[[], Child] = make
        self._unbounded = unbounded

    def bind(self, *values: str) -> Child:
        """Return the child with these label values, made at the first call; keep it instead of asking again.

        Args:
            values: One for each label, in the order in which they were declared.
        """
        child = self.children.get(values)
        if child is None:
            if len(values) != len(self.labels):
                raise ValueError(f"{self.name} has the labels {self.labels}, got {values}")
            if len(self.children) >= MAX_CHILDREN and not self._unbounded:
                values = ("overflow",) * len(values)
                child = self.children.get(values)
            if child is None:
                child = self.children[values] = self._make()
        return child


class Sample(Struct, array_like=True):
    """One child as data; `counts` and `sum` are those of a histogram, `value` that of the others."""

    labels: tuple[str, ...]
    value: float = 0.0
    counts: tuple[int, ...] = ()
    sum: float = 0.0


class FamilySnapshot(Struct, array_like=True):
    """One family as data."""

    name: str
    help: str
    type: Type
    labels: tuple[str, ...]
    bounds: tuple[float, ...]
    samples: list[Sample]


ENCODER = msgspec.msgpack.Encoder()
DECODER = msgspec.msgpack.Decoder(list[FamilySnapshot])


class Registry:
    """The metrics of one process."""

    def __init__(self) -> None:
        self._families: dict[str, Family[Any]] = {}
        self._bounds: dict[str, tuple[float, ...]] = {}

    def counter(self, name: str, help: str, labels: Sequence[str] = ()) -> Family[CounterChild]:
        """Declare a counter; its name ends in ``_total``. Declaring the same one twice gives the same family."""
        if not name.endswith("_total"):
            raise ValueError(f"counter {name!r}: a counter's name ends in _total")
        return self._family(name, help, "counter", labels, CounterChild)

    def gauge(self, name: str, help: str, labels: Sequence[str] = ()) -> Family[GaugeChild]:
        """Declare a gauge. Declaring the same one twice gives the same family."""
        return self._family(name, help, "gauge", labels, GaugeChild)

    def histogram(
        self, name: str, help: str, labels: Sequence[str] = (), bounds: Sequence[float] = LATENCY_SECONDS
    ) -> Family[HistogramChild]:
        """Declare a histogram with increasing upper bounds. Declaring the same one twice gives the same family."""
        limits = tuple(float(bound) for bound in bounds)
        if list(limits) != sorted(set(limits)) or not limits or not all(map(math.isfinite, limits)):
            raise ValueError(f"histogram {name!r}: bounds are finite and increase, got {bounds}")
        family: Family[HistogramChild] = self._family(name, help, "histogram", labels, lambda: HistogramChild(limits))
        self._bounds[name] = limits
        return family

    def _family(self, name: str, help: str, type: Type, labels: Sequence[str], make: Callable[[], Any]) -> Family[Any]:
        known = self._families.get(name)
        if known is not None:
            if (known.type, known.labels) != (type, tuple(labels)):
                raise ValueError(f"{name} is a {known.type} with the labels {known.labels} already")
            return known
        if not NAME.fullmatch(name) or not all(LABEL.fullmatch(label) for label in labels):
            raise ValueError(f"{name}{tuple(labels)}: not a name of the Prometheus data model")
        family: Family[Any] = Family(name, help, type, tuple(labels), make, not labels)
        self._families[name] = family
        if not labels:
            family.bind()
        return family

    def snapshot(self) -> bytes:
        """Return everything as it is now, to be merged with other processes' snapshots."""
        families = []
        for family in self._families.values():
            samples = [_sample(labels, child) for labels, child in list(family.children.items())]
            families.append(
                FamilySnapshot(
                    name=family.name,
                    help=family.help,
                    type=family.type,
                    labels=family.labels,
                    bounds=self._bounds.get(family.name, ()),
                    samples=samples,
                )
            )
        return ENCODER.encode(families)


def _sample(labels: tuple[str, ...], child: CounterChild | GaugeChild | HistogramChild) -> Sample:
    if isinstance(child, HistogramChild):
        return Sample(labels=labels, counts=tuple(child.counts), sum=child.sum)
    if isinstance(child, GaugeChild) and child.read is not None:
        return Sample(labels=labels, value=float(child.read()))
    return Sample(labels=labels, value=child.value)


def merge(snapshots: Iterable[tuple[str, bytes]], gone: Iterable[bytes] = ()) -> list[FamilySnapshot]:
    """Merge the snapshots of several workers into one.

    Args:
        snapshots: Worker names with their snapshots.
        gone: The last snapshots of workers that ended: their counters and histograms still count, their gauges do not.
    """
    families: dict[str, FamilySnapshot] = {}
    totals: dict[str, dict[tuple[str, ...], Sample]] = {}
    for worker, data in (*snapshots, *((None, data) for data in gone)):
        for family in DECODER.decode(data):
            gauge = family.type == "gauge"
            if gauge and worker is None:
                continue
            labels = (*family.labels, "worker") if gauge else family.labels
            known = families.setdefault(family.name, msgspec.structs.replace(family, labels=labels, samples=[]))
            if (known.type, known.labels, known.bounds) != (family.type, labels, family.bounds):
                continue  # another release of this program during a rolling restart: its family can not be added up
            into = totals.setdefault(family.name, {})
            for sample in family.samples:
                key = (*sample.labels, worker) if gauge and worker is not None else sample.labels
                into[key] = _add(into.get(key), msgspec.structs.replace(sample, labels=key))
    return [
        msgspec.structs.replace(family, samples=[totals[name][key] for key in sorted(totals.get(name, {}))])
        for name, family in sorted(families.items())
    ]


def _add(known: Sample | None, sample: Sample) -> Sample:
    if known is None:
        return sample
    counts = tuple(a + b for a, b in zip(known.counts, sample.counts, strict=True))
    return Sample(labels=sample.labels, value=known.value + sample.value, counts=counts, sum=known.sum + sample.sum)


CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def render(families: Iterable[FamilySnapshot]) -> str:
    """Return the families in the Prometheus text format, version 0.0.4."""
    lines: list[str] = []
    for family in families:
        lines.append(f"# HELP {family.name} {_escape_help(family.help)}")
        lines.append(f"# TYPE {family.name} {family.type}")
        for sample in family.samples:
            pairs = dict(zip(family.labels, sample.labels, strict=True))
            if family.type != "histogram":
                lines.append(f"{family.name}{_labels(pairs)} {_number(sample.value)}")
                continue
            running = 0
            for bound, count in zip((*family.bounds, math.inf), sample.counts, strict=True):
                running += count
                lines.append(f"{family.name}_bucket{_labels({**pairs, 'le': _number(bound)})} {running}")
            lines.append(f"{family.name}_sum{_labels(pairs)} {_number(sample.sum)}")
            lines.append(f"{family.name}_count{_labels(pairs)} {running}")
    return "\n".join(lines) + "\n"


def _labels(pairs: Mapping[str, str]) -> str:
    if not pairs:
        return ""
    return "{" + ",".join(f'{name}="{_escape_label(value)}"' for name, value in pairs.items()) + "}"


def _escape_help(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")


def _escape_label(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _number(value: float) -> str:
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value == int(value) and abs(value) < 2**53 else repr(value)
