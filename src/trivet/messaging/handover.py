"""Handovers: what keeps the order of the events of a shard for readers of several databases, when it changes nodes.

Whoever moves a shard asks the old node, in the transaction that gives the shard up, which position was given out last:
no event of the shard there comes after it. In the transaction in which the new node takes the shard, an event of its
own says so: it stands in the outbox before every event of the shard there. A reader that comes to it goes on at that
node once it has seen the old one up to that position.

Readers never wait for each other's nodes in a circle: a handover names what happened before it.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import msgspec

from trivet.core.clock import Clock
from trivet.core.shape import Struct
from trivet.core.tolerant import tolerant
from trivet.data.database import Session
from trivet.messaging.message import Message, MessageKind
from trivet.messaging.outbox import Outbox
from trivet.messaging.subscribers import Subscribers

if TYPE_CHECKING:
    from trivet.data.statement import Statement

HANDOVER = "trivet.ShardTaken"
"""The type of the event; nobody subscribes to it."""


class Handover(Struct):
    """A shard was taken by this node.

    Attributes:
        shard: The logical shard.
        source: The name of the node that gave it up.
        upto: The position that was given out last there.
    """

    shard: int
    source: str
    upto: int


read_handover = tolerant(Handover)


class Handovers:
    """Says in the outboxes of nodes that a shard changes hands; see `trivet.data.sharding.move.Log`.

    Args:
        clock: Time and identifiers.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._outbox = Outbox(Subscribers(()), "postgresql")

    async def given_up(self, session: Session) -> int:
        """Return the position that was given out last, in the transaction that gives the shard up."""
        [(last,)] = await session.fetch(_last(), ())
        return int(last)

    async def taken(self, session: Session, shard: int, source: str, upto: int) -> None:
        """Say in the transaction in which a node takes a shard what comes before."""
        message = Message(
            id=self._clock.new_id(),
            kind=MessageKind.EVENT,
            type=HANDOVER,
            major=1,
            module="trivet",
            aggregate=f"{HANDOVER}/{shard}",
            payload=msgspec.json.encode(Handover(shard=shard, source=source, upto=upto)),
            create_time=self._clock.now(),
        )
        await self._outbox.store(session, [message])


@cache
def _last() -> Statement:
    import sqlalchemy as sa

    from trivet.data.statement import Statement

    sequence = "trivet.trivet_outbox_position_seq"
    return Statement(sa.text(f"SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM {sequence}"), ())  # noqa: S608 - a name of our own
