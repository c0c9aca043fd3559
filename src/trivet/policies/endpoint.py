"""The end of every chain: the operation's own function, and the encoding of what it returns."""

from __future__ import annotations

from typing import Any

from trivet.core.call import Call, Handler, Outcome
from trivet.core.context import Run
from trivet.core.declaration import Kind
from trivet.core.operation import Operation
from trivet.runtime import Runtime


def endpoint(operation: Operation[..., Any], runtime: Runtime) -> Handler:
    """Return the handler that runs the operation.

    The result is encoded here, before any policy around commits, so that an encoding fault can not follow a committed
    write. A stream answers with its iterator; a job is stored to run later, and answers with its status.
    """
    context = Run if operation.takes else operation.context
    function = operation.handler
    module = operation.module

    async def run(call: Call) -> Outcome:
        value = await function(context(call.work, module, call.unrestricted), **call.arguments)
        encode = call.encode
        if encode is None:
            return Outcome(value)
        expand = call.expand
        return Outcome(value, encode(value if expand is None else await expand(value)))

    async def stream(call: Call) -> Outcome:
        return Outcome(function(context(call.work, module, call.unrestricted), **call.arguments))

    async def enqueue(call: Call) -> Outcome:
        status = call.work.enqueue(operation, call.arguments)
        encode = call.encode
        if encode is None:
            return Outcome(status)
        expand = call.expand
        return Outcome(status, encode(status if expand is None else await expand(status)))

    return {Kind.STREAM: stream, Kind.JOB: enqueue}.get(operation.kind, run)
