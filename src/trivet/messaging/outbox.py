"""The outbox: messages are written in the transaction of the change that caused them, so that both or neither exist.

With each message goes one delivery for each subscriber that is known to this process. What the deliveries then do is
in `deliveries`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec

from trivet.core.principal import Principal
from trivet.core.shape import Struct
from trivet.core.tolerant import tolerant
from trivet.data.database import Dialect, Row, Session
from trivet.messaging import jobs
from trivet.messaging.horizon import next_position
from trivet.messaging.message import Message, MessageKind
from trivet.messaging.subscribers import Subscribers
from trivet.messaging.tables import instant, micros, tables

if TYPE_CHECKING:
    from trivet.data.statement import Statement

MESSAGE_COLUMNS = (
    "id",
    "kind",
    "type",
    "major",
    "module",
    "aggregate",
    "create_time",
    "tenant",
    "trace",
    "request_id",
    "principal",
    "payload",
)
"""The columns that :func:`values_of` fills and :func:`message_of` reads, in their order."""

DELIVERY_COLUMNS = ("subscriber", "position", "aggregate", "due")
"""The columns of a delivery that is new."""

KINDS = {kind.value: kind for kind in MessageKind}
_encode_principal = msgspec.json.Encoder().encode
_decode_principal = tolerant(Principal)


class Outbox:
    """Stores messages with the change that caused them.

    Args:
        subscribers: Who gets which message.
        dialect: Of the database.
    """

    def __init__(self, subscribers: Subscribers, dialect: Dialect) -> None:
        self._subscribers = subscribers
        self._dialect: Dialect = dialect

    async def store(self, session: Session, messages: Sequence[Message]) -> None:
        """Add messages and their deliveries to the session's transaction; a job gets its status as well.

        On PostgreSQL that is one statement, however many messages there are. The caller commits, and then wakes the
        dispatcher.
        """
        if self._dialect == "postgresql":
            deliveries = [
                (subscriber, str(message.id), queue_of(message), micros(message.create_time))
                for message in messages
                for subscriber in self._subscribers.of(message)
            ]
            columns = [*zip(*map(values_of, messages), strict=True), *zip(*deliveries, strict=True)]
            columns += [()] * (len(MESSAGE_COLUMNS) + len(DELIVERY_COLUMNS) - len(columns))
            await session.execute(_store_all(), columns)
        else:
            await self._store_each(session, messages)
        for message in messages:
            if message.kind is MessageKind.JOB:
                await jobs.create(session, message)

    async def _store_each(self, session: Session, messages: Sequence[Message]) -> None:
        """Do so message by message, where a statement is no round trip."""
        deliveries: list[tuple[Any, ...]] = []
        for message in messages:
            [(position,)] = await session.fetch(_statements().store, values_of(message))
            queue, due = queue_of(message), micros(message.create_time)
            deliveries += [(subscriber, position, queue, due) for subscriber in self._subscribers.of(message)]
        if deliveries:
            await session.execute_many(_statements().deliver, deliveries)


def queue_of(message: Message) -> str:
    """Return what orders the message among others for one subscriber; a request waits for no other."""
    return message.aggregate if message.kind is MessageKind.EVENT else str(message.id)


def values_of(message: Message) -> tuple[Any, ...]:
    """Return a message as the values of `MESSAGE_COLUMNS`."""
    return (
        str(message.id),
        message.kind.value,
        message.type,
        message.major,
        message.module,
        message.aggregate,
        micros(message.create_time),
        message.tenant,
        message.trace,
        message.request_id,
        None if message.principal is None else _encode_principal(message.principal),
        message.payload,
    )


def message_of(row: Row) -> Message:
    """Return the message in the values of `MESSAGE_COLUMNS`."""
    id, kind, type, major, module, aggregate, create_time, tenant, trace, request_id, principal, payload = row
    return Message(
        id=UUID(id),
        kind=KINDS[kind],
        type=type,
        major=major,
        module=module,
        aggregate=aggregate,
        create_time=instant(create_time),
        tenant=tenant,
        trace=trace,
        request_id=request_id,
        principal=None if principal is None else _decode_principal(principal),
        payload=payload,
    )


class _Statements(Struct):
    store: Statement
    deliver: Statement


@cache
def _statements() -> _Statements:
    import sqlalchemy as sa

    from trivet.data.statement import Statement

    outbox, delivery = tables().outbox, tables().delivery
    bind = sa.bindparam
    return _Statements(
        store=Statement(
            sa.insert(outbox)
            .values({"position": next_position()} | {name: bind(name) for name in MESSAGE_COLUMNS})
            .returning(outbox.c.position),
            MESSAGE_COLUMNS,
        ),
        deliver=Statement(
            sa.insert(delivery).values(
                subscriber=bind("subscriber"),
                position=bind("position"),
                aggregate=bind("aggregate"),
                due=bind("due"),
                attempts=sa.literal_column("0"),
            ),
            DELIVERY_COLUMNS,
        ),
    )


@cache
def _store_all() -> Statement:
    """Return what stores many messages and their deliveries on PostgreSQL, from one array for each column.

    Both are numbered in the order in which they are given. A delivery names its message by its id.
    """
    import sqlalchemy as sa

    from trivet.data.statement import Statement, compiler

    outbox, delivery, dialect = tables().outbox, tables().delivery, compiler("postgresql")

    def arrays(table: sa.Table, names: Sequence[str], prefix: str, **types: str) -> str:
        kinds = {name: types.get(name) or table.c[name].type.compile(dialect) for name in names}
        given = ", ".join(f"CAST(:{prefix}_{name} AS {kind}[])" for name, kind in kinds.items())
        called = f"given ({', '.join(names)}, place)"
        return f"SELECT * FROM unnest({given}) WITH ORDINALITY AS {called} ORDER BY place"  # noqa: S608 - names of our own

    columns = ", ".join(MESSAGE_COLUMNS)
    stored = (
        f"INSERT INTO trivet.trivet_outbox (position, {columns}) "  # noqa: S608 - names of our own
        f"SELECT {next_position().compile(dialect=dialect)}, {columns} "
        f"FROM ({arrays(outbox, MESSAGE_COLUMNS, 'message')}) AS message RETURNING id, position"
    )
    clause = sa.text(
        f"WITH stored AS ({stored}) "  # noqa: S608 - names of our own
        "INSERT INTO trivet.trivet_delivery (subscriber, position, aggregate, due, attempts) "
        "SELECT delivery.subscriber, stored.position, delivery.aggregate, delivery.due, 0 "
        f"FROM ({arrays(delivery, DELIVERY_COLUMNS, 'delivery', position='TEXT')}) AS delivery "
        "JOIN stored ON stored.id = delivery.position ORDER BY delivery.place"
    )
    return Statement(
        clause, [*(f"message_{name}" for name in MESSAGE_COLUMNS), *(f"delivery_{name}" for name in DELIVERY_COLUMNS)]
    )
