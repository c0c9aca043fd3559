"""Sessions that begin with their first statement, and then run each on another session."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trivet.data.database import Row, Session
    from trivet.data.statement import Insert, Statement


class Deferred(ABC):
    """The statements of a session that begins with the first of them; who inherits says how it begins and ends."""

    __slots__ = ()

    writes = True

    @abstractmethod
    async def _begun(self) -> Session:
        """Return the session on which statements run, once it has begun."""

    async def fetch(self, statement: Statement, values: Sequence[Any]) -> list[Row]:
        """Run a statement and return its rows; see `Session.fetch`."""
        return await (await self._begun()).fetch(statement, values)

    async def execute(self, statement: Statement, values: Sequence[Any]) -> int:
        """Run a statement and return how many rows it changed; see `Session.execute`."""
        return await (await self._begun()).execute(statement, values)

    async def execute_many(self, statement: Statement, values: Sequence[Sequence[Any]]) -> None:
        """Run a statement once for each sequence of values; see `Session.execute_many`."""
        await (await self._begun()).execute_many(statement, values)

    async def load(self, insert: Insert, rows: Sequence[Row]) -> None:
        """Add rows by the fastest means that the engine has; see `Session.load`."""
        await (await self._begun()).load(insert, rows)

    async def driver_connection(self) -> Any:
        """Return the driver's connection with the transaction open on it."""
        return await (await self._begun()).driver_connection()
