"""What the floor above gives the dispatcher: how a message is handled inside a unit of work."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from trivet.core.event import Event
from trivet.core.module import Subscription
from trivet.core.operation import Operation
from trivet.data.database import Session
from trivet.messaging.message import Message

Settle = Callable[[Session], Awaitable[None]]
"""Removes the delivery in the session's transaction. Await it just before the commit of every attempt to commit.

It raises `LeaseLost` when somebody else may be handling the delivery by now: let it through, so that the transaction
rolls back.
"""

Progress = Callable[[int, int | None], None]
"""Takes how many units of a job are done, and of how many; cheap, so that a job may call it in a loop."""


class Runner(Protocol):
    """Runs handlers in units of work.

    Several may run concurrently in one process. Each is cancelled when it outlives its time or when the process stops.
    To raise means that it is tried again.
    """

    async def event(self, subscription: Subscription, event: Event, message: Message, settle: Settle) -> None:
        """Run the handler, settle, and commit, in one transaction; it acts as the subscription's module."""
        ...

    async def command(self, operation: Operation[..., Any], message: Message, settle: Settle) -> None:
        """Run the command on behalf of ``message.principal``, settle, and commit, in one transaction.

        ``message.payload`` has the arguments by name; ``message.id`` is the idempotency key.
        """
        ...

    async def job(self, operation: Operation[..., Any], message: Message, progress: Progress) -> bytes:
        """Run the job on behalf of ``message.principal`` with no transaction open, and return its result as JSON.

        A domain error fails the job. `Unavailable` has it tried again.
        """
        ...
