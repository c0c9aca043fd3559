"""How much work a run puts into its figures."""

from __future__ import annotations

from trivet.core.shape import Struct


class Effort(Struct):
    """How long and how often everything is measured.

    Attributes:
        rounds: How often each contender is driven, by turns.
        seconds: Length of one measurement.
        warmup: Seconds of load before each measurement.
        connections: Kept alive and busy all the time.
        requests: Different requests that are sent in turn, where a case has that many.
        repeats: Processes started for a figure of the start-up.
    """

    rounds: int = 7
    seconds: float = 2.0
    warmup: float = 0.3
    connections: int = 16
    requests: int = 200
    repeats: int = 11


FULL = Effort()
QUICK = Effort(rounds=2, seconds=0.3, warmup=0.1, connections=8, requests=20, repeats=3)
