"""The order of the policies, stated once: GATE, FIELD, CALL and NESTED. Nothing else decides order.

The gate runs once per request and knows only its head: the body is unread, so that refusing costs almost nothing. The
call runs once per operation, with its arguments decoded. A request that leads to several operations (GraphQL) passes
the gate as an operation of the platform; then each of its root fields passes the field's list, which decides what
depends on the operation, and the call. A nested call (one operation calling another) passes its own, shorter list: what
the gate decided about the caller holds for all of the request.

A policy with nothing to do for an operation returns the handler it was given, and so is not in the operation's chain.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from trivet.core.call import Handler
from trivet.core.declaration import Kind
from trivet.core.operation import Operation
from trivet.core.resource import Elsewhere
from trivet.policies.authenticate import authenticate
from trivet.policies.authorize import authorize
from trivet.policies.consistency import consistency
from trivet.policies.deadline import deadline
from trivet.policies.elsewhere import elsewhere
from trivet.policies.endpoint import endpoint
from trivet.policies.idempotency import idempotency, leased_idempotency
from trivet.policies.isolate import isolate
from trivet.policies.observe import observe, observe_field, observe_nested
from trivet.policies.precondition import precondition
from trivet.policies.transaction import transaction
from trivet.runtime import Runtime

Policy = Callable[[Operation[..., Any] | None, Runtime, Handler], Handler]
"""Looks at an operation once, when the app is built, and returns the handler to use: a new one around `next`, or it.

The operation is ``None`` for requests that lead to none; only `observe` sees those.
"""

GATE: tuple[Policy, ...] = (observe, deadline, authenticate, authorize, consistency)
FIELD: tuple[Policy, ...] = (observe_field, deadline, authorize)
CALL: tuple[Policy, ...] = (leased_idempotency, transaction, idempotency, precondition)
NESTED: tuple[Policy, ...] = (observe_nested, isolate)


def bind(policies: Sequence[Policy], operation: Operation[..., Any] | None, runtime: Runtime, last: Handler) -> Handler:
    """Wrap `last` with the policies, the first one outermost."""
    handler = last
    for policy in reversed(policies):
        handler = policy(operation, runtime, handler)
    return handler


def gate(operation: Operation[..., Any], runtime: Runtime, next: Handler) -> Handler:
    """Return the handler that a transport calls with the head of a request; `next` reads the body and goes on."""
    return bind(GATE, operation, runtime, next)


def field(operation: Operation[..., Any], runtime: Runtime, next: Handler) -> Handler:
    """Return the handler that a transport calls for one of several operations of a request that passed the gate.

    What the gate found out about the caller is on the call already; `next` decodes the arguments and goes on.
    """
    return bind(FIELD, operation, runtime, next)


def call(operation: Operation[..., Any], runtime: Runtime) -> Handler:
    """Return the handler that runs an operation whose arguments are decoded."""
    return bind(CALL, operation, runtime, endpoint(operation, runtime))


def nested(operation: Operation[..., Any], runtime: Runtime) -> Handler:
    """Return the handler by which other operations call this one."""
    return bind(NESTED, operation, runtime, endpoint(operation, runtime))


def bind_all(operations: Iterable[Operation[..., Any]], runtime: Runtime) -> None:
    """Bind both handlers of operations once, where transports, nested calls and deliveries find them."""
    for operation in operations:
        runtime.handlers.root[operation] = call(operation, runtime)
        runtime.handlers.nested[operation] = nested(operation, runtime)


def bind_elsewhere(service: Elsewhere[Any], runtime: Runtime) -> None:
    """Bind the operations of modules that run in another process, for those that call them or send for them."""
    for operation in (operation for module in service.modules for operation in module.operations):
        if operation.kind in (Kind.QUERY, Kind.COMMAND):
            runtime.handlers.nested[operation] = bind(
                (observe_nested,), operation, runtime, elsewhere(operation, service)
            )


def unrouted(runtime: Runtime, next: Handler) -> Handler:
    """Return the handler for a request that leads to no operation: it is observed, and `next` raises why."""
    return bind((observe,), None, runtime, next)
