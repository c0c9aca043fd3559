"""Weights that no document could pay: found when the app is built."""

from __future__ import annotations

from trivet.contracts.model import Api
from trivet.core.fault import Fault


def too_heavy(api: Api, cost: int) -> list[Fault]:
    """Return a fault for everything that weighs more than a whole document may cost.

    Args:
        api: The model of the app.
        cost: What a document may cost, as the setting ``graphql.cost`` says.
    """
    weighed = [(op.id, op.operation.place, op.operation.declaration.weight) for op in api.operations]
    for source, edges in api.edges.items():
        weighed += [(f"edge {source.__name__}.{name}", e.edge.place, e.edge.weight) for name, e in edges.items()]
    return [
        Fault(
            rule="graphql-weight",
            place=place,
            problem=f"{title}: weight={weight} is more than a document may cost (graphql.cost is {cost})",
            mend="No document could ask for it: make it weigh less, or raise the setting graphql.cost.",
        )
        for title, place, weight in weighed
        if weight > cost
    ]
