"""Completing values one by one, exactly as the specification says (section 6.4): the slow way for what does not fit.

Where a value is wrong, the error is noted and the nearest nullable place gets ``null``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from trivet.contracts.graphql.types import EnumType, Ref
from trivet.transports.graphql.plan import Branch, Pairs, Selection, Unit
from trivet.transports.graphql.project import LISTS, RANGES, getter_of

Step = str | int


class Wrong(Exception):
    """A value is not what its type says.

    Args:
        problem: What is wrong, for the log.
        path: Where, from the top of the unit.
        location: Where the document asks for it.
    """

    def __init__(self, problem: str, path: list[Step], location: tuple[int, int] | None) -> None:
        super().__init__(problem)
        self.problem = problem
        self.path = path
        self.location = location


Report = Callable[[Any, Wrong], None]
"""Takes a target and what is wrong below the place that the unit fills in it."""


def complete(
    unit: Unit, pairs: Pairs, values: Sequence[Any], resumed: bool, edges: Sequence[Pairs], report: Report
) -> None:
    """Project a batch in which anything may be wrong."""
    for (_, target), value in zip(pairs, values, strict=True):
        completer = _Completer(resumed, unit, edges, partial(report, target))
        setattr(target, unit.attribute, completer.value(unit.type, value, unit.selection, [], None))


class _Completer:
    def __init__(self, resumed: bool, unit: Unit, edges: Sequence[Pairs], note: Callable[[Wrong], None]) -> None:
        self._resumed = resumed
        self._edges = edges
        self._numbers = {id(step): number for number, step in enumerate(unit.edges)}
        self._note = note

    def value(
        self, ref: Ref, value: Any, selection: Selection | None, path: list[Step], location: tuple[int, int] | None
    ) -> Any:
        if ref.required:
            return self._required(ref, value, selection, path, location)
        if value is None:
            return None
        marks = [len(pairs) for pairs in self._edges]
        try:
            return self._present(ref, value, selection, path, location)
        except Wrong as wrong:
            self._note(wrong)
            for pairs, mark in zip(self._edges, marks, strict=True):
                del pairs[mark:]  # nothing is looked up for what is no longer there
            return None

    def _required(
        self, ref: Ref, value: Any, selection: Selection | None, path: list[Step], location: tuple[int, int] | None
    ) -> Any:
        if value is None:
            raise Wrong(f"null where {ref} is required", path, location)
        return self._present(ref, value, selection, path, location)

    def _present(
        self, ref: Ref, value: Any, selection: Selection | None, path: list[Step], location: tuple[int, int] | None
    ) -> Any:
        if ref.many:
            if not isinstance(value, tuple(LISTS)):
                raise Wrong(f"a {type(value).__name__} where {ref} is required", path, location)
            return self._list(ref.of, list(value), selection, path, location)  # type: ignore[call-overload]  # LISTS
        if selection is None:
            try:
                return leaf(ref, value)
            except (TypeError, ValueError, KeyError, AttributeError) as unfit:
                raise Wrong(f"{type(value).__name__} {unfit} where {ref} is required", path, location) from unfit
        branch = self._branch(selection, value)
        if branch is None:
            raise Wrong(f"a {type(value).__name__} where {ref} is required", path, location)
        return self._object(branch, value, path, location)

    def _list(
        self, item: Ref, values: list[Any], selection: Selection | None, path: list[Step], location: Any
    ) -> list[Any]:
        return [self.value(item, value, selection, [*path, n], location) for n, value in enumerate(values)]

    def _branch(self, selection: Selection, value: Any) -> Branch | None:
        if not selection.abstract:
            return selection.branches[0]
        return next((branch for branch in selection.branches if isinstance(value, branch.cls)), None)

    def _object(self, branch: Branch, value: Any, path: list[Step], location: tuple[int, int] | None) -> Any:
        members: list[Any] = []
        followed: list[int] = []
        for entry in branch.entries:
            if entry.field is None:
                members.append(branch.name)
            elif entry.edge is not None:
                members.append(None)
                followed.append(self._numbers[id(entry.edge)])
            else:
                assert entry.field.read is not None
                where = [*path, entry.key]
                try:
                    found = getter_of(entry.field.read)(value, self._resumed)
                except Exception as broken:
                    problem = f"a {type(value).__name__} has no {entry.field.name}: {broken}"
                    self._missing(entry.type, problem, where, entry.location)
                    members.append(None)
                    continue
                members.append(self.value(entry.type, found, entry.selection, where, entry.location))
        made = branch.output(*members)
        for number in followed:
            self._edges[number].append((value, made))
        return made

    def _missing(self, ref: Ref, problem: str, path: list[Step], location: tuple[int, int] | None) -> None:
        wrong = Wrong(problem, path, location)
        if ref.required:
            raise wrong
        self._note(wrong)


def leaf(ref: Ref, value: Any) -> Any:
    """Return a leaf as it is written.

    Raises:
        ValueError: It is not what its type says.
    """
    kind = ref.of
    if isinstance(kind, EnumType):
        return kind.values[kind.cls(value).name]
    if kind.name in RANGES:
        low, high = RANGES[kind.name]
        if not isinstance(value, int) or not low <= value <= high:
            raise ValueError(repr(value))
    elif kind.name == "Float" and not math.isfinite(value):
        raise ValueError(repr(value))
    return value
