"""What happens to a delivery: claimed under a lease, then settled, tried again, buried or replayed.

Of each queue (subscriber and aggregate) only the first deliveries are ever claimed, all of them by one holder, so a
queue keeps its order and one that fails holds up nobody else. A delivery that is due and blocked is put off until the
one before it is settled: whoever settled that one promotes it, with the next claim.

Where transactions write side by side, claims lock what they take and pass by what others have locked. Three things keep
that exact: what somebody else took between the look and the lock is not due any more, and those behind it in its queue
are let go with it; that a delivery is to be put off is decided again once it is locked, by a statement of its own; and
to promote is to write the row, which waits for whoever has it locked, in a transaction that began after the settling
one was committed.

A claim takes the same few statements however many deliveries it finds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from trivet.core.shape import Struct
from trivet.data.database import Dialect, Row, Session
from trivet.messaging.hands import Near, deal
from trivet.messaging.message import Message, MessageKind
from trivet.messaging.outbox import MESSAGE_COLUMNS, message_of
from trivet.messaging.tables import tables

if TYPE_CHECKING:
    from trivet.data.statement import Statement

WINDOW = 500
"""How many due deliveries one claim looks at."""

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
        hands: Deliveries to handle now; those of one hand one after the other.
        blocked: How many were due but have to wait for an earlier one.
    """

    hands: tuple[tuple[Claimed, ...], ...] = ()
    blocked: int = 0

    @property
    def claimed(self) -> tuple[Claimed, ...]:
        """All of them."""
        return tuple(claimed for hand in self.hands for claimed in hand)


def one(subscriber: str) -> int:
    """Return that each delivery has a hand of its own."""
    return 1


class Deliveries:
    """The deliveries of the subscribers that a process has.

    Args:
        subscribers: Their ids; deliveries of others are left to other processes.
        dialect: Of the database.
    """

    def __init__(self, subscribers: Sequence[str], dialect: Dialect) -> None:
        self._dialect: Dialect = dialect
        self._sql = _statements(tuple(subscribers), dialect)

    async def next_due(self, session: Session) -> int | None:
        """Return when the next delivery is due, ``None`` when there is none; only reads."""
        rows = await session.fetch(self._sql.next_due, ())
        return rows[0][0] if rows else None

    async def claim(
        self,
        session: Session,
        now: int,
        hands: int,
        lease: str,
        until: Callable[[str, Message], int],
        freed: Iterable[Queue] = (),
        size: Callable[[str], int] = one,
        window: int = WINDOW,
    ) -> Batch:
        """Claim due deliveries; those of one queue are in one hand, in their order.

        Args:
            session: A writing session; the caller commits.
            now: The present instant.
            hands: How many there are to fill.
            lease: A token that was never used before.
            until: Returns when the lease of a delivery ends, from its subscriber and message.
            freed: Queues of which a delivery was settled or buried since.
            size: Returns how many deliveries of a subscriber go into one hand.
            window: How many due deliveries to look at.
        """
        await self._promote(session, now, freed, size)
        near = [
            Near(id=id, subscriber=subscriber, queue=queue, attempts=attempts)
            for id, subscriber, queue, attempts in await session.fetch(self._sql.near, (now, window))
        ]
        dealt = deal(near, hands, size)
        ids = [each.id for hand in dealt for each in hand]
        if not ids:
            return Batch()
        rows = {row[0]: row for row in await session.fetch(self._sql.take, (self._listed(ids), now))}
        claimed = tuple(hand for near in dealt if (hand := tuple(_held(near, rows, lease))))
        ends: dict[int, list[int]] = {}
        for each in (each for hand in claimed for each in hand):
            ends.setdefault(until(each.subscriber, each.message), []).append(each.id)
        for end, those in ends.items():
            await session.execute(self._sql.claim, (lease, end, self._listed(those)))
        count = sum(map(len, claimed))
        if count < len(ids):  # others may be blocked behind these, and free ones behind all of them
            waiting = [id for (id,) in await session.fetch(self._sql.waiting, (now,))]
            if waiting:
                await session.execute(self._sql.put_off, (now + PUT_OFF, self._listed(waiting), now))
        return Batch(hands=claimed, blocked=len(ids) - count)

    async def _promote(self, session: Session, now: int, freed: Iterable[Queue], size: Callable[[str], int]) -> None:
        queues = [(subscriber, queue, size(subscriber)) for subscriber, queue in dict.fromkeys(freed)]
        if not queues:
            return
        if self._dialect == "postgresql":
            await session.execute(self._sql.promote, (now, *map(list, zip(*queues, strict=True))))
        else:
            await session.execute_many(self._sql.promote, [(now, *queue) for queue in queues])

    async def renew(self, session: Session, claimed: Claimed, until: int) -> None:
        """Move the end of a lease.

        Raises:
            LeaseLost: It ended before.
        """
        if await session.execute(self._sql.renew, (until, claimed.id, claimed.lease)) != 1:
            raise LeaseLost

    async def check(self, session: Session, claimed: Sequence[Claimed]) -> None:
        """Return when the leases of deliveries of one claim have not ended, as far as that can be seen.

        Raises:
            LeaseLost: One ended.
        """
        ids = self._listed([each.id for each in claimed])
        [(count,)] = await session.fetch(self._sql.check, (ids, claimed[0].lease))
        if count != len(claimed):
            raise LeaseLost

    async def settle(self, session: Session, claimed: Sequence[Claimed]) -> None:
        """Remove deliveries of one claim in the transaction of their handlers; their queues are freed.

        Raises:
            LeaseLost: A lease ended before; the transaction must not commit.
        """
        ids = self._listed([each.id for each in claimed])
        if await session.execute(self._sql.settle, (ids, claimed[0].lease)) != len(claimed):
            raise LeaseLost

    async def give_back(self, session: Session, claimed: Sequence[Claimed], due: int, *, tried: bool) -> None:
        """End the leases of deliveries of one claim that were not handled; what somebody else has by now is theirs.

        Args:
            session: A writing session; the caller commits.
            claimed: Which ones.
            due: When they can be claimed again.
            tried: Whether an attempt began; then they are handled alone from now on.
        """
        taken_back = 0 if tried else 1
        ids = self._listed([each.id for each in claimed])
        await session.execute(self._sql.give_back, (due, taken_back, ids, claimed[0].lease))

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

    def _listed(self, ids: Sequence[int]) -> Any:
        from trivet.data.statement import list_value

        return list_value(ids, self._dialect)


