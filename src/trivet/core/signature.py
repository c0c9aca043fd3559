"""The typed parameters and the result of a handler, resolved once when the app is built."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable
from typing import Any, get_args, get_origin, get_type_hints

from trivet.core.context import Read, Run, Write
from trivet.core.declaration import Kind
from trivet.core.shape import Struct

CONTEXTS: dict[Kind, type[Read]] = {
    Kind.QUERY: Read,
    Kind.COMMAND: Write,
    Kind.STREAM: Read,
    Kind.INTAKE: Run,
    Kind.JOB: Run,
}
"""What a handler of each kind gets first; a stream that takes items gets `Run` as well."""

STREAMED = (AsyncIterator, AsyncGenerator, AsyncIterable)

REQUIRED: Any = inspect.Parameter.empty
"""Stands for "this parameter has no default"."""


class Parameter(Struct):
    """One parameter after the context.

    Attributes:
        name: As in the function and on every protocol (in its own spelling).
        type: The annotation with ``Annotated`` kept.
        default: The default, or `REQUIRED`.
    """

    name: str
    type: Any
    default: Any = REQUIRED

    @property
    def required(self) -> bool:
        """Whether a caller has to say it."""
        return self.default is REQUIRED


class Signature(Struct):
    """What goes in and what comes out.

    Attributes:
        parameters: In the order of the function, without the context and without `items`.
        result: The result type; for a stream, the type of an item.
        items: The first parameter where it is an iterator over items that come in, with the type of one of them.
    """

    parameters: tuple[Parameter, ...]
    result: Any
    items: Parameter | None = None

    @property
    def types(self) -> tuple[Any, ...]:
        """Every type in it."""
        return (*(p.type for p in self._all), self.result)

    @property
    def _all(self) -> tuple[Parameter, ...]:
        return self.parameters if self.items is None else (self.items, *self.parameters)

    def parameter(self, name: str) -> Parameter | None:
        """Return the parameter of that name."""
        return next((p for p in self.parameters if p.name == name), None)

    def arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Return a call's arguments by name, defaults left out.

        Raises:
            TypeError: They do not fit the signature.
        """
        parameters = self._all
        if len(args) > len(parameters):
            raise TypeError(f"takes {len(parameters)} arguments, got {len(args)}")
        named = {p.name: value for p, value in zip(parameters, args, strict=False)}
        known = {p.name for p in parameters}
        for name, value in kwargs.items():
            if name in named or name not in known:
                raise TypeError(f"{'repeated' if name in named else 'unknown'} argument {name!r}")
            named[name] = value
        missing = [p.name for p in parameters if p.required and p.name not in named]
        if missing:
            raise TypeError(f"missing argument{'s' * (len(missing) > 1)} {', '.join(missing)}")
        return named


def signature_of(handler: Callable[..., Any], kind: Kind, skip: int = 1) -> Signature:
    """Resolve a handler's signature.

    Args:
        handler: The function.
        kind: What it was declared as; decides whether it must be an asynchronous generator.
        skip: How many leading parameters are the platform's own (the context).

    Raises:
        TypeError: It is not asynchronous, an annotation is missing or unknown, or it takes ``*args``/``**kwargs``.
    """
    if kind is Kind.STREAM:
        if not inspect.isasyncgenfunction(handler):
            raise TypeError("a stream is an asynchronous generator: `async def` with `yield`")
    elif not inspect.iscoroutinefunction(handler):
        if kind is Kind.INTAKE:
            raise TypeError("a stream is asynchronous: `async def`, with `yield` or with items that come in")
        raise TypeError(f"a {kind.value} is a coroutine function: `async def` without `yield`")
    try:
        hints = get_type_hints(handler, include_extras=True)
    except Exception as unresolved:
        raise TypeError(f"an annotation can not be resolved: {unresolved}") from unresolved
    parameters = list(inspect.signature(handler).parameters.values())
    if len(parameters) < skip:
        raise TypeError("the first parameter is the context: `ctx: Read` or `ctx: Write`")
    for parameter in parameters:
        if parameter.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD):
            raise TypeError(f"`*{parameter.name}`: every parameter needs a name and a type")
    for parameter in parameters[:skip]:
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
            raise TypeError(f"`{parameter.name}` comes before the `*`: the context is given by position")
    for parameter in parameters[skip:]:
        if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
            raise TypeError(f"`{parameter.name}` comes after the `/`: arguments are given by name")
    taken = [p.name for p in parameters[skip:] if get_origin(hints.get(p.name)) in STREAMED]
    problem = _taking(kind, taken, parameters[skip].name if taken else "")
    if problem is not None:
        raise TypeError(problem)
    context = Run if taken else CONTEXTS[kind]
    given = hints.get(parameters[0].name)
    if isinstance(given, type) and issubclass(given, Read) and not issubclass(context, given):
        raise TypeError(f"a {kind.decorator} gets `ctx: {context.__name__}`, not `{given.__name__}`")
    untyped = [p.name for p in parameters[skip:] if p.name not in hints]
    if untyped:
        raise TypeError(f"parameter{'s' * (len(untyped) > 1)} without a type: {', '.join(untyped)}")
    if "return" not in hints:
        raise TypeError("the result has no type: write `-> None` where there is none")
    result = hints["return"]
    if kind is Kind.STREAM:
        if get_origin(result) not in STREAMED:
            raise TypeError(f"a stream returns AsyncIterator[...], not {result}")
        result = get_args(result)[0]
    items = Parameter(name=taken[0], type=get_args(hints[taken[0]])[0]) if taken else None
    return Signature(
        parameters=tuple(
            Parameter(name=p.name, type=hints[p.name], default=p.default) for p in parameters[skip + len(taken) :]
        ),
        result=result,
        items=items,
    )


def _taking(kind: Kind, taken: list[str], first: str) -> str | None:
    """Say what is wrong with the parameters over which items come in, ``None`` if nothing is."""
    if not taken:
        return (
            "a stream yields items, takes them, or both: write `yield`, or take AsyncIterator[...] after the context"
            if kind is Kind.INTAKE
            else None
        )
    if kind not in (Kind.STREAM, Kind.INTAKE):
        return (
            f"`{taken[0]}` is a stream of items, which a {kind.decorator} does not take: declare it with @module.stream"
        )
    if len(taken) > 1 or taken[0] != first:
        return f"`{taken[-1]}`: items come in by one parameter, the first one after the context"
    return None
