"""Dead letters: deliveries that failed too often. They wait until somebody mends the cause and replays them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING

from trivet.core.shape import Struct
from trivet.data.database import Session
from trivet.messaging.message import Message
from trivet.messaging.outbox import MESSAGE_COLUMNS, message_of
from trivet.messaging.tables import instant, micros, tables

if TYPE_CHECKING:
    from trivet.data.statement import Statement


class DeadLetter(Struct):
    """A delivery that was given up.

    Attributes:
        id: Names it for :func:`replay`.
        subscriber: Who could not handle it.
        attempts: How often it was tried.
        error: What the last attempt ended with.
        time: When it was given up.
        message: What was to be delivered.
    """

    id: int
    subscriber: str
    attempts: int
    error: str
    time: datetime
    message: Message


async def dead_letters(session: Session, after: int = 0, limit: int = 100) -> Sequence[DeadLetter]:
    """Return dead letters in the order of their ids, from behind an id on."""
    rows = await session.fetch(_statements().dead, (after, limit))
    return [
        DeadLetter(
            id=id,
            subscriber=subscriber,
            attempts=attempts,
            error=error or "",
            time=instant(time),
            message=message_of(tuple(columns)),
        )
        for id, subscriber, attempts, error, time, *columns in rows
    ]


async def replay(session: Session, id: int, now: datetime) -> bool:
    """Make a dead letter due again, with all its attempts before it; return whether there was one.

    Later messages of its queue may have been delivered meanwhile. The caller commits, and wakes the dispatcher.
    """
    return await session.execute(_statements().replay, (micros(now), id)) == 1


class _Statements(Struct):
    dead: Statement
    replay: Statement


@cache
def _statements() -> _Statements:
    import sqlalchemy as sa

    from trivet.data.statement import Statement

    outbox, delivery = tables().outbox, tables().delivery
    d, bind = delivery.c, sa.bindparam
    columns = (outbox.c[name].label(f"message_{name}") for name in MESSAGE_COLUMNS)
    return _Statements(
        dead=Statement(
            sa.select(d.id, d.subscriber, d.attempts, d.last_error, d.dead_time, *columns)
            .join_from(delivery, outbox, outbox.c.position == d.position)
            .where(d.dead_time.is_not(None), d.id > bind("after"))
            .order_by(d.id)
            .limit(bind("limit", type_=sa.Integer)),
            ("after", "limit"),
        ),
        replay=Statement(
            sa.update(delivery)
            .values(dead_time=None, attempts=sa.literal_column("0"), due=bind("now"))
            .where(d.id == bind("of"), d.dead_time.is_not(None)),
            ("now", "of"),
        ),
    )
