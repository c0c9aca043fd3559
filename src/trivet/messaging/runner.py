"""What the floor above gives the dispatcher: how a message is handled inside a unit of work."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from trivet.core.event import Event
from trivet.core.module import Subscription
from trivet.core.operation import Operation
from trivet.data.database import Session
from trivet.messaging.message import Message

Check = Callable[[Session], Awaitable[None]]
"""Raises where it is of no use to go on with the session's transaction."""

Settle = Callable[[Session], Awaitable[None]]
"""Removes the delivery in the session's transaction. Await it just before the commit of every attempt to commit.

It raises `LeaseLost` when somebody else may be handling the delivery by now: let it through, so that the transaction
rolls back.
"""

Progress = Callable[[int, int | None], None]
"""Takes how many units of a job are done, and of how many; cheap, so that a job may call it in a loop."""


class Transaction(Protocol):
    """Handlers of events in one transaction, one after the other."""

    outward: bool
    """Whether a handler waited, or was about to wait, for what is outside of the database."""

    async def begin(self, check: Check) -> None:
        """Begin before the first handler, however long that waits, and let something be checked."""
        ...

    async def handle(self, subscription: Subscription, event: Event, message: Message) -> None:
        """Run the handler; it acts as the subscription's module.

        Where the transaction is shared, what a handler changed is undone when it raises or is cancelled, and the
        transaction can go on without it.
        """
        ...

    async def commit(self, settle: Settle) -> None:
        """Settle, and make durable what the handlers did that did not fail."""
        ...

    async def close(self) -> None:
        """Return what is borrowed; what was not committed is undone."""
        ...


class NotShared(Exception):
    """The handler is about to wait for what is outside while others' changes wait for its commit: it runs alone."""


class Runner(Protocol):
    """Runs handlers in units of work.

    Several may run concurrently in one process. Each is cancelled when it outlives its time or when the process stops.
    To raise means that it is tried again.
    """

    def transaction(self, *, shared: bool) -> Transaction:
        """Return a transaction for handlers of events; nothing is begun before one of them needs it.

        Args:
            shared: Whether several handlers run in it. One that is about to wait for what is outside raises
                `NotShared` then.
        """
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

    async def discard(self, message: Message) -> None:
        """Remove what a job that was cancelled keeps outside of the database."""
        ...
