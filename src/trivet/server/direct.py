"""Running an operation in this process, without a transport but through every policy that one would pass."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from trivet.core.call import Call, Outcome
from trivet.core.operation import Operation
from trivet.core.principal import ANONYMOUS, Principal

if TYPE_CHECKING:
    from trivet.app import Service


async def run_operation(
    service: Service,
    operation: Operation[..., Any],
    arguments: Mapping[str, Any],
    principal: Principal = ANONYMOUS,
) -> Any:
    """Run an operation as a caller would, and return its result.

    A stream gives its iterator, a job its status.

    Args:
        service: The app, open.
        operation: One of its operations, internal ones included.
        arguments: Arguments by parameter name, typed.
        principal: Who calls.

    Raises:
        Error: What the operation or a policy raised.
    """
    from trivet.policies import chain

    runtime = service.runtime
    call = Call(
        operation,
        protocol="internal",
        method=f"CALL {operation.id}",
        peer=None,
        arrival=runtime.clock.monotonic(),
        request_id=str(runtime.clock.new_id()),
        principal=principal,
    )

    async def last(call: Call) -> Outcome:
        call.arguments = arguments
        return await runtime.handlers.root[operation](call)

    status = 500
    try:
        outcome = await chain.gate(operation, runtime, last)(call)
        status = 200
    finally:
        call.finish(status, 0)
    return outcome.value