def _held(near: Sequence[Near], rows: dict[int, Row], lease: str) -> list[Claimed]:
    """Return those of a hand that were taken, of each queue as far as none is missing before them."""
    held: list[Claimed] = []
    ended: set[str] = set()
    for each in sorted(near, key=lambda each: each.id):
        row = rows.get(each.id)
        if row is None or row[2] or each.queue in ended:
            ended.add(each.queue)
            continue
        _, attempts, _, *columns = row
        held.append(
            Claimed(
                id=each.id,
                subscriber=each.subscriber,
                queue=each.queue,
                attempts=attempts + 1,
                lease=lease,
                message=message_of(tuple(columns)),
            )
        )
    return held


def _text_of(error: BaseException | None) -> str | None:
    return None if error is None else f"{type(error).__name__}: {error}"[:ERROR_LENGTH_MAX]


def quoted(name: str) -> str:
    """Return a name as an SQL string."""
    return "'" + name.replace("'", "''") + "'"


class _Statements(Struct):
    next_due: Statement
    near: Statement
    take: Statement
    waiting: Statement
    claim: Statement
    put_off: Statement
    renew: Statement
    check: Statement
    settle: Statement
    promote: Statement
    give_back: Statement
    again: Statement
    bury: Statement


def _statements(subscribers: tuple[str, ...], dialect: Dialect) -> _Statements:
    import sqlalchemy as sa

    from trivet.data.statement import Statement, any_of

    outbox, delivery = tables().outbox, tables().delivery
    bind = sa.bindparam
    d, earlier, other = delivery.c, delivery.alias("earlier"), delivery.alias("other")
    alive = d.dead_time.is_(None)
    # Constants, and joined to nothing, so that no engine prefers the queue's index to the one in order of `due`.
    ours = (d.subscriber + sa.literal_column("''")).in_([sa.literal_column(quoted(s)) for s in subscribers])
    due = d.due <= bind("now")
    held = sa.and_(d.id == bind("of"), d.lease == bind("held"))
    these = any_of(d.id, "ids", dialect)
    of_the_claim = sa.and_(these, d.lease == bind("held"))

    def before(*more: Any) -> Any:
        return (
            sa.exists()
            .where(
                earlier.c.subscriber == d.subscriber,
                earlier.c.aggregate == d.aggregate,
                earlier.c.id < d.id,
                earlier.c.dead_time.is_(None),
                *more,
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
    blocked = sa.or_(before(), running)
    blocked_by_others = sa.or_(before(sa.not_(any_of(earlier.c.id, "ids", dialect))), running)
    return _Statements(
        next_due=Statement(sa.select(d.due).where(alive, ours).order_by(d.due, d.id).limit(sa.literal_column("1")), ()),
        near=Statement(
            sa.select(d.id, d.subscriber, d.aggregate, d.attempts)
            .where(alive, ours, due)
            .order_by(d.due, d.id)
            .limit(bind("limit", type_=sa.Integer)),
            ("now", "limit"),
        ),
        take=Statement(
            sa.select(
                d.id,
                d.attempts,
                blocked_by_others.label("blocked"),
                *(outbox.c[name].label(f"message_{name}") for name in MESSAGE_COLUMNS),
            )
            .join_from(delivery, outbox, outbox.c.position == d.position)
            .where(these, alive, due)
            .with_for_update(of=delivery, skip_locked=True),
            ("ids", "now"),
        ),
        waiting=Statement(
            sa.select(d.id)
            .where(alive, ours, due, blocked)
            .order_by(d.due, d.id)
            .limit(sa.literal_column(str(PUT_OFF_MAX)))
            .with_for_update(of=delivery, skip_locked=True),
            ("now",),
        ),
        claim=Statement(
            sa.update(delivery)
            .values(lease=bind("held"), due=bind("end"), attempts=d.attempts + sa.literal_column("1"))
            .where(these),
            ("held", "end", "ids"),
        ),
        put_off=Statement(
            sa.update(delivery).values(due=bind("later")).where(these, d.lease.is_(None), blocked),
            ("later", "ids", "now"),
        ),
        renew=Statement(sa.update(delivery).values(due=bind("due")).where(held), ("due", "of", "held")),
        check=Statement(sa.select(sa.func.count()).select_from(delivery).where(of_the_claim), ("ids", "held")),
        settle=Statement(sa.delete(delivery).where(of_the_claim), ("ids", "held")),
        promote=_promote(dialect),
        give_back=Statement(
            sa.update(delivery)
            .values(due=bind("due"), lease=None, attempts=d.attempts - bind("taken_back", type_=sa.Integer))
            .where(of_the_claim),
            ("due", "taken_back", "ids", "held"),
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


def _promote(dialect: Dialect) -> Statement:
    """Return what makes the first deliveries of queues due: on PostgreSQL of many at once."""
    import sqlalchemy as sa

    from trivet.data.statement import Statement

    delivery = tables().delivery
    d, bind, first = delivery.c, sa.bindparam, delivery.alias("first")
    freed: Any = (
        sa.func.unnest(
            bind("subscriber", type_=sa.ARRAY(sa.Text)),
            bind("queue", type_=sa.ARRAY(sa.Text)),
            bind("count", type_=sa.ARRAY(sa.Integer)),
        )
        .table_valued("subscriber", "queue", "count", name="freed")
        .render_derived()
    )
    many = dialect == "postgresql"
    of = freed.c if many else {name: bind(name) for name in ("subscriber", "queue", "count")}
    ids: Any = (
        sa.select(first.c.id)
        .where(first.c.subscriber == of["subscriber"], first.c.aggregate == of["queue"], first.c.dead_time.is_(None))
        .order_by(first.c.id)
        .limit(of["count"])
    )
    if many:
        firsts = ids.lateral("firsts")
        ids = sa.select(firsts.c.id).select_from(sa.join(freed, firsts, sa.true()))
    return Statement(
        sa.update(delivery)
        .values(due=sa.case((d.due > bind("now"), bind("now")), else_=d.due))
        .where(
            d.id.in_(ids),
            d.lease.is_(None),
            # one that failed goes on waiting to be tried again
            sa.or_(d.attempts == sa.literal_column("0"), d.last_error.is_(None)),
        ),
        ("now", "subscriber", "queue", "count"),
    )
