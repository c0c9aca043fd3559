"""``?expand=customer,lines.product``: related things put into the answer, each edge resolved once per level for all.

Paths are followed breadth-first, under the rules of `trivet.policies.follow`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from trivet.contracts.expansion import MAX_PATHS, expansions_of, nested_fields
from trivet.contracts.model import Api, ApiEdge, ApiOperation
from trivet.contracts.result import Result
from trivet.contracts.subject import is_page_request
from trivet.core.call import Call
from trivet.core.error import InvalidArgument, Violation
from trivet.core.page import Page, PageRequest
from trivet.core.principal import Principal
from trivet.policies.follow import failure_of, follow, permit

Tree = dict[str, "Tree"]
"""Which names to follow, and what to follow from there."""

Pairs = list[tuple[Any, dict[str, Any]]]
"""Objects beside the JSON objects that they became."""


class Expander:
    """Expands the results of one operation.

    Args:
        op: The operation.
        api: The model of the app.
    """

    def __init__(self, op: ApiOperation, api: Api) -> None:
        self._api = api
        self._result = op.result
        self._known = expansions_of(api, op.result)

    def __bool__(self) -> bool:
        return bool(self._known)

    def paths_of(self, word: str) -> list[str]:
        """Return the paths that the parameter asks for.

        Raises:
            InvalidArgument: One is not known, or they are too many.
        """
        paths = word.split(",")
        unknown = [path for path in paths if path not in self._known.paths]
        if unknown:
            detail = f"can not expand {', '.join(unknown)}; known: {', '.join(sorted(self._known.paths))}"
            raise InvalidArgument(violations=(Violation(detail=detail, pointer="#/expand"),))
        if len(paths) > MAX_PATHS:
            violation = Violation(detail=f"takes at most {MAX_PATHS} paths", pointer="#/expand")
            raise InvalidArgument(violations=(violation,))
        return list(dict.fromkeys(paths))

    def check(self, paths: Sequence[str], principal: Principal) -> None:
        """Refuse edges that the caller may not follow.

        Raises:
            Unauthenticated: An edge needs credentials.
            ScopeRequired: An edge needs scopes that the caller's credential does not carry.
        """
        permit((e for path in paths for e in self._known.paths[path]), principal, f"Expanding {', '.join(paths)}")

    async def expand(self, value: Any, paths: Sequence[str], call: Call) -> Any:
        """Return the result as plain JSON values with what the paths lead to in it."""
        tree: Tree = {}
        for path in paths:
            branch = tree
            for name in path.split("."):
                branch = branch.setdefault(name, {})
        plain = msgspec.to_builtins(value)
        level: list[tuple[Tree, Any, Pairs]] = [(tree, self._result.shape, pairs_of(self._result, value, plain))]
        while level:
            level = [deeper for branch in level for deeper in await self._follow(*branch, call)]
        return plain

    async def _follow(self, tree: Tree, shape: Any, pairs: Pairs, call: Call) -> list[tuple[Tree, Any, Pairs]]:
        edges = self._api.edges_of(shape)
        fields = nested_fields(shape)
        deeper: list[tuple[Tree, Any, Pairs]] = []
        for name, branch in tree.items():
            edge = edges.get(name)
            if edge is not None:
                found = await resolve(edge, pairs, call)
                deeper.append((branch, edge.result.shape, found))
            else:
                deeper.append((branch, fields[name], inside(name, pairs)))
        return [(branch, inner, found) for branch, inner, found in deeper if branch and found]


async def resolve(edge: ApiEdge, pairs: Pairs, call: Call) -> Pairs:
    """Follow an edge from all of its parents at once and put what it leads to into their JSON objects."""
    if not pairs:
        return []
    arguments = {p.name: PageRequest() for p in edge.signature.parameters if p.required and is_page_request(p.type)}
    values = await follow(edge, [parent for parent, _ in pairs], call, arguments)
    failed = failure_of(values)
    if failed is not None:
        raise failed
    found: Pairs = []
    for (_, target), value in zip(pairs, values, strict=True):
        plain = target[edge.name] = msgspec.to_builtins(value)
        found.extend(pairs_of(edge.result, value, plain))
    return found


def pairs_of(result: Result, value: Any, plain: Any) -> Pairs:
    """Return the objects that a result holds beside what they became."""
    if value is None:
        return []
    if isinstance(value, Page):
        return [(item, became) for item, became in zip(value.items, plain["items"], strict=True) if item is not None]
    if result.many:
        return [(item, became) for item, became in zip(value, plain, strict=True) if item is not None]
    return [(value, plain)] if isinstance(plain, dict) else []


def inside(name: str, pairs: Pairs) -> Pairs:
    """Return the objects that a field holds, one or many for each parent."""
    found: Pairs = []
    for parent, plain in pairs:
        value = getattr(parent, name)
        became = plain.get(parent.__struct_encode_fields__[parent.__struct_fields__.index(name)])
        if isinstance(became, list | tuple):
            found.extend(zip(value, became, strict=True))
        elif isinstance(became, dict):
            found.append((value, became))
    return found
