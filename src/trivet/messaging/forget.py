"""Deliveries that nobody has to make any more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trivet.data.database import Session
from trivet.messaging.deliveries import quoted
from trivet.messaging.tables import tables


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
    theirs: list[Any] = [sa.literal_column(quoted(each)) for each in subscribers]
    return await session.execute(Statement(sa.delete(delivery).where(delivery.c.subscriber.in_(theirs)), ()), ())
