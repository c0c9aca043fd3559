"""Modules that run in another process: their queries are asked there, their commands sent.

A query is called as if it ran here. A command can not join a transaction of this process; it runs over there once this
one has committed, by the delivery of its message, whose id it is known by however often it is delivered.
"""

from __future__ import annotations

from typing import Any

from trivet.core.call import Call, Handler, Outcome
from trivet.core.declaration import Kind
from trivet.core.operation import Operation
from trivet.core.resource import Elsewhere


def elsewhere(operation: Operation[..., Any], service: Elsewhere[Any]) -> Handler:
    """Return the handler that runs an operation in the process where its module is."""
    joins = operation.kind is Kind.COMMAND

    async def ask(call: Call) -> Outcome:
        if joins and call.work.root is not call:
            raise TypeError(refusal(operation, service))
        context = operation.context(call.work, operation.module)
        return Outcome(value=await service.invoke(context, operation, call.arguments))

    return ask


def refusal(operation: Operation[..., Any], service: Elsewhere[Any]) -> str:
    """Return why a command of another process can not be called here, and what to do instead."""
    return (
        f"{operation.id} runs in another process and can not join a transaction of this one: ctx.send it, or call it "
        f"apart from any transaction with {service.name}.get(ctx).call(...)"
    )
