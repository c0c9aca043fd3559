"""Deliveries that nobody has to make any more."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from trivet.core.error import Unavailable
from trivet.data.database import Database, Session
from trivet.messaging.brief import briefly
from trivet.messaging.deliveries import quoted
from trivet.messaging.inbox import name_of, note_handled
from trivet.messaging.tables import tables

if TYPE_CHECKING:
    from trivet.data.statement import Statement


async def forget(session: Session, subscribers: Sequence[str]) -> int:
    """Remove every delivery to these subscribers that the session sees, dead letters included; return how many.

    Whoever handles one of them just now finds out when it settles, and is rolled back.

    Raises:
        Contention: In a session that sees one instant: one was claimed or settled after it.
    """
    if not subscribers:
        return 0
    import sqlalchemy as sa

    from trivet.data.statement import Statement

    delivery = tables().delivery
    theirs = delivery.c.subscriber.in_(_listed(subscribers))
    return await session.execute(Statement(sa.delete(delivery).where(theirs), ()), ())


async def take_over(session: Session, elsewhere: Session, subscribers: Sequence[str], now: int) -> Sequence[int]:
    """Record that every delivery to these subscribers is handled that is seen on another database; return their ids.

    Until they are removed (`remove`), whoever handles one finds the record when it settles, and is rolled back.

    Args:
        session: In whose transaction what they tell of takes effect; on PostgreSQL.
        elsewhere: Reads the other database, as of one instant.
        subscribers: Their ids; what they change is on the database of `session`.
        now: The present instant.
    """
    if not subscribers:
        return ()
    rows = await elsewhere.fetch(_seen(subscribers), ())
    await note_handled(session, [name_of(message, subscriber) for _, subscriber, message in rows], now)
    return [id for id, _, _ in rows]


async def remove(database: Database, ids: Sequence[int]) -> None:
    """Remove deliveries that are known to be handled; where that fails, they are removed when they are delivered."""
    if ids:
        with suppress(Unavailable):  # who delivers them finds that they are handled, and removes them
            await briefly(database, lambda session: _removed(session, ids))


async def _removed(session: Session, ids: Sequence[int]) -> None:
    import sqlalchemy as sa

    from trivet.data.statement import Statement, any_of, list_value

    delivery = tables().delivery
    statement = Statement(sa.delete(delivery).where(any_of(delivery.c.id, "ids", "postgresql")), ("ids",))
    await session.execute(statement, (list_value(ids, "postgresql"),))


def _seen(subscribers: Sequence[str]) -> Statement:
    import sqlalchemy as sa

    from trivet.data.statement import Statement

    outbox, delivery = tables().outbox, tables().delivery
    joined = sa.join(delivery, outbox, outbox.c.position == delivery.c.position)
    columns = (delivery.c.id, delivery.c.subscriber, outbox.c.id.label("message"))
    theirs = delivery.c.subscriber.in_(_listed(subscribers))
    return Statement(sa.select(*columns).select_from(joined).where(theirs), ())


def _listed(subscribers: Sequence[str]) -> list[Any]:
    import sqlalchemy as sa

    return [sa.literal_column(quoted(each)) for each in subscribers]
