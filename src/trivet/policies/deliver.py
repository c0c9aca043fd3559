"""Deliveries: how a stored message is handled, each in a unit of work of its own.

The delivery is removed in the transaction of its handler, so that what the handler changes in the database happens
once, however often the message is delivered.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Mapping
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
from trivet.core.tolerant import tolerant
from trivet.data.database import Database, Snapshot
from trivet.data.table import in_groups
from trivet.messaging.message import Message
from trivet.messaging.runner import Progress, Settle
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

    async def event(self, subscription: Subscription, event: Event, message: Message, settle: Settle) -> None:
        """Run the handler as its module and remove the delivery, in one transaction."""
        module: Module = subscription.module
        call = self._call(None, message, Principal(subject=f"module:{module.name}", tenant=message.tenant))
        call.deadline = self._deadline(EVENT_SECONDS)
        call.unrestricted = True
        work = call.work = UnitOfWork(self._runtime, call, HANDLER, True)
        try:
            await subscription.handler(Write(work, module, unrestricted=True), event)
            await settle(work.session)
            await work.commit()
        finally:
            await work.close()

    async def command(self, operation: Operation[..., Any], message: Message, settle: Settle) -> None:
        """Run the command on behalf of whoever sent it and remove the delivery, in one transaction."""
        call = self._call(operation, message, message.principal)
        call.deadline = self._deadline(operation.declaration.timeout)
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
        call = self._call(operation, message, message.principal)
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

    def _call(self, operation: Operation[..., Any] | None, message: Message, principal: Principal | None) -> Call:
        call = Call(
            operation,
            protocol="internal",
            method="",
            fields={b"traceparent": message.trace.encode()} if message.trace else NO_FIELDS,
            peer=None,
            arrival=self._runtime.clock.monotonic(),
            request_id=message.request_id or str(message.id),
            principal=principal or Principal(),
        )
        call.tenant = message.tenant
        call.idempotency_key = str(message.id)  # a delivery that is repeated asks others for the same
        call.trace = trace_of(call.fields)
        if operation is not None:
            call.unrestricted = operation.declaration.access.acts_as == "module"
        return call

    def _deadline(self, seconds: float) -> Deadline:
        clock = self._runtime.clock
        return Deadline(clock.monotonic() + seconds, clock)

    def _decode(self, operation: Operation[..., Any], payload: bytes) -> Mapping[str, Any]:
        decoders = self._arguments.get(operation)
        if decoders is None:
            decoders = self._arguments[operation] = {
                p.name: Decoder(p.type).json if patched_shape(p.type) else tolerant(p.type)
                for p in operation.signature.parameters
            }
        raw = msgspec.json.decode(payload, type=dict[str, msgspec.Raw])
        return {name: decoders[name](bytes(value)) for name, value in raw.items() if name in decoders}


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
