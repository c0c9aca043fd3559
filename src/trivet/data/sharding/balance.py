"""Which shards to move, so that every node has as many as any other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from trivet.core.shape import Struct

if TYPE_CHECKING:
    from trivet.data.sharding.database import ShardedDatabase


class ShardState(Struct):
    """What the directory says of a shard.

    Attributes:
        shard: The logical shard.
        node: Where it is.
        epoch: How often it was moved, from 1.
        step: Of its move; `serving` when it does not move.
        target: Where it moves.
    """

    shard: int
    node: str
    epoch: int
    step: str
    target: str | None


async def states(database: ShardedDatabase) -> list[ShardState]:
    """Return what the directory says, in the order of the shards."""
    import sqlalchemy as sa

    from trivet.data.sharding.tables import tables
    from trivet.data.statement import Statement

    shard = tables().shard
    session = database.home.session(write=False, reads="primary")
    try:
        c = shard.c
        select = sa.select(c.logical, c.node, c.epoch, c.step, c.target).order_by(c.logical)
        rows = await session.fetch(Statement(select), ())
    finally:
        await session.close()
    return [ShardState(shard=s, node=n, epoch=e, step=step, target=t) for s, n, e, step, t in rows]


def moves_for(where: Sequence[str], nodes: Sequence[str]) -> list[tuple[int, str]]:
    """Return the fewest moves after which the nodes have equally many shards, give or take one.

    Args:
        where: The node of each logical shard.
        nodes: Those that are to have shards; others are emptied.
    """
    counts = {node: where.count(node) for node in nodes}
    least, more = divmod(len(where), len(nodes))
    by_size = sorted(nodes, key=lambda node: -counts[node])  # those that have most keep the odd ones
    room = {node: least + (place < more) - counts[node] for place, node in enumerate(by_size)}
    moves: list[tuple[int, str]] = []
    for shard in range(len(where) - 1, -1, -1):
        node = where[shard]
        if node in room and room[node] >= 0:
            continue
        target = max(room, key=lambda each: room[each])
        if node in room:
            room[node] += 1
        room[target] -= 1
        moves.append((shard, target))
    return moves[::-1]
