"""What decorators are given, checked: a wrong option becomes a fault, and its default stands in for it.

Type checkers find most of this earlier. Whoever has none finds it when the app is built, with everything else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args, get_type_hints

import msgspec

from trivet.core.declaration import (
    Cache,
    CommandOptions,
    Declaration,
    Deprecated,
    Example,
    Http,
    JobOptions,
    Kind,
    Limit,
    QueryOptions,
    StreamOptions,
)
from trivet.core.error import Error
from trivet.core.resource import Resource

OPTIONS: dict[Kind, Any] = {
    Kind.QUERY: QueryOptions,
    Kind.COMMAND: CommandOptions,
    Kind.STREAM: StreamOptions,
    Kind.INTAKE: StreamOptions,
    Kind.JOB: JobOptions,
}
"""The keywords that each decorator takes, besides those that say who may call."""

SEVERAL: dict[str, type] = {"raises": Error, "limits": Limit, "examples": Example, "uses": Resource}
"""Options that hold several things, and of what kind."""

SHAPES: dict[str, type[msgspec.Struct]] = {"cache": Cache, "deprecated": Deprecated, "http": Http}
NAMES = ("graphql", "rpc", "plural")
IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
HINTS = get_type_hints(Declaration, include_extras=True)

Problem = tuple[str, str]
"""What is wrong with an option, and the mend."""


def checked(kind: Kind, options: Mapping[str, Any]) -> tuple[dict[str, Any], list[Problem]]:
    """Return the options that are right, as :class:`Declaration` takes them, and what is wrong with the others.

    Args:
        kind: Of the operation that is declared.
        options: Keywords of the decorator.
    """
    right: dict[str, Any] = {}
    problems: list[Problem] = []
    known = OPTIONS[kind].__annotations__
    for name, value in options.items():
        if name not in known:
            problems.append(
                (f"{name}= is no option of a {kind.decorator}", f"A {kind.decorator} takes {', '.join(known)}.")
            )
            continue
        found = list(problems_with(name, value))
        problems += found
        if not found:
            right[name] = tuple(value) if name in SEVERAL else value
    if right.get("timeout_max") is not None and right["timeout_max"] < right.get("timeout", 5):
        problems.append(("timeout_max= is less than timeout=", "A caller may take up to timeout_max."))
    if kind.writes and name_of_method(right) == "GET":
        problems.append((f"http= serves a {kind.value} under GET", "GET is for what changes nothing."))
    return right, problems


def name_of_method(options: Mapping[str, Any]) -> str | None:
    """Return the HTTP method that the options override."""
    http = options.get("http")
    return http.method if isinstance(http, Http) else None


def problems_with(name: str, value: Any) -> Iterator[Problem]:
    """Yield what is wrong with the value of a known option."""
    if name in SEVERAL:
        kind = SEVERAL[name]
        if isinstance(value, str) or not isinstance(value, Sequence):
            yield f"{name}= is {value!r}, not a list", f"Write {name}=[...]."
            return
        for each in value:
            yield from _one_of(name, kind, each)
    elif name in SHAPES:
        yield from _shape(name, SHAPES[name], value)
    elif name in NAMES and not (isinstance(value, str) and IDENTIFIER.fullmatch(value)):
        yield f"{name}= is {value!r}, not a name", "Use letters, digits and underscores."
    else:
        try:
            msgspec.convert(value, HINTS[name])
        except msgspec.ValidationError as refused:
            yield f"{name}= is {value!r}: {_lower(refused)}", f"Write {name}={_wanted(HINTS[name])}."


def _one_of(name: str, kind: type, value: Any) -> Iterator[Problem]:
    if name == "raises":
        if not (isinstance(value, type) and issubclass(value, Error)):
            yield f"raises= has {value!r}, which is no class of errors", "List subclasses of trivet.Error."
    elif not isinstance(value, kind):
        yield f"{name}= has {value!r}, which is no {kind.__name__}", f"Write {name}=[{kind.__name__}(...)]."
    elif isinstance(value, Limit):
        yield from _shape(name, Limit, value)


def _shape(name: str, shape: type[msgspec.Struct], value: Any) -> Iterator[Problem]:
    mend = f"Write {name}={shape.__name__}(...)."
    if not isinstance(value, shape):
        yield f"{name}= is {value!r}, which is no {shape.__name__}", mend
        return
    try:
        msgspec.convert(msgspec.to_builtins(value), shape)
    except (msgspec.ValidationError, TypeError, NotImplementedError) as refused:
        yield f"{name}={value!r}: {_lower(refused)}", mend


def _wanted(hint: Any) -> str:
    choices = [each for each in get_args(hint) if isinstance(each, str)]
    return " or ".join(map(repr, choices)) if choices else "a value of that type"


def _lower(error: BaseException) -> str:
    text = str(error)
    return text[:1].lower() + text[1:]
