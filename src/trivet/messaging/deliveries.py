"""What happens to a delivery: claimed under a lease, then settled, tried again, buried or replayed.

Of each queue (subscriber and aggregate) only the first delivery is ever claimed, and one at a time, so a queue keeps
its order and one that fails holds up nobody else. A delivery that is due and blocked is put off until the one before it
is settled: whoever settled that one promotes it, with the next claim.

Where transactions write side by side, claims lock what they look at and pass by what others have locked. Two things
keep a delivery from being put off by one process while another one frees it: that it is blocked is decided again once
it is locked, by a statement of its own; and to promote is to write the row, which waits for whoever has it locked, in a
transaction that began after the settling one was committed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from trivet.core.shape import Struct
from trivet.data.database import Session
from trivet.messaging.message import Message, MessageKind
from trivet.messaging.outbox import MESSAGE_COLUMNS, message_of
from trivet.messaging.tables import tables

if TYPE_CHECKING:
    from trivet.data.statement import Statement

PUT_OFF = 20_000_000
"""For how many microseconds a blocked delivery is put off; settling the one before it ends that at once, unless the
process that does dies just then."""

PUT_OFF_MAX = 1000
"""How many are put off in one transaction."""

ERROR_LENGTH_MAX = 500


Queue = tuple[str, str]
"""What keeps its order: a subscriber, and what it is told about."""


class LeaseLost(Exception):
    """The delivery is no longer this holder's: its lease ended and somebody else may be handling it.

    Roll back and forget it.
    """


class Claimed(Struct):
    """A delivery under a lease.

    Attributes:
        id: The delivery's row.
        subscriber: Who is to handle it.
        queue: What orders it among the subscriber's deliveries.
        attempts: How many attempts began, this one included.
        lease: The fencing token: only who still holds it may settle.
        message: What is delivered.
    """

    id: int
    subscriber: str
    queue: str
    attempts: int
    lease: str
    message: Message

    @property
    def ordered(self) -> bool:
        """Whether others may be waiting for this one."""
        return self.message.kind is MessageKind.EVENT


class Batch(Struct):
    """What one claim found.

    Attributes:
        claimed: Deliveries to handle now.
        blocked: How many were due but have to wait for an earlier one.
    """

    claimed: tuple[Claimed, ...]
    blocked: int


class Deliveries:
    """The deliveries of the subscribers that a process has.

    Args:
        subscribers: Their ids; deliveries of others are left to other processes.
    """

    def __init__(self, subscribers: Sequence[str]) -> None:
        self._sql = _statements(tuple(subscribers))

    async def next_due(self, session: Session) -> int | None:
        """Return when the next delivery is due, ``None`` when there is none; only reads."""
        rows = await session.fetch(self._sql.next_due, ())
        return rows[0][0] if rows else None

    async def claim(
        self,
        session: Session,
        now: int,
        limit: int,
        lease: str,
        until: Callable[[str, Message], int],
        freed: Sequence[Queue] = (),
    ) -> Batch:
        """Claim due deliveries, at most one of each queue.

        Args:
            session: A writing session; the caller commits.
            now: The present instant.
            limit: How many at most.
            lease: A token that was never used before.
            until: Returns when the lease of a delivery ends, from its subscriber and message.
            freed: Queues of which a delivery was settled or buried since.
        """
        if freed:
            await session.execute_many(self._sql.promote, [(now, subscriber, queue) for subscriber, queue in freed])
        rows = await session.fetch(self._sql.due, (now, limit))
        claimed: list[Claimed] = []
        changes: list[tuple[str, int, int, int]] = []
        for id, subscriber, queue, attempts, blocked, *columns in rows:
            if blocked:
                continue
            message = message_of(tuple(columns))
            claimed.append(
                Claimed(id=id, subscriber=subscriber, queue=queue, attempts=attempts + 1, lease=lease, message=message)
            )
            changes.append((lease, until(subscriber, message), attempts + 1, id))
        if changes:
            await session.execute_many(self._sql.claim, changes)
        if len(claimed) < len(rows):  # others may be blocked behind these, and free ones behind all of them
            waiting = await session.fetch(self._sql.waiting, (now,))
            await session.execute_many(self._sql.put_off, [(now + PUT_OFF, id, now) for (id,) in waiting])
        return Batch(claimed=tuple(claimed), blocked=len(rows) - len(claimed))

    async def renew(self, session: Session, claimed: Claimed, until: int) -> None:
        """Move the end of a lease.

        Raises:
            LeaseLost: It ended before.
        """
        if await session.execute(self._sql.renew, (until, claimed.id, claimed.lease)) != 1:
            raise LeaseLost

    async def settle(self, session: Session, claimed: Claimed) -> None:
        """Remove the delivery in the transaction of its handler; its queue is freed.

        Raises:
            LeaseLost: The lease ended before; the transaction must not commit.
        """
        if await session.execute(self._sql.settle, (claimed.id, claimed.lease)) != 1:
            raise LeaseLost

    async def again(
        self, session: Session, claimed: Claimed, due: int, attempts: int, error: BaseException | None
    ) -> None:
        """End the lease; the delivery can be claimed again once it is due.

        Raises:
            LeaseLost: The lease ended before.
        """
        values = (due, attempts, _text_of(error), claimed.id, claimed.lease)
        if await session.execute(self._sql.again, values) != 1:
            raise LeaseLost

    async def bury(self, session: Session, claimed: Claimed, now: int, error: BaseException) -> None:
        """Make the delivery a dead letter; its queue is freed.

        Raises:
            LeaseLost: The lease ended before.
        """
        if await session.execute(self._sql.bury, (now, _text_of(error), claimed.id, claimed.lease)) != 1:
            raise LeaseLost


def _text_of(error: BaseException | None) -> str | None:
    return None if error is None else f"{type(error).__name__}: {error}"[:ERROR_LENGTH_MAX]


def quoted(name: str) -> str:
    """Return a name as an SQL string."""
    return "'" + name.replace("'", "''") + "'"


class _Statements(Struct):
    next_due: Statement
    due: Statement
    waiting: Statement
    claim: Statement
    put_off: Statement
    renew: Statement
    settle: Statement
    promote: Statement
    again: Statement
    bury: Statement


def _statements(subscribers: tuple[str, ...]) -> _Statements:
    import sqlalchemy as sa

    from trivet.data.statement import Statement

    outbox, delivery = tables().outbox, tables().delivery
    bind = sa.bindparam
    d, earlier, other = delivery.c, delivery.alias("earlier"), delivery.alias("other")
    alive = d.dead_time.is_(None)
    # Constants, and joined to nothing, so that no engine prefers the queue's index to the one in order of `due`.
    ours = (d.subscriber + sa.literal_column("''")).in_([sa.literal_column(quoted(s)) for s in subscribers])
    held = sa.and_(d.id == bind("of"), d.lease == bind("held"))
    before = (
        sa.exists()
        .where(
            earlier.c.subscriber == d.subscriber,
            earlier.c.aggregate == d.aggregate,
            earlier.c.id < d.id,
            earlier.c.dead_time.is_(None),
        )
        .correlate(delivery)
    )
    running = (  # one that comes later by its number and was committed earlier
        sa.exists()
        .where(
            other.c.subscriber == d.subscriber,
            other.c.aggregate == d.aggregate,
            other.c.id > d.id,
            other.c.lease.is_not(None),
            other.c.dead_time.is_(None),
            other.c.due > bind("now"),
        )
        .correlate(delivery)
    )
    blocked = sa.or_(before, running)
    first = delivery.alias("first")
    return _Statements(
        next_due=Statement(sa.select(d.due).where(alive, ours).order_by(d.due, d.id).limit(sa.literal_column("1")), ()),
        due=Statement(
            sa.select(
                d.id,
                d.subscriber,
                d.aggregate,
                d.attempts,
                blocked.label("blocked"),
                *(outbox.c[name].label(f"message_{name}") for name in MESSAGE_COLUMNS),
            )
            .join_from(delivery, outbox, outbox.c.position == d.position)
            .where(alive, ours, d.due <= bind("now"))
            .order_by(d.due, d.id)
            .limit(bind("limit", type_=sa.Integer))
            .with_for_update(of=delivery, skip_locked=True),
            ("now", "limit"),
        ),
        waiting=Statement(
            sa.select(d.id)
            .where(alive, ours, d.due <= bind("now"), blocked)
            .order_by(d.due, d.id)
            .limit(sa.literal_column(str(PUT_OFF_MAX)))
            .with_for_update(of=delivery, skip_locked=True),
            ("now",),
        ),
        claim=Statement(
            sa.update(delivery)
            .values(lease=bind("lease"), due=bind("due"), attempts=bind("attempts"))
            .where(d.id == bind("of")),
            ("lease", "due", "attempts", "of"),
        ),
        put_off=Statement(
            sa.update(delivery).values(due=bind("later")).where(d.id == bind("of"), d.lease.is_(None), blocked),
            ("later", "of", "now"),
        ),
        renew=Statement(sa.update(delivery).values(due=bind("due")).where(held), ("due", "of", "held")),
        settle=Statement(sa.delete(delivery).where(held), ("of", "held")),
        promote=Statement(
            sa.update(delivery)
            .values(due=sa.case((d.due > bind("now"), bind("now")), else_=d.due))
            .where(
                d.id
                == sa.select(sa.func.min(first.c.id))
                .where(
                    first.c.subscriber == bind("subscriber"),
                    first.c.aggregate == bind("queue"),
                    first.c.dead_time.is_(None),
                )
                .scalar_subquery(),
                d.lease.is_(None),
                d.attempts == sa.literal_column("0"),  # one that waits to be tried again goes on waiting
            ),
            ("now", "subscriber", "queue"),
        ),
        again=Statement(
            sa.update(delivery)
            .values(due=bind("due"), attempts=bind("attempts"), last_error=bind("error"), lease=None)
            .where(held),
            ("due", "attempts", "error", "of", "held"),
        ),
        bury=Statement(
            sa.update(delivery).values(dead_time=bind("now"), last_error=bind("error"), lease=None).where(held),
            ("now", "error", "of", "held"),
        ),
    )
