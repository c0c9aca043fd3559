"""The inbox: what a handler changes on another database than the one that has its delivery happens once all the same.

The delivery is removed in the handler's transaction where both are in one database. Where the handler is on a shard, it
leaves a record in its own transaction, and the delivery is removed after that. Should the process end in between, the
delivery is repeated, finds the record, and nothing happens again. The record moves with the shard, so it is found
wherever the handler comes to by then.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING, cast

from trivet.data.database import Database, Session, UniqueViolated
from trivet.messaging.deliveries import Claimed

if TYPE_CHECKING:
    from trivet.data.sharding.session import ShardedWrite
    from trivet.data.statement import Statement


class HandledBefore(Exception):
    """The handler's changes were committed at an earlier attempt; these are to be rolled back."""


async def handle_once(session: Session, database: Database, claimed: Claimed, now: int) -> bool:
    """Record in the handler's transaction that the delivery is handled, and return whether it can be removed there.

    Args:
        session: The handler's.
        database: The one that has the delivery.
        claimed: The delivery.
        now: The present instant.

    Raises:
        HandledBefore: It was handled.
    """
    from trivet.data.sharding.session import HOME_PLACE
    from trivet.data.sharding.tables import statements

    sharded = cast("ShardedWrite", session)
    here = sharded.joins(database)
    if sharded.place is not None and (sharded.place != HOME_PLACE or not here):
        shard = sharded.shard
        try:
            name = name_of(str(claimed.message.id), claimed.subscriber)
            await session.execute(statements().handle, (name, now, shard))
        except UniqueViolated as handled:
            raise HandledBefore from handled
    return here


async def note_handled(session: Session, names: Iterable[str], now: int) -> None:
    """Record in a transaction on PostgreSQL that what these records name is handled, where that is not known yet.

    Args:
        session: Of the database to which handlers would come that are not sharded.
        names: As of `name_of`.
        now: The present instant.
    """
    await session.execute_many(_note(), [(name, now, None) for name in names])


def name_of(message: str, subscriber: str) -> str:
    """Return the name of the record that a subscriber has handled a message."""
    return f"{message}/{subscriber}"


@cache
def _note() -> Statement:
    import sqlalchemy as sa
    from sqlalchemy.dialects.postgresql import insert

    from trivet.data.sharding.tables import tables
    from trivet.data.statement import Statement

    names = ("id", "create_time", "shard")
    new = insert(tables().inbox).values({name: sa.bindparam(name) for name in names})
    return Statement(new.on_conflict_do_nothing(), names)
