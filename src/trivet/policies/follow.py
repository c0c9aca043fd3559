"""Following an edge on behalf of a call: the same rules for ``?expand=`` and for GraphQL.

Who may follow it is decided before the operation runs (scopes), and by the rules of its tables while it runs. What the
caller may not see looks like what does not exist.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from trivet.contracts.model import ApiEdge
from trivet.core.call import Call
from trivet.core.context import Read
from trivet.core.error import Error, NotFound, PermissionDenied, Unauthenticated
from trivet.core.principal import Principal
from trivet.policies.authorize import ScopeRequired


def permit(edges: Iterable[ApiEdge], principal: Principal, what: str) -> None:
    """Refuse edges that the caller may not follow.

    Args:
        edges: All that the request asks for.
        principal: Who calls.
        what: Names the request's wish in the refusal.

    Raises:
        Unauthenticated: An edge needs credentials.
        ScopeRequired: An edge needs scopes that the caller's credential does not carry.
    """
    scopes = (scope for edge in edges for scope in edge.edge.access.scopes)
    missing = tuple(dict.fromkeys(scope for scope in scopes if not principal.may(scope)))
    if missing and principal.anonymous:
        raise Unauthenticated(detail=f"{what} needs credentials.")
    if missing:
        raise ScopeRequired(scopes=missing)


async def follow(edge: ApiEdge, parents: Sequence[Any], call: Call, arguments: Mapping[str, Any]) -> list[Any]:
    """Return what an edge leads to from each parent, in their order, as part of the call's unit of work.

    Returns:
        A value, ``None``, or the `Error` that stands in the place of the one that failed.

    Raises:
        Error: The edge failed as a whole.
        RuntimeError: It returned more or fewer values than there are parents.
    """
    values = await edge.edge.resolver(Read(call.work, edge.edge.module), parents, **arguments)
    if len(values) != len(parents):
        raise RuntimeError(f"{edge.edge!r} returned {len(values)} values for {len(parents)} parents")
    return [None if isinstance(value, NotFound | PermissionDenied) else value for value in values]


def failure_of(values: Sequence[Any]) -> Error | None:
    """Return the first error among the values of an edge."""
    return next((value for value in values if isinstance(value, Error)), None)
