"""Stored messages with what became of each of their deliveries, for people who look."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any
from uuid import UUID

from trivet.core.clock import Clock
from trivet.core.shape import Struct
from trivet.data.database import Database, Dialect, Row, Session
from trivet.messaging.horizon import Horizon
from trivet.messaging.message import Message
from trivet.messaging.outbox import MESSAGE_COLUMNS, message_of
from trivet.messaging.tables import instant, micros, tables

if TYPE_CHECKING:
    from trivet.data.statement import Statement

POLL_SECONDS = 0.5
CHUNK = 100
"""How many messages a tail reads at once."""
END = 2**63 - 1
"""The position that every message is before."""


class DeliveryState(enum.Enum):
    """How far a delivery is."""

    WAITING = "waiting"
    """Nobody has tried yet."""
    RUNNING = "running"
    """A handler is at work, or its process died a moment ago."""
    RETRYING = "retrying"
    """It failed and will be tried again."""
    DEAD = "dead"
    """It failed too often and waits for somebody to replay it."""


class Delivery(Struct):
    """One subscriber's share of a message; what was delivered has none any more.

    Attributes:
        id: Names it for people.
        subscriber: The handler or operation.
        state: How far it is.
        attempts: How many attempts began.
        time: When it is tried next, when its lease ends, or when it was given up.
        error: What the last attempt that failed ended with.
    """

    id: int
    subscriber: str
    state: DeliveryState
    attempts: int
    time: datetime
    error: str


class Stored(Struct):
    """A message in the outbox.

    Attributes:
        position: Where it stands; positions are in commit order where transactions do not overlap.
        message: Without its payload where that was not asked for.
        deliveries: Those that are left.
    """

    position: int
    message: Message
    deliveries: tuple[Delivery, ...] = ()


class Filter(Struct):
    """Which messages are meant; all of them where nothing is said.

    Attributes:
        type: Only those of one type: ``module.Name`` of an event, or the id of an operation.
        about: Only those about one thing, by its aggregate.
        handler: Only those that one handler or operation has before it.
        pending: Only those that somebody has before them.
    """

    type: str | None = None
    about: str | None = None
    handler: str | None = None
    pending: bool = False

    @property
    def values(self) -> Mapping[str, str]:
        """What is compared with, by name."""
        given = {"type": self.type, "about": self.about, "handler": self.handler}
        return {name: value for name, value in given.items() if value is not None}


EVERY = Filter()


def state_of(attempts: int, due: int, lease: str | None, dead_time: int | None, now: int) -> DeliveryState:
    """Return how far a delivery is, from the columns of its row.

    Args:
        attempts: How many began.
        due: When it may be claimed, in microseconds since 1970; the end of its lease where it has one.
        lease: Who holds it.
        dead_time: When it was given up.
        now: The present instant.
    """
    if dead_time is not None:
        return DeliveryState.DEAD
    if lease is not None and due > now:
        return DeliveryState.RUNNING
    return DeliveryState.RETRYING if attempts else DeliveryState.WAITING


class Messages:
    """What is in the outbox.

    Args:
        database: The store.
        clock: Time.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def page(
        self, filter: Filter = EVERY, before: int = END, limit: int = 100, *, payloads: bool = False
    ) -> Sequence[Stored]:
        """Return messages, the newest first, from before a position on.

        Args:
            filter: Which ones.
            before: A position.
            limit: How many at most.
            payloads: Whether to read what they say, too.
        """
        statement = _statement(tuple(filter.values), filter.pending, payloads, newest_first=True)
        return await self._read(statement, (*filter.values.values(), 0, before - 1, limit))

    async def get(self, which: int | UUID) -> Stored | None:
        """Return one message by its position or its id, ``None`` where there is none."""
        if isinstance(which, int):
            statement = _statement((), pending=False, payloads=True, newest_first=True)
            found = await self._read(statement, (which - 1, which, 1))
        else:
            statement = _statement(("id",), pending=False, payloads=True, newest_first=True)
            found = await self._read(statement, (str(which), 0, END, 1))
        return found[0] if found else None

    async def tail(self, filter: Filter = EVERY, last: int = 0) -> AsyncIterator[Stored]:
        """Yield messages in commit order: the last ones that are settled, then each one that is committed, for ever.

        While a transaction writes, what was committed after its messages is not shown: nothing is left out.

        Args:
            filter: Which ones.
            last: How many of those that are there already.
        """
        horizon = Horizon(self._database.dialect)
        at = await self._settled(horizon)
        while at is None:
            await asyncio.sleep(POLL_SECONDS)
            at = await self._settled(horizon)
        if last:
            for each in reversed(await self.page(filter, at + 1, last, payloads=True)):
                yield each
        statement = _statement(tuple(filter.values), filter.pending, payloads=True, newest_first=False)
        while True:
            upto = await self._settled(horizon) or at
            found = await self._read(statement, (*filter.values.values(), at, upto, CHUNK))
            for each in found:
                yield each
            at = found[-1].position if len(found) == CHUNK else upto
            if len(found) < CHUNK:
                await asyncio.sleep(POLL_SECONDS)

    async def _settled(self, horizon: Horizon) -> int | None:
        """Return up to which position every message is committed or never will be."""
        session = self._session()
        try:
            await horizon.look(session, micros(self._clock.now()))
            return horizon.settled
        finally:
            await session.close()

    async def _read(self, statement: Statement, values: Sequence[Any]) -> Sequence[Stored]:
        from trivet.data.statement import list_value

        session, dialect = self._session(), self._database.dialect
        try:
            rows = await session.fetch(statement, values)
            positions = [position for position, *_ in rows]
            left = await session.fetch(_deliveries(dialect), (list_value(positions, dialect),)) if rows else []
        finally:
            await session.close()
        now = micros(self._clock.now())
        by_position: dict[int, list[Delivery]] = {}
        for position, *columns in left:
            by_position.setdefault(position, []).append(_delivery_of(tuple(columns), now))
        return [
            Stored(
                position=position,
                message=message_of(tuple(columns)),
                deliveries=tuple(by_position.get(position, ())),
            )
            for position, *columns in rows
        ]

    def _session(self) -> Session:
        return self._database.session(write=False, reads="primary")


