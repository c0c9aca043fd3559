"""What a plan costs at most, before it runs: how many objects its answer may hold, and what it takes to get them.

A call of a root field and each value of an edge cost their declared weight, which is 1 where nothing is said. Objects
cost 1 each: a page has as many as were asked for, a list inside of a shape `LIST_SIZE`. What is below a list counts
once for each of its items.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from graphql import GraphQLError
from graphql.execution.values import VariableValues

from trivet.contracts.graphql.types import ConnectionType, Ref
from trivet.core.page import DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE
from trivet.transports.graphql.plan import EdgeStep, Entry, RootStep, Selection, Unit

LIST_SIZE = 10
"""How many items a list without a size of its own counts as."""


class Costs:
    """Adds up the cost of the root steps of a plan, by its variables."""

    def __init__(self, steps: Sequence[RootStep]) -> None:
        self._steps = steps
        self._constant: int | None = None

    def __call__(self, variables: VariableValues) -> int:
        """Return what it costs at most."""
        if variables.coerced:
            return sum(_value(step, variables) for step in self._steps)
        if self._constant is None:
            self._constant = sum(_value(step, variables) for step in self._steps)
        return self._constant


def _value(step: RootStep | EdgeStep, variables: VariableValues) -> int:
    """Return the cost of one value of a root field or of an edge."""
    try:
        given = step.arguments.given(variables)
    except GraphQLError:
        return step.weight  # it will fail before it costs more
    count = size_of(step.field.type, given)
    calls = count if step.field.node == "nodes" else 1  # each id may need a call of its own
    return calls * step.weight + count * below(step.unit, step.unit.selection, variables)


def size_of(ref: Ref, given: Mapping[str, Any]) -> int:
    """Return how many objects a field of this type brings at most, with these arguments."""
    if ref.many:
        ids = given.get("ids")
        return len(ids) if isinstance(ids, list) else LIST_SIZE
    if isinstance(ref.of, ConnectionType):
        first = given.get("first")
        return min(first, MAX_PAGE_SIZE) if isinstance(first, int) and first > 0 else DEFAULT_PAGE_SIZE
    return 1


def below(unit: Unit, selection: Selection | None, variables: VariableValues) -> int:
    """Return the cost of one object with everything that is selected from it: of several types, the most."""
    if selection is None:
        return 1
    return 1 + max((_members(unit, branch.entries, variables) for branch in selection.branches), default=0)


def _members(unit: Unit, entries: Sequence[Any], variables: VariableValues) -> int:
    total = 0
    for entry in entries:
        if entry.edge is not None:
            total += _value(entry.edge, variables)
        elif entry.selection is not None:
            inner = below(unit, entry.selection, variables) - 1  # a shape inside of a shape is part of it
            total += inner * size_within(entry)
    return total


def size_within(entry: Entry) -> int:
    """Return how many objects a field of a shape counts as; the items of a page are counted where it is asked for."""
    of_page = entry.field is not None and entry.field.read in PAGE_LISTS
    return LIST_SIZE if entry.type.many and not of_page else 1


PAGE_LISTS = ("{o}.items", "edges_of({o})")
