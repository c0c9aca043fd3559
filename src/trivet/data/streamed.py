"""Rows that a table streams: they know their shape before the first one is read."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Streamed(AsyncGenerator[T, None]):
    """A generator of rows of one shape.

    Args:
        shape: Of each row.
        rows: What yields them.
    """

    def __init__(self, shape: type[T], rows: AsyncGenerator[T, None]) -> None:
        self.shape = shape
        self._rows = rows

    def __repr__(self) -> str:
        return f"Streamed({self.shape.__name__})"

    def __aiter__(self) -> AsyncGenerator[T, None]:
        """Return what yields the rows, so that a loop asks it without a detour."""
        return self._rows

    def asend(self, value: None, /) -> Coroutine[Any, Any, T]:
        """Return the next row."""
        return self._rows.asend(value)

    def athrow(self, *error: Any) -> Coroutine[Any, Any, T]:
        """Raise an error where the rows are read."""
        return self._rows.athrow(*error)

    def aclose(self) -> Coroutine[Any, Any, None]:
        """Give back what is held."""
        return self._rows.aclose()
