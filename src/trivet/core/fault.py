"""What is wrong with an app, found when it is built: all of it in one go, each with its place and its mend."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any

from trivet.core.shape import Struct


class Place(Struct):
    """A line of source."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


NOWHERE = Place(file="<unknown>", line=0)


def place_of(thing: Callable[..., Any] | type) -> Place:
    """Return where a function or a class is written; `NOWHERE` for what has no source."""
    target = inspect.unwrap(thing) if not isinstance(thing, type) else thing
    code = getattr(target, "__code__", None)
    if code is not None:
        return Place(file=code.co_filename, line=code.co_firstlineno)
    try:
        return Place(file=inspect.getsourcefile(target) or "<unknown>", line=inspect.getsourcelines(target)[1])
    except (OSError, TypeError):
        return NOWHERE


def place_of_caller(package: str = "trivet.") -> Place:
    """Return the nearest line on the stack that is not Trivet's own."""
    frame: FrameType | None = inspect.currentframe()
    while frame is not None:
        if not str(frame.f_globals.get("__name__", "")).startswith(package):
            return Place(file=frame.f_code.co_filename, line=frame.f_lineno)
        frame = frame.f_back
    return NOWHERE


class Fault(Struct):
    """One thing that is wrong with an app.

    Attributes:
        rule: Stable kebab-case name of the rule that was broken.
        place: Where it is written.
        problem: What is wrong, with the names involved.
        mend: What to do about it.
    """

    rule: str
    place: Place
    problem: str
    mend: str

    def __str__(self) -> str:
        return f"{self.place}: {self.problem}\n    {self.mend} [{self.rule}]"


class FaultyApp(Exception):
    """The app cannot be built; `faults` says everything that is wrong with it."""

    def __init__(self, name: str, faults: Iterable[Fault]) -> None:
        self.faults = tuple(sorted(faults, key=lambda f: (f.place.file, f.place.line, f.rule)))
        lines = "\n".join(str(fault) for fault in self.faults)
        count = len(self.faults)
        super().__init__(f"{name} cannot start: {count} thing{'s' * (count != 1)} to mend\n{lines}")
