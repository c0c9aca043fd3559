"""Rows in groups: how many are in memory at a time where there may be any number."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Iterable
from typing import TypeVar

T = TypeVar("T")

GROUP = 500
"""Rows that are in memory at a time where there may be any number: some milliseconds of work."""


async def in_groups(rows: Iterable[T] | AsyncIterable[T]) -> AsyncGenerator[list[T], None]:
    """Yield groups of `GROUP` rows as they come, the last one smaller."""
    group: list[T] = []
    if isinstance(rows, AsyncIterable):
        async for row in rows:
            group.append(row)
            if len(group) == GROUP:
                yield group
                group = []
    else:
        for row in rows:
            group.append(row)
            if len(group) == GROUP:
                yield group
                group = []
    if group:
        yield group
