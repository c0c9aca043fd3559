"""Rules for what modules declare, checked when the app is built: defaults and examples fit, names are given once."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from typing import Any, get_type_hints

import msgspec

from trivet.core.declaration import Example
from trivet.core.decode import Decoder
from trivet.core.error import InvalidArgument
from trivet.core.fault import Fault
from trivet.core.module import Module, Subscription
from trivet.core.operation import Operation
from trivet.core.patch import Patch

NO_CONTENT = (204, 205)
"""HTTP statuses whose answers have no content (RFC 9110 section 15.3.5)."""


def ill_formed(modules: Sequence[Module]) -> list[Fault]:
    """Return what is wrong with operations and event handlers; signatures that make no sense are reported elsewhere."""
    faults: list[Fault] = []
    for module in modules:
        named: dict[str, Operation[..., Any]] = {}
        for operation in module.operations:
            other = named.setdefault(operation.name, operation)
            faults += [
                Fault(rule=rule, place=operation.place, problem=f"{operation.id}: {problem}", mend=mend)
                for rule, problem, mend in (*_name(operation, other), *_signature(operation))
            ]
        faults += [
            Fault(
                rule="handler-signature",
                place=subscription.place,
                problem=f"handler {subscription.id}: {problem}",
                mend=f"Write `async def handler(ctx: {subscription.context.__name__}, event: TheEvent) -> None`.",
            )
            for subscription in module.subscriptions
            for problem in _handler(subscription)
        ]
    return faults


def _name(operation: Operation[..., Any], other: Operation[..., Any]) -> Iterator[tuple[str, str, str]]:
    if other is not operation and (operation.declaration.access.internal or other.declaration.access.internal):
        yield "operation-id", f"another operation of that name is at {other.place}", "Rename one of them."


def _signature(operation: Operation[..., Any]) -> Iterator[tuple[str, str, str]]:
    try:
        signature = operation.signature
    except TypeError:
        return
    for parameter in signature.parameters:
        if parameter.required:
            continue
        problem = value_problem(parameter.type, parameter.default)
        if problem is not None:
            yield (
                "default",
                f"the default of {parameter.name} does not fit: {problem}",
                "Change the default or the type.",
            )
        elif isinstance(parameter.default, list | dict | set):
            mend = "Make it None, or a tuple."
            yield "default", f"the default of {parameter.name} can change, and all calls share it", mend
    for example in operation.declaration.examples:
        for problem in _example(operation, example):
            yield "example", f"an example does not fit: {problem}", "An example is a call that works."
    status = operation.declaration.http.status
    if status in NO_CONTENT and signature.result not in (None, type(None)):
        yield "http-status", f"answers {status}, which has no content, but returns something", "Return None."


def _handler(subscription: Subscription) -> Iterator[str]:
    """Yield what keeps an event handler from being called with a context and the event."""
    try:
        hints = get_type_hints(subscription.handler)
        parameters = inspect.signature(subscription.handler).parameters
    except Exception as unresolved:
        yield f"an annotation can not be resolved: {unresolved}"
        return
    try:
        inspect.signature(subscription.handler).bind("ctx", "event")
    except TypeError as unfit:
        yield str(unfit)
        return
    for name, given in zip(parameters, (subscription.context, subscription.event), strict=False):
        wanted = hints.get(name)
        if isinstance(wanted, type) and isinstance(given, type) and not issubclass(given, wanted):
            yield f"{name} is a {given.__name__}, not a {wanted.__name__}"


def _example(operation: Operation[..., Any], example: Example) -> Iterator[str]:
    signature = operation.signature
    try:
        arguments = signature.arguments((), dict(example.arguments))
    except TypeError as unfit:
        yield str(unfit)
        return
    for parameter in signature.parameters:
        if parameter.name in arguments:
            problem = value_problem(parameter.type, arguments[parameter.name])
            if problem is not None:
                yield f"{parameter.name}: {problem}"
    items = signature.items
    if items is not None:
        given = arguments[items.name]
        for place, item in enumerate(given if isinstance(given, list | tuple) else ()):
            problem = value_problem(items.type, item)
            if problem is not None:
                yield f"{items.name}/{place}: {problem}"
        if not isinstance(given, list | tuple):
            yield f"{items.name}: in an example, items are a list"
    if example.result is not None:
        problem = value_problem(signature.result, example.result)
        if problem is not None:
            yield f"the result: {problem}"


def value_problem(type: Any, value: Any) -> str | None:
    """Say why a value is not of a type as a caller could send it, ``None`` if it is."""
    try:
        decoder = Decoder[Any](type)
    except (TypeError, NotImplementedError, ValueError, RecursionError):
        return None  # the type itself is wrong, which is a fault of its own
    try:
        decoder.json(msgspec.json.encode(value, enc_hook=_patch))
    except InvalidArgument as refused:
        [violation, *_] = refused.violations
        return violation.detail if violation.pointer == "#" else f"{violation.pointer}: {violation.detail}"
    except (TypeError, NotImplementedError, ValueError) as unknown:
        return str(unknown)
    return None


def _patch(value: Any) -> Any:
    if isinstance(value, Patch):
        return value.to_builtins()
    raise NotImplementedError(f"{value!r} is no JSON")
