"""The arithmetic of the report: medians, percentiles and ratios of rounds that were measured side by side."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from trivet.core.shape import Struct


class Spread(Struct):
    """A median with the smallest and the largest value behind it."""

    median: float
    low: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    """Return the median and the extremes of at least one value."""
    return Spread(median=median(values), low=min(values), high=max(values))


def ratio(values: Sequence[float], reference: Sequence[float]) -> Spread:
    """Return how many times the reference the values are.

    Each round is divided by the same round of the reference, which ran moments apart from it: what slows the whole
    machine for a while slows both and cancels out.
    """
    return spread([value / base for value, base in zip(values, reference, strict=True)])


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the smallest value that at least `share` of the ordered values do not exceed (nearest rank)."""
    if not ordered:
        raise ValueError("nothing was measured: drive for longer")
    rank = -(-len(ordered) * share // 1)
    return ordered[max(0, min(len(ordered), int(rank)) - 1)]
