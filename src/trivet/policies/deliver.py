"""Deliveries: how a stored message is handled, each in a unit of work of its own.

The delivery is removed in the transaction of its handler, so that what the handler changes in the database happens
once, however often the message is delivered. Handlers of events may share a transaction: each still has a context, an
instant, and a savepoint of its own.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import msgspec

from trivet.blobs.rows import MEDIA_TYPES, writer
from trivet.blobs.store import About
from trivet.contracts.jobs import FILE_PATH
from trivet.core.call import NO_FIELDS, Call
from trivet.core.clock import Deadline
from trivet.core.context import Run, Write
from trivet.core.declaration import Access, Declaration
from trivet.core.decode import Decoder, patched_shape
from trivet.core.error import Error
from trivet.core.event import Event
from trivet.core.job import FILE_NAME, File
from trivet.core.module import Module, Subscription
from trivet.core.operation import Operation
from trivet.core.principal import Principal
from trivet.core.resource import Resource
from trivet.core.tolerant import tolerant
from trivet.data.database import Database, Session, Snapshot
from trivet.data.groups import in_groups
from trivet.data.savepoint import Savepoint
from trivet.messaging.message import Message
from trivet.messaging.runner import Check, NotShared, Progress, Settle
from trivet.messaging.subscribers import EVENT_SECONDS
from trivet.policies.work import UnitOfWork
from trivet.runtime import Runtime
from trivet.telemetry.trace import trace_of

HANDLER = Declaration(access=Access(internal=True, acts_as="module"))
"""What an event handler declares: it acts as its module."""


class Deliveries:
    """Runs event handlers, requested commands and jobs.

    Args:
        runtime: What is open in this process.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._arguments: dict[Operation[..., Any], Any] = {}

    def transaction(self, *, shared: bool) -> EventTransaction:
        """Return a transaction for handlers of events."""
        return EventTransaction(self._runtime, shared)

    async def command(self, operation: Operation[..., Any], message: Message, settle: Settle) -> None:
        """Run the command on behalf of whoever sent it and remove the delivery, in one transaction."""
        call = call_of(self._runtime, operation, message, message.principal)
        call.deadline = deadline_in(self._runtime, operation.declaration.timeout)
        call.arguments = self._decode(operation, message.payload)
        work = call.work = UnitOfWork(self._runtime, call, operation.declaration, True)
        try:
            await self._runtime.handlers.nested[operation](call)
            await settle(work.session)
            await work.commit()
        finally:
            await work.close()

    async def job(self, operation: Operation[..., Any], message: Message, progress: Progress) -> bytes:
        """Run the job on behalf of whoever started it; no transaction is open meanwhile."""
        call = call_of(self._runtime, operation, message, message.principal)
        work = call.work = JobWork(self._runtime, call, operation.declaration, progress)
        try:
            context = Run(work, operation.module, call.unrestricted)
            value = await operation.handler(context, **self._decode(operation, message.payload))
            return msgspec.json.encode(value)
        except Error:
            raise
        except Exception as broken:  # its caller sees an internal error, and here is why
            self._runtime.log.failure("unexpected error", broken, request_id=call.request_id, operation=operation.id)
            raise
        finally:
            await work.close()

    def _decode(self, operation: Operation[..., Any], payload: bytes) -> Mapping[str, Any]:
        decoders = self._arguments.get(operation)
        if decoders is None:
            decoders = self._arguments[operation] = {
                p.name: Decoder(p.type).json if patched_shape(p.type) else tolerant(p.type)
                for p in operation.signature.parameters
            }
        raw = msgspec.json.decode(payload, type=dict[str, msgspec.Raw])
        return {name: decoders[name](bytes(value)) for name, value in raw.items() if name in decoders}


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
            await self._runtime.open_outbox().store(self.session, self._messages)
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


class JobWork(UnitOfWork):
    """The unit of work of a job: it reads, reports its progress, and each of its commands has a work of its own."""

    __slots__ = ("_file", "_held", "_progress")

    def __init__(self, runtime: Runtime, call: Call, declaration: Declaration, progress: Progress) -> None:
        super().__init__(runtime, call, declaration, writes=False)
        self._progress = progress
        self._held: Snapshot | None = None
        self._file = False

    def snapshot(self) -> AbstractAsyncContextManager[Snapshot] | None:
        """Return the store as of one instant, where this job does not hold one and the process may hold any."""
        database = self.runtime.open_database()
        return self._snapshot(database) if database.snapshots and self._held is None else None

    @asynccontextmanager
    async def _snapshot(self, database: Database) -> AsyncIterator[Snapshot]:
        held = self._held = database.snapshot()
        try:
            async with self.runtime.snapshots:
                try:
                    yield held
                finally:
                    await held.close()
        finally:
            self._held = None

    async def export(self, rows: AsyncIterable[Any], name: str, total: int | None) -> File:
        """Write the job's file; it has the job's id.

        Raises:
            ValueError: The name is not fit for a file.
            RuntimeError: The job has one already, or does not say that it returns one.
        """
        named = FILE_NAME.fullmatch(name)
        if named is None:
            raise ValueError(
                f"{name!r}: a file is named with letters, digits, '.', '_', '-' and ends in .csv or .ndjson"
            )
        if self._file or self.runtime.blobs is None:
            raise RuntimeError("a job has one file, and says so: write `-> File`, and return what ctx.export returns")
        self._file = True
        id, media_type = UUID(self.root.idempotency_key), MEDIA_TYPES[named[1]]
        expires = self.runtime.clock.now() + timedelta(seconds=self.runtime.settings.blobs.keep)
        about = About(name=name, media_type=media_type, expire_time=expires, tag=uuid4().hex)
        write, done = writer(named[1]), 0
        async with self.runtime.blobs.write(id, about) as blob, aclosing(in_groups(rows)) as groups:
            async for group in groups:
                await blob.write(write(group))
                done += len(group)
                self._progress(done, total)
        path = FILE_PATH.format(id=id)
        return File(name=name, media_type=media_type, size=blob.size, rows=done, path=path, expire_time=expires)

    async def close(self) -> None:
        """Return what is borrowed, also what a stream holds that was left before its end."""
        if self._held is not None:
            await self._held.close()
        await super().close()

    def progress(self, done: int, total: int | None) -> None:
        """Record how far the job is."""
        self._progress(done, total)


def call_of(
    runtime: Runtime, operation: Operation[..., Any] | None, message: Message, principal: Principal | None
) -> Call:
    """Return the call that handles a message."""
    call = Call(
        operation,
        protocol="internal",
        method="",
        fields={b"traceparent": message.trace.encode()} if message.trace else NO_FIELDS,
        peer=None,
        arrival=runtime.clock.monotonic(),
        request_id=message.request_id or str(message.id),
        principal=principal or Principal(),
    )
    call.tenant = message.tenant
    call.idempotency_key = str(message.id)  # a delivery that is repeated asks others for the same
    call.trace = trace_of(call.fields)
    if operation is not None:
        call.unrestricted = operation.declaration.access.acts_as == "module"
    return call


def deadline_in(runtime: Runtime, seconds: float) -> Deadline:
    """Return the deadline that many seconds from now."""
    return Deadline(runtime.clock.monotonic() + seconds, runtime.clock)
