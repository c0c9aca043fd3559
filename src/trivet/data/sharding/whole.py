"""A transaction on the home database that sees all shards: for what is made anew from everything that there is.

Each node is seen as of one instant, and each shard at exactly one of them. The instants are not the same. That is
enough where what is read at a node and what waits there for delivery are of that node's instant, and no shard changes
nodes between the first and the last of them: then each change is there together with its event, or neither is.

No shard did so when two things hold. Every node holds, as of its instant, just those shards that the directory had at
the first instant, of the same epochs: so no change of nodes was half done. And after the last instant the directory is
still the same: so none was begun and ended in between, because the directory is written before the next one begins.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from functools import cache
from typing import TYPE_CHECKING, Any

from trivet.core.consistency import Marks
from trivet.core.sharding import SHARDS
from trivet.data.database import Contention, Database, Row, Session, Tenancy
from trivet.data.sharding.directory import HOME, by_node
from trivet.data.sharding.reads import at_most, together
from trivet.data.sharding.tables import statements
from trivet.data.statement import Statement

if TYPE_CHECKING:
    from trivet.data.sharding.database import ShardedDatabase
    from trivet.data.statement import Insert


class Whole:
    """One transaction on the home database, and beside it a snapshot of each other node.

    Args:
        database: The nodes.
    """

    __slots__ = ("_database", "_home", "_sessions", "_tenant", "_where")

    writes = False
    """Of what is sharded it only reads."""

    shard = None
    """It is on none."""

    def __init__(self, database: ShardedDatabase) -> None:
        self._database = database
        self._home = database.home.session(write=True)
        self._sessions: dict[str, Session] = {HOME: self._home}
        self._where: Sequence[str] = [HOME] * SHARDS
        self._tenant: Tenancy = None

    @property
    def tenant(self) -> Tenancy:
        """Whom it works for; see `Session.tenant`. A snapshot goes on working for whom it began."""
        return self._tenant

    @tenant.setter
    def tenant(self, tenant: Tenancy) -> None:
        self._tenant = tenant
        for session in self._sessions.values():
            session.tenant = tenant

    async def fix(self) -> None:
        """Fix the instant of every node; that of the home database as well, where its transaction sees one.

        Raises:
            Contention: A shard changes nodes just now.
        """
        if not self._database.moves:
            return
        found = {shard: (node, epoch) for shard, node, epoch in await self._home.fetch(statements().directory, ())}
        for name, node in self._database.nodes.items():
            session = self._sessions.get(name) or node.session(write=False, reads="primary", snapshot=True)
            session.tenant = self._tenant
            self._sessions[name] = session
            await session.fetch(_unhurried(), ())
            held: dict[int, int] = dict(await session.fetch(statements().held, ()))
            if held != {shard: epoch for shard, (there, epoch) in found.items() if there == name}:
                raise Contention
        directory = self._database.directory
        await directory.refresh()
        if directory.version != sum(epoch for _, epoch in found.values()):
            raise Contention
        self._where = [found[shard][0] for shard in range(SHARDS)]

    @property
    def others(self) -> Iterator[tuple[Database, Session]]:
        """The nodes beside the home database, each as of its instant."""
        for name, session in self._sessions.items():
            if name != HOME:
                yield self._database.nodes[name], session

    def on(self, shard: int | None) -> Session:
        """Return what reads a row of a logical shard, or with ``None`` what is not sharded."""
        return self._home if shard is None else self._sessions[self._where[shard]]

    async def ask_all(
        self,
        statement: Statement,
        values: Callable[[list[int]], Sequence[Any]],
        most: int,
        among: Collection[int] | None = None,
    ) -> list[list[Row]]:
        """Run a statement on every node that has shards and return the rows of each; see `ShardedRead.ask_all`."""
        parts = at_most(most, by_node(self._where, among))
        return await together([self._sessions[node].fetch(statement, values(shards)) for node, shards in parts.items()])

    async def everywhere(self, statement: Statement, values: Sequence[Any]) -> list[Row]:
        """Return the rows of all nodes, also those that a shard has left behind where it was before."""
        parts = await together([session.fetch(statement, values) for session in self._sessions.values()])
        return [row for part in parts for row in part]

    # -- as every session: the transaction

    async def fetch(self, statement: Statement, values: Sequence[Any]) -> list[Row]:
        """Read what is not sharded; see `Session.fetch`."""
        return await self._home.fetch(statement, values)

    async def execute(self, statement: Statement, values: Sequence[Any]) -> int:
        """Change what is not sharded; see `Session.execute`."""
        return await self._home.execute(statement, values)

    async def execute_many(self, statement: Statement, values: Sequence[Sequence[Any]]) -> None:
        """Change what is not sharded; see `Session.execute_many`."""
        await self._home.execute_many(statement, values)

    async def load(self, insert: Insert, rows: Sequence[Row]) -> None:
        """Add rows of what is not sharded; see `Session.load`."""
        await self._home.load(insert, rows)

    def savepoint(self) -> AbstractAsyncContextManager[None]:
        """Return a savepoint of the transaction; see `Session.savepoint`."""
        return self._home.savepoint()

    async def commit(self) -> None:
        """Make the transaction durable; see `Session.commit`."""
        await self._home.commit()

    async def rollback(self) -> None:
        """Undo the transaction; see `Session.rollback`."""
        await self._home.rollback()

    async def seen(self) -> Marks:
        """Return nothing: no caller waits for an answer."""
        return ()

    async def close(self) -> None:
        """Return what is borrowed; what was not committed is rolled back."""
        for session in self._sessions.values():
            await session.close()

    async def driver_connection(self) -> Any:
        """Return the connection of the transaction."""
        return await self._home.driver_connection()


@cache
def _unhurried() -> Statement:
    """Return what lets a node be idle for as long as others are read."""
    import sqlalchemy as sa

    return Statement(sa.text("SELECT set_config('idle_in_transaction_session_timeout', '0', true)"), ())
