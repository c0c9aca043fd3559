"""Messages: what is stored with the change that caused it and delivered after its commit."""

from __future__ import annotations

import enum
from datetime import datetime
from uuid import UUID

from trivet.core.principal import Principal
from trivet.core.shape import Struct


class MessageKind(enum.Enum):
    """What a message asks for."""

    EVENT = "event"
    """Every subscriber of its type handles it once."""
    COMMAND = "command"
    """Its operation runs once, in a transaction."""
    JOB = "job"
    """Its operation runs in the background; a status tells how far it is."""


class Message(Struct):
    """One event, or one request for an operation to run later.

    Attributes:
        id: Unique; for a request it is the idempotency key, for a job also the id of its status.
        kind: What it asks for.
        type: ``module.Name`` of the event's class, or the id of the operation.
        major: The contract major of that module when the message was written.
        module: The module that emitted or sent it.
        aggregate: What it is about; messages with the same one reach a subscriber in the order of their commits.
            Requests have none: each goes its own way.
        payload: The event, or the arguments by name, as JSON.
        create_time: When it was emitted.
        principal: Who caused it; a request runs on this caller's behalf.
        tenant: The tenant of that caller's credential.
        trace: The ``traceparent`` of the call that caused it.
        request_id: Of the request that caused it.
    """

    id: UUID
    kind: MessageKind
    type: str
    major: int
    module: str
    aggregate: str = ""
    payload: bytes
    create_time: datetime
    principal: Principal | None = None
    tenant: str | None = None
    trace: str | None = None
    request_id: str = ""
