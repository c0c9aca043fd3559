"""A plan for people: which calls it makes, level by level, and what it costs at most."""

from __future__ import annotations

from collections.abc import Iterator

from graphql.execution.values import VariableValues

from trivet.transports.graphql.cost import size_of
from trivet.transports.graphql.plan import EdgeStep, Plan, RootStep, Unit


def explain(plan: Plan, variables: VariableValues) -> Iterator[str]:
    """Yield the lines of an explanation."""
    yield f"{plan.kind}, at most {plan.cost(variables)} objects"
    for key, member in plan.members:
        if isinstance(member, RootStep):
            op = member.field.operation
            yield ""
            what = op.id if op is not None else f"{member.field.node}, by global id"
            yield f"{key}: 1 call of {what} -> {member.field.type}"
            yield from _levels(member, variables)
        else:
            yield ""
            yield f"{key}: answered by the platform"


def _levels(root: RootStep, variables: VariableValues) -> Iterator[str]:
    count = size_of(root.field.type, root.arguments.given(variables))
    level: list[tuple[str, int, Unit]] = [(root.key, count, root.unit)]
    number = 1
    while level:
        deeper: list[tuple[str, int, Unit]] = []
        for path, objects, unit in level:
            for step in unit.edges:
                deeper.append(_edge(path, objects, step, variables))
        if deeper:
            number += 1
            yield f"  level {number}"
        for (path, objects, _), step in zip(deeper, (step for _, _, unit in level for step in unit.edges), strict=True):
            source = f"{step.edge.edge.source.__name__}.{step.edge.name}"
            yield f"    {path}: 1 batch of {source} -> {step.field.type}, at most {objects} objects"
        level = deeper


def _edge(path: str, parents: int, step: EdgeStep, variables: VariableValues) -> tuple[str, int, Unit]:
    size = size_of(step.field.type, step.arguments.given(variables))
    return f"{path}.{step.key}", parents * size, step.unit


def sources(plan: Plan) -> Iterator[str]:
    """Yield the Python source of every unit."""
    waiting: list[tuple[str, Unit]] = [(step.key, step.unit) for step in plan.steps]
    while waiting:
        path, unit = waiting.pop(0)
        yield f"# {path}: {unit.type}\n{unit.source}"
        waiting += [(f"{path}.{step.key}", step.unit) for step in unit.edges]
