"""A plan for people: which calls it makes, level by level, and what it costs at most."""

from __future__ import annotations

from collections.abc import Iterator

from graphql.execution.values import VariableValues

from trivet.transports.graphql.cost import size_of, size_within
from trivet.transports.graphql.plan import EdgeStep, Plan, RootStep, Selection, Unit


def explain(plan: Plan, variables: VariableValues) -> Iterator[str]:
    """Yield the lines of an explanation."""
    yield f"{plan.kind}, costs at most {plan.cost(variables)}"
    for key, member in plan.members:
        if isinstance(member, RootStep):
            op = member.field.operation
            yield ""
            what = op.id if op is not None else f"{member.field.node}, by global id"
            yield f"{key}: 1 call of {what} -> {member.field.type}{_weight(member)}"
            yield from _levels(member, variables)
        else:
            yield ""
            yield f"{key}: answered by the platform"


def _levels(root: RootStep, variables: VariableValues) -> Iterator[str]:
    count = size_of(root.field.type, root.arguments.given(variables))
    level: list[tuple[str, int, Unit]] = [(root.key, count, root.unit)]
    number = 1
    while level:
        found = [
            (step, f"{path}.{'.'.join(below)}", parents * times)
            for path, parents, unit in level
            for step, below, times in _edges(unit.selection, (), 1)
        ]
        level = []
        if found:
            number += 1
            yield f"  level {number}"
        for step, path, parents in found:
            objects = parents * size_of(step.field.type, step.arguments.given(variables))
            source = f"{step.edge.edge.source.__name__}.{step.edge.name}"
            made = f"1 batch of {source} -> {step.field.type}{_weight(step)}"
            yield f"    {path}: {made}, {parents} parents, {objects} objects at most"
            level.append((path, objects, step.unit))


def _weight(step: RootStep | EdgeStep) -> str:
    return f", weight {step.weight}" if step.weight > 1 else ""


def _edges(
    selection: Selection | None, path: tuple[str, ...], times: int
) -> Iterator[tuple[EdgeStep, tuple[str, ...], int]]:
    """Yield the edges that are followed from one object, where they stand, and from how many places at most."""
    for branch in selection.branches if selection is not None else ():
        for entry in branch.entries:
            here = (*path, entry.key)
            if entry.edge is not None:
                yield entry.edge, here, times
            else:
                yield from _edges(entry.selection, here, times * size_within(entry))


def sources(plan: Plan) -> Iterator[str]:
    """Yield the Python source of every unit."""
    waiting: list[tuple[str, Unit]] = [(step.key, step.unit) for step in plan.steps]
    while waiting:
        path, unit = waiting.pop(0)
        yield f"# {path}: {unit.type}\n{unit.source}"
        waiting += [(f"{path}.{step.key}", step.unit) for step in unit.edges]
