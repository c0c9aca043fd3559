"""Values cross from one module to another as copies, so that none can change what another still uses.

It is also what they would be if the modules ran in two processes: code that works here works when they are split.
"""

from __future__ import annotations

from typing import Any

from trivet.core.call import Call, Handler, Outcome
from trivet.core.copying import Copier, copier_for
from trivet.core.operation import Operation
from trivet.runtime import Runtime


def isolate(operation: Operation[..., Any] | None, runtime: Runtime, next: Handler) -> Handler:
    """Copy arguments and result as far as they can change; frozen values cross as they are."""
    if operation is None:
        return next
    signature = operation.signature
    copiers = {p.name: copier for p in signature.parameters if (copier := copier_for(p.type)) is not None}
    result = copier_for(signature.result)
    if not copiers and result is None:
        return next

    async def isolated(call: Call) -> Outcome:
        if copiers:
            call.arguments = {name: _copied(copiers.get(name), value) for name, value in call.arguments.items()}
        outcome = await next(call)
        outcome.value = _copied(result, outcome.value)
        return outcome

    return isolated


def _copied(copier: Copier | None, value: Any) -> Any:
    return value if copier is None else copier(value)
