"""The call that a stored message is handled as."""

from __future__ import annotations

from typing import Any

from trivet.core.call import NO_FIELDS, Call
from trivet.core.clock import Deadline
from trivet.core.operation import Operation
from trivet.core.principal import Principal
from trivet.messaging.message import Message
from trivet.runtime import Runtime
from trivet.telemetry.trace import trace_of


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