def _delivery_of(row: Row, now: int) -> Delivery:
    id, subscriber, attempts, due, lease, error, dead_time = row
    return Delivery(
        id=id,
        subscriber=subscriber,
        state=state_of(attempts, due, lease, dead_time, now),
        attempts=attempts,
        time=instant(due if dead_time is None else dead_time),
        error=error or "",
    )


@cache
def _statement(names: tuple[str, ...], pending: bool, payloads: bool, newest_first: bool) -> Statement:
    """Return the statement that reads a page of messages: after a position, up to another one."""
    import sqlalchemy as sa

    from trivet.data.statement import Statement

    outbox, delivery = tables().outbox, tables().delivery
    o, d, bind = outbox.c, delivery.c, sa.bindparam
    nothing: sa.ColumnElement[bytes] = sa.cast(sa.literal_column("''"), sa.LargeBinary)
    columns = [o[name] if payloads or name != "payload" else nothing.label("payload") for name in MESSAGE_COLUMNS]
    meant: dict[str, Any] = {
        "id": lambda: o.id == bind("id"),
        "type": lambda: o.type == bind("type"),
        "about": lambda: o.aggregate == bind("about"),
        "handler": lambda: o.position.in_(sa.select(d.position).where(d.subscriber == bind("handler"))),
    }
    conditions = [meant[name]() for name in names]
    if pending and "handler" not in names:
        conditions.append(o.position.in_(sa.select(d.position)))
    return Statement(
        sa.select(o.position, *columns)
        .where(*conditions, o.position > bind("after"), o.position <= bind("upto"))
        .order_by(o.position.desc() if newest_first else o.position)
        .limit(bind("limit", type_=sa.Integer)),
        (*names, "after", "upto", "limit"),
    )


@cache
def _deliveries(dialect: Dialect) -> Statement:
    import sqlalchemy as sa

    from trivet.data.statement import Statement, any_of

    d = tables().delivery.c
    return Statement(
        sa.select(d.position, d.id, d.subscriber, d.attempts, d.due, d.lease, d.last_error, d.dead_time)
        .where(any_of(d.position, "positions", dialect))
        .order_by(d.id),
        ("positions",),
    )
