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
from trivet.data.database import Row, Session
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

KINDS = {kind.value: kind for kind in MessageKind}
_encode_principal = msgspec.json.Encoder().encode
_decode_principal = tolerant(Principal)


class Outbox:
    """Stores messages with the change that caused them.

    Args:
        subscribers: Who gets which message.
    """

    def __init__(self, subscribers: Subscribers) -> None:
        self._subscribers = subscribers
        self._sql = _statements()

    async def store(self, session: Session, messages: Sequence[Message]) -> None:
        """Add messages and their deliveries to the session's transaction; a job gets its status as well.

        The caller commits, and then wakes the dispatcher.
        """
        deliveries: list[tuple[Any, ...]] = []
        for message in messages:
            [(position,)] = await session.fetch(self._sql.store, values_of(message))
            due = micros(message.create_time)
            queue = queue_of(message)
            deliveries += [(subscriber, position, queue, due) for subscriber in self._subscribers.of(message)]
            if message.kind is MessageKind.JOB:
                await jobs.create(session, message)
        if deliveries:
            await session.execute_many(self._sql.deliver, deliveries)


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
            ("subscriber", "position", "aggregate", "due"),
        ),
    )
