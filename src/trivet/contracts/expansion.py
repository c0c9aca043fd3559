"""What an answer can be expanded by: dotted paths through edges and through fields that hold shapes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from trivet.contracts.model import Api, ApiEdge
from trivet.contracts.result import Result, result_of
from trivet.core.shape import Struct
from trivet.core.typeinfo import fields_of

MAX_DEPTH = 3
"""How many names a path has at most."""

MAX_PATHS = 20
"""How many paths one request may ask for."""


class Expansions(Struct):
    """The paths that one result can be expanded by.

    Attributes:
        paths: Each path with the edges that it follows.
        limit: How many of them one request may ask for.
    """

    paths: Mapping[str, tuple[ApiEdge, ...]]
    limit: int = MAX_PATHS

    def __bool__(self) -> bool:
        return bool(self.paths)


def expansions_of(api: Api, result: Result) -> Expansions:
    """Return what a result can be expanded by; an edge that needs arguments can only be followed in GraphQL."""
    return Expansions(paths=dict(_paths(api, result.shape, "", ())) if api.edges else {})


def _paths(api: Api, shape: Any, prefix: str, edges: tuple[ApiEdge, ...]) -> Iterator[tuple[str, tuple[ApiEdge, ...]]]:
    if shape is None or prefix.count(".") >= MAX_DEPTH:
        return
    for name, edge in api.edges_of(shape).items():
        if edge.bare:
            yield f"{prefix}{name}", (*edges, edge)
            yield from _paths(api, edge.result.shape, f"{prefix}{name}.", (*edges, edge))
    for name, inner in nested_fields(shape).items():
        yield from _paths(api, inner, f"{prefix}{name}.", edges)


def nested_fields(shape: Any) -> dict[str, Any]:
    """Return the shapes that a shape's fields hold, one or many of them, by the name of the field."""
    held = {field.name: result_of(field.type).shape for field in fields_of(shape)}
    return {name: inner for name, inner in held.items() if inner is not None}
