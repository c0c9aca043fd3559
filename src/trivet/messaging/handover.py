"""Handovers: what keeps the order of the events of a shard when it changes nodes.

Whoever moves a shard asks the old node, in the transaction that gives the shard up, which position was given out last:
no event of the shard there comes after it. In the transaction in which the new node takes the shard, an event of its
own says so: it stands in the outbox before every event of the shard there. A reader that comes to it goes on at that
node once it has seen the old one up to that position.

Subscribers are held back in the same way, each queue by itself: where the old node still has deliveries of events of
the shard, the new one gets a delivery of the handover for the same subscriber and aggregate, which is done when the old
node has none left up to that position. Later ones of the queue wait behind it, as behind every other. The ids of events
carry the shard of their transaction, which tells them from those of other shards.

Nobody ever waits in a circle: a handover names what happened before it.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import msgspec

from trivet.core.clock import Clock
from trivet.core.shape import Struct
from trivet.core.tolerant import tolerant
from trivet.data.database import Database, Session
from trivet.messaging.message import Message, MessageKind
from trivet.messaging.outbox import Outbox
from trivet.messaging.subscribers import Subscribers
from trivet.messaging.tables import micros, tables

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


class Before(Struct):
    """What a node had when it gave a shard up.

    Attributes:
        upto: The position that was given out last.
        queues: Subscriber and aggregate of what is still to be delivered of the shard.
    """

    upto: int
    queues: tuple[tuple[str, str], ...]


class Handovers:
    """Says in the outboxes of nodes that a shard changes hands; see `trivet.data.sharding.move.Log`.

    Args:
        clock: Time and identifiers.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._outbox = Outbox(Subscribers(()), "postgresql")

    async def given_up(self, session: Session, shard: int) -> Before:
        """Return what is there, in the transaction that gives the shard up."""
        sql = _statements()
        [(last,)] = await session.fetch(sql.last, ())
        return Before(upto=last, queues=tuple(await session.fetch(sql.queues, (shard,))))

    async def taken(self, session: Session, shard: int, source: str, before: Before) -> None:
        """Say in the transaction in which a node takes a shard what comes before."""
        now = self._clock.now()
        message = Message(
            id=self._clock.new_id(shard),
            kind=MessageKind.EVENT,
            type=HANDOVER,
            major=1,
            module="trivet",
            aggregate=f"{HANDOVER}/{shard}",
            payload=msgspec.json.encode(Handover(shard=shard, source=source, upto=before.upto)),
            create_time=now,
        )
        await self._outbox.store(session, [message])
        if before.queues:
            rows = [(subscriber, queue, micros(now)) for subscriber, queue in before.queues]
            await session.execute_many(_statements().hold, rows)


async def waits(database: Database, subscriber: str, queue: str, upto: int) -> bool:
    """Return whether a node has anything to deliver to a queue up to a position; dead letters hold up nobody."""
    session = database.session(write=False, reads="primary")
    try:
        return bool(await session.fetch(_statements().waiting, (subscriber, queue, upto)))
    finally:
        await session.close()


class _Statements(Struct):
    last: Statement
    queues: Statement
    hold: Statement
    waiting: Statement


@cache
def _statements() -> _Statements:
    import sqlalchemy as sa

    from trivet.data.statement import Statement

    outbox, delivery, bind = tables().outbox, tables().delivery, sa.bindparam
    d = delivery.c
    alive = d.dead_time.is_(None)
    carried: sa.ColumnElement[int] = sa.literal_column(
        "((('x' || substr(trivet.trivet_outbox.id, 20, 4))::bit(16)::int >> 5) & 511) % 480"
    )  # as `trivet.core.clock.shard_of` reads it
    position: sa.ColumnElement[int] = sa.literal_column("currval('trivet.trivet_outbox_position_seq')")
    zero: sa.ColumnElement[int] = sa.literal_column("0")
    return _Statements(
        last=Statement(
            sa.select(sa.case((sa.column("is_called"), sa.column("last_value")), else_=zero)).select_from(
                sa.table("trivet_outbox_position_seq", schema="trivet")
            ),
            (),
        ),
        queues=Statement(
            sa.select(d.subscriber, d.aggregate)
            .join_from(delivery, outbox, outbox.c.position == d.position)
            .where(alive, outbox.c.kind == MessageKind.EVENT.value, carried == bind("shard", type_=sa.Integer))
            .distinct(),
            ("shard",),
        ),
        hold=Statement(
            sa.insert(delivery).values(
                subscriber=bind("subscriber"),
                position=position,
                aggregate=bind("aggregate"),
                due=bind("due"),
                attempts=zero,
            ),
            ("subscriber", "aggregate", "due"),
        ),
        waiting=Statement(
            sa.select(d.id)
            .where(alive, d.subscriber == bind("of"), d.aggregate == bind("queue"), d.position <= bind("upto"))
            .limit(sa.literal_column("1")),
            ("of", "queue", "upto"),
        ),
    )
