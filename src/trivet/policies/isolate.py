"""Values cross from one module to another as copies, so that none can change what another still uses.

It is also what they would be if the modules ran in two processes: code that works here works when they are split.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from trivet.core.call import Call, Handler, Outcome
from trivet.core.copying import copier_for
from trivet.core.operation import Operation
from trivet.runtime import Runtime

Arguments = Mapping[str, Any]


def isolate(operation: Operation[..., Any] | None, runtime: Runtime, next: Handler) -> Handler:
    """Copy arguments and result as far as they can change; frozen values cross as they are."""
    if operation is None:
        return next
    copy = arguments_copier(operation)
    result = copier_for(operation.signature.result)
    if copy is None and result is None:
        return next

    async def isolated(call: Call) -> Outcome:
        if copy is not None:
            call.arguments = copy(call.arguments)
        outcome = await next(call)
        if result is not None:
            outcome.value = result(outcome.value)
        return outcome

    return isolated


def arguments_copier(operation: Operation[..., Any]) -> Callable[[Arguments], Arguments] | None:
    """Return what copies an operation's arguments as far as they can change, ``None`` where none can."""
    copiers = [(p.name, copier) for p in operation.signature.parameters if (copier := copier_for(p.type)) is not None]
    if not copiers:
        return None

    def copied(arguments: Arguments) -> Arguments:
        fresh = dict(arguments)
        for name, copy in copiers:
            if name in fresh:
                fresh[name] = copy(fresh[name])
        return fresh

    return copied
