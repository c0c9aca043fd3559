"""Deliveries: how a stored message is handled, each in a unit of work of its own.

The delivery is removed in the transaction of its handler, so that what the handler changes in the database happens
once, however often the message is delivered.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from trivet.core.context import Run
from trivet.core.decode import Decoder, patched_shape
from trivet.core.error import Error
from trivet.core.operation import Operation
from trivet.core.tolerant import tolerant
from trivet.messaging.message import Message
from trivet.messaging.runner import Progress, Settle
from trivet.policies.delivered import call_of, deadline_in
from trivet.policies.eventwork import EventTransaction
from trivet.policies.jobwork import JobWork
from trivet.policies.work import UnitOfWork
from trivet.runtime import Runtime


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

    async def discard(self, message: Message) -> None:
        """Remove the file of a job that was cancelled after it was whole."""
        if self._runtime.blobs is not None:
            await self._runtime.blobs.delete(message.id)

    def _decode(self, operation: Operation[..., Any], payload: bytes) -> Mapping[str, Any]:
        decoders = self._arguments.get(operation)
        if decoders is None:
            decoders = self._arguments[operation] = {
                p.name: Decoder(p.type).json if patched_shape(p.type) else tolerant(p.type)
                for p in operation.signature.parameters
            }
        raw = msgspec.json.decode(payload, type=dict[str, msgspec.Raw])
        return {name: decoders[name](bytes(value)) for name, value in raw.items() if name in decoders}
