"""The values of a statement, from the context and the verb's own arguments: a function that is generated for each.

It names every value, so that a read by its key calls nothing but the codec of its key::

    def values(ctx, own):
        try:
            return (e0(own[0]), own[2], s2(ctx, own),)
        except Unfit:
            return slowly(ctx, own)                           # raises the error that says which one does not fit
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from types import CodeType
from typing import Any

from trivet.core.context import Read
from trivet.data.encoding import Unfit
from trivet.data.where import Encoded, Given, Source

Values = Callable[[Read, Sequence[Any]], Sequence[Any]]


def values_of(sources: Sequence[Source]) -> Values:
    """Return what returns the values of all sources, in their order."""

    def slowly(ctx: Read, own: Sequence[Any]) -> Sequence[Any]:
        return [source(ctx, own) for source in sources]

    names: dict[str, Any] = {"Unfit": Unfit, "slowly": slowly}
    parts: list[str] = []
    for index, source in enumerate(sources):
        if isinstance(source, Given):
            parts.append(f"own[{source.index}]")
        elif isinstance(source, Encoded):
            names[f"e{index}"] = source.encode
            parts.append(f"e{index}(own[{source.index}])")
        else:
            names[f"s{index}"] = source
            parts.append(f"s{index}(ctx, own)")
    exec(_compiled("".join(f"{part}, " for part in parts)), names)  # noqa: S102 - made of numbers, not of input
    values: Values = names["values"]
    return values


@cache
def _compiled(parts: str) -> CodeType:
    """Return the code of one function; many statements take values alike, and to compile takes longer than all else."""
    source = f"def values(ctx, own):\n try:\n  return ({parts})\n except Unfit:\n  return slowly(ctx, own)\n"
    return compile(source, "<generated values>", "exec")
