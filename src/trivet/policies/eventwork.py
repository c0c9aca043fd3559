"""Events: how handlers run in one transaction, each with a context, an instant and a savepoint of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trivet.core.call import Call
from trivet.core.context import Write
from trivet.core.declaration import Access, Declaration
from trivet.core.event import Event
from trivet.core.module import Module, Subscription
from trivet.core.principal import Principal
from trivet.core.resource import Resource
from trivet.data.database import Session
from trivet.data.savepoint import Savepoint
from trivet.messaging.message import Message
from trivet.messaging.runner import Check, NotShared, Settle
from trivet.messaging.subscribers import EVENT_SECONDS
from trivet.policies.delivered import call_of, deadline_in
from trivet.policies.work import UnitOfWork, of_its_shard
from trivet.runtime import Runtime

HANDLER = Declaration(access=Access(internal=True, acts_as="module"))
"""What an event handler declares: it acts as its module."""


class EventTransaction:
    """Handlers of events in one transaction, each as its module.

    Args:
        runtime: What is open in this process.
        shared: Whether several of them run in it, each on a savepoint.

    Attributes:
        outward: Whether a handler waited, or was about to wait, for what is outside.
    """

    def __init__(self, runtime: Runtime, shared: bool) -> None:
        self.shared = shared
        self.outward = False
        self._runtime = runtime
        self._deadline = deadline_in(runtime, EVENT_SECONDS)
        self._session: Session | None = None
        self._messages: list[Message] = []

    @property
    def session(self) -> Session:
        """The store, opened at the first use."""
        if self._session is None:
            self._session = self._runtime.open_database().session(write=True, deadline=self._deadline)
        return self._session

    async def begin(self, check: Check) -> None:
        """Open the store, and let something be checked there."""
        await check(self.session)

    async def handle(self, subscription: Subscription, event: Event, message: Message) -> None:
        """Run the handler; what it changed is undone when it raises, where the transaction is shared."""
        module: Module = subscription.module
        principal = Principal(subject=f"module:{module.name}", tenant=message.tenant)
        call = call_of(self._runtime, None, message, principal)
        call.deadline = deadline_in(self._runtime, EVENT_SECONDS)
        call.unrestricted = True
        work = call.work = HandlerWork(self._runtime, call, self)
        try:
            await subscription.handler(Write(work, module, unrestricted=True), event)
        except BaseException as error:
            await work.leave_savepoint(error)
            raise
        else:
            await work.leave_savepoint(None)
            self._messages += work.messages
        finally:
            work.end()

    async def commit(self, settle: Settle) -> None:
        """Store what was emitted and sent, settle, make everything durable, then wake whoever waits for messages."""
        if self._messages:
            messages = of_its_shard(self._runtime, self.session, self._messages)
            await self._runtime.open_outbox().store(self.session, messages)
        await settle(self.session)
        try:
            await self.session.commit()
        finally:
            if self._messages:
                self._runtime.wake()  # also where a cancellation is raised after the commit

    async def close(self) -> None:
        """Return what is borrowed; what was not committed is rolled back."""
        if self._session is not None:
            await self._session.close()


class HandlerWork(UnitOfWork):
    """The unit of work of one handler, in a transaction that may have others.

    Args:
        runtime: What is open in this process.
        call: Of the message.
        transaction: Where it runs.
    """

    __slots__ = ("_savepoint", "_transaction")

    def __init__(self, runtime: Runtime, call: Call, transaction: EventTransaction) -> None:
        super().__init__(runtime, call, HANDLER, writes=True)
        self._transaction = transaction
        self._savepoint: Savepoint | None = None

    @property
    def session(self) -> Session:
        """The transaction; where it is shared, on a savepoint of this handler's."""
        if self._session is None:
            self._running()
            self._session = self._transaction.session
            if self._transaction.shared:
                self._session = self._savepoint = Savepoint(self._session)
            self._session.tenant = self.tenant
        return self._session

    @property
    def messages(self) -> Sequence[Message]:
        """What is to be stored with the commit."""
        return self._messages

    def leave(self, resource: Resource[Any]) -> None:
        """Refuse to wait for what is outside while a transaction is open, of this handler or of others in it.

        Raises:
            NotShared: Others are in the transaction, or will be.
            RuntimeError: It is open, and this handler's own.
        """
        self._transaction.outward = True
        if self._transaction.shared:
            raise NotShared
        super().leave(resource)

    async def leave_savepoint(self, error: BaseException | None) -> None:
        """Keep what the handler changed for the commit; with an error, undo it."""
        if self._savepoint is not None:
            await self._savepoint.leave(error)
