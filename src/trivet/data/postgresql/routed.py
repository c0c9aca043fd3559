"""Sessions where there are replicas: reads that find their node at the first statement, and changes with their mark."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any

import asyncpg

from trivet.core.clock import Deadline
from trivet.core.consistency import Mark, Marks
from trivet.data.database import Contention, DatabaseUnavailable, Reads, Row, Tenancy
from trivet.data.postgresql.replica import NEVER
from trivet.data.postgresql.session import ReadSession, SnapshotSession, WriteSession
from trivet.data.statement import Insert, Statement
from trivet.data.turn import Turn

if TYPE_CHECKING:
    from trivet.data.postgresql.database import PostgresDatabase
    from trivet.data.postgresql.replicated import Replica, ReplicatedDatabase


class MarkedSession(WriteSession):
    """One transaction on the primary that knows afterwards where in the log it is."""

    __slots__ = ("_all", "_lent")

    def __init__(self, whole: ReplicatedDatabase, deadline: Deadline | None) -> None:
        super().__init__(whole.primary, deadline)
        self._all = whole
        self._lent = False

    async def driver_connection(self) -> asyncpg.Connection:
        """Return the driver's connection with this transaction open on it."""
        self._lent = True  # it may say synchronous_commit = off there
        return await super().driver_connection()

    async def seen(self) -> Marks:
        """Return the mark of the primary by now; see `Session.seen`."""
        return await self._all.position(everything=self._lent)


class RoutedSession:
    """Reads of one unit of work, all at the node that is chosen at the first of them, as long as that answers.

    Args:
        whole: The database.
        deadline: Bounds every statement.
        reads: Which nodes may be used.
        snapshot: Whether everything is read as of one instant.
        after: What the caller has seen.
    """

    __slots__ = (
        "_after",
        "_all",
        "_complete",
        "_deadline",
        "_inner",
        "_node",
        "_reads",
        "_replica",
        "_snapshot",
        "_touched",
        "_turn",
        "tenant",
    )

    writes = False

    def __init__(
        self,
        whole: ReplicatedDatabase,
        deadline: Deadline | None,
        reads: Reads,
        snapshot: bool,
        after: Marks | None,
    ) -> None:
        self._all = whole
        self._deadline = deadline
        self._reads: Reads = reads
        self._snapshot = snapshot
        self._after = after
        self._inner: ReadSession | None = None
        self._replica: Replica | None = None
        self._node = 0
        self._complete = NEVER
        self._touched = False
        self._turn = Turn()
        self.tenant: Tenancy = None

    async def fetch(self, statement: Statement, values: Sequence[Any]) -> list[Row]:
        """Run a statement and return its rows as the driver gives them; see `Session.fetch`."""
        async with self._turn:
            inner = await self._chosen()
            if self._replica is None:
                return await inner.fetch(statement, values)
            failed: Exception | None = None
            try:
                rows = await inner.fetch(statement, values)
                if self._replica.node == self._node:  # or else it was started anew, and may have come less far
                    self._touched = True
                    return rows
            except (Contention, DatabaseUnavailable) as caught:
                failed = caught
            inner = await self._moved(failed)
            return await inner.fetch(statement, values)

    async def _chosen(self) -> ReadSession:
        if self._inner is None:
            self._replica = await self._all.route(self._reads, self._after)
            if self._replica is not None:
                self._node, sight = self._replica.node, self._replica.sight
                self._complete = NEVER if sight is None else self._all.complete(sight)
            self._inner = self._at(self._all.primary if self._replica is None else self._replica.database)
        return self._inner

    def _at(self, database: PostgresDatabase) -> ReadSession:
        kind = SnapshotSession if self._snapshot else database.reading
        session = kind(database, self._deadline, insists=self._replica is None)
        session.tenant = self.tenant
        return session

    async def _moved(self, failed: Exception | None) -> ReadSession:
        """Go on at the primary.

        Raises:
            Contention: What was read before was as of an instant that nobody else has: begin again.
        """
        assert self._replica is not None
        assert self._inner is not None
        await self._inner.close()
        self._all.observer.moved(self._replica.name)
        if self._snapshot and self._touched:
            raise Contention(retry_after=1) from failed
        self._replica = None
        self._inner = self._at(self._all.primary)
        return self._inner

    @property
    def behind(self) -> float:
        """Before how many seconds everything that was committed could be seen here, at least; see `Lagging`."""
        return 0.0 if self._replica is None else max(0.0, self._all.now() - self._complete)

    @property
    def taken(self) -> dict[int, int] | None:
        """What is remembered of the replica that was read last, see `Replica.taken`; ``None`` at the primary."""
        return None if self._replica is None else self._replica.taken

    async def insist(self) -> None:
        """Read from the primary from now on: the replica shows what is too old, or too new, to go on with.

        Raises:
            Contention: What was read before was as of an instant that nobody else has: begin again.
        """
        async with self._turn:
            await self._chosen()
            if self._replica is not None:
                await self._moved(None)

    async def execute(self, statement: Statement, values: Sequence[Any]) -> int:
        """Refuse: this session does not write."""
        return await self._at(self._all.primary).execute(statement, values)

    async def execute_many(self, statement: Statement, values: Sequence[Sequence[Any]]) -> None:
        """Refuse: this session does not write."""
        await self._at(self._all.primary).execute_many(statement, values)

    async def load(self, insert: Insert, rows: Sequence[Row]) -> None:
        """Refuse: this session does not write."""
        await self._at(self._all.primary).load(insert, rows)

    def savepoint(self) -> AbstractAsyncContextManager[None]:
        """Refuse: this session does not write."""
        return self._at(self._all.primary).savepoint()

    async def commit(self) -> None:
        """End what was lent; nothing was begun otherwise."""
        await self.close()

    async def rollback(self) -> None:
        """End what was lent; nothing was begun otherwise."""
        await self.close()

    async def seen(self) -> Marks:
        """Return the mark of what was read: that of the caller at this replica, or that of the primary by now."""
        replica, identity = self._replica, self._all.identity
        if replica is None:
            return await self._all.position(everything=True)
        known = next((mark for mark in self._after or () if mark.database == identity), None)
        timeline, position = (known.timeline, known.position) if known else (self._all.primary_sight.timeline, 0)
        return (Mark(database=identity, timeline=timeline, position=position, node=self._node),)

    async def close(self) -> None:
        """Return what is borrowed."""
        if self._inner is not None:
            await self._inner.close()

    async def driver_connection(self) -> asyncpg.Connection:
        """Return a connection to the chosen node that this session keeps until it is closed."""
        async with self._turn:
            return await (await self._chosen()).driver_connection()
