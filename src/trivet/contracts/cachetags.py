"""The tags of cached answers: templates that may name the parameters of their operation, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from string import Formatter
from typing import Any

from trivet.core.fault import Fault
from trivet.core.operation import Operation


def tag_faults(operation: Operation[..., Any]) -> Iterator[Fault]:
    """Return a fault for each tag of an operation that could not be filled in."""
    cache = operation.declaration.cache
    known = [parameter.name for parameter in operation.signature.parameters]
    for tag in cache.tags if cache is not None else ():
        problem, mend = _wrong(tag, known)
        if problem:
            yield Fault(
                rule="cache-tag", place=operation.place, problem=f"{operation.id}: the tag {tag!r} {problem}", mend=mend
            )


def _wrong(tag: str, known: list[str]) -> tuple[str, str]:
    """Return what is wrong with a tag and how to mend it; both are empty when nothing is."""
    try:
        parts = list(Formatter().parse(tag))
    except ValueError as malformed:
        return f"is no template: {malformed}", "Write a parameter as `{name}`, and a brace as `{{` or `}}`."
    for _, name, format_spec, conversion in parts:
        if name is None or (name in known and not format_spec and not conversion):
            continue
        if name in known:
            return f"formats {name}", f"Write `{{{name}}}` alone: its value is written as in a URL."
        near = get_close_matches(name, known, 1)
        mend = f"Name one of: {', '.join(known)}." if known else "It takes no parameters: write a tag without braces."
        return f"names {name!r}, which is no parameter", f"Write `{{{near[0]}}}`." if near else mend
    return "", ""
