"""Reads over nodes: each goes to the node of its row, and there to the primary or to a replica.

A node says itself which shards it holds, and a read is followed by a look at that. What a replica says of itself is as
old as the replica, so three things are added there:

- **The directory is as new as the caller has seen.** A replica of the old node believes for a while that it holds a
  shard that has moved. Whoever has seen the shard at its new node has a mark with the version of a directory that names
  that node; a process with an older one reads the directory before it asks any replica.
- **A shard was taken before it is read.** A replica of the new node may not have replayed yet that the node took the
  shard, and have a part of the copy. So what is read the first time, before a look that finds the shard there, is read
  once more after it; from then on it is known that this replica has come so far, as long as it is not started anew.
- **A replica that does not hold the shard is no answer.** It may be too old as well as too new, so its primary is
  asked, whose answer is the truth.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from typing import TYPE_CHECKING, Any, cast

from trivet.core.clock import Deadline
from trivet.core.consistency import Marks, both
from trivet.data.database import DatabaseUnavailable, Reads, Row, Session, Tenancy
from trivet.data.sharding.directory import HOME
from trivet.data.sharding.session import HOME_PLACE, SecondShard

if TYPE_CHECKING:
    from trivet.data.postgresql.routed import RoutedSession
    from trivet.data.sharding.database import ShardedDatabase
    from trivet.data.statement import Insert, Statement


class ShardedRead:
    """Reads of one unit of work: at each node all of them at one copy. A snapshot is of one place, as a transaction is.

    Args:
        database: The nodes.
        deadline: Bounds every statement.
        reads: Which copies of each node may be used.
        snapshot: Whether everything is seen as of one instant.
        after: What the caller has seen.
    """

    __slots__ = ("_after", "_blind", "_database", "_deadline", "_place", "_reads", "_sessions", "_snapshot", "tenant")

    writes = False

    def __init__(
        self,
        database: ShardedDatabase,
        deadline: Deadline | None,
        reads: Reads,
        snapshot: bool,
        after: Marks | None,
    ) -> None:
        self._database = database
        self._deadline = deadline
        self._reads: Reads = reads
        self._snapshot = snapshot
        self._after = after
        self._blind: bool | None = None
        self._sessions: dict[tuple[str, Reads], Session] = {}
        self._place: int | None = None
        self.tenant: Tenancy = None

    def on(self, shard: int | None) -> Session:
        """Return what reads a row of a logical shard, or with ``None`` what is not sharded.

        Raises:
            SecondShard: This is a snapshot, of another place.
        """
        place = HOME_PLACE if shard is None else shard
        if self._snapshot:
            if self._place is None:
                self._place = place
            elif self._place != place:
                raise SecondShard(self._place, place)
        return self._at(HOME) if shard is None else _At(self, shard)

    def _at(self, node: str, reads: Reads | None = None) -> Session:
        reads = reads or self._reads
        known = self._sessions.get((node, reads))
        if known is None:
            known = self._sessions[node, reads] = self._database.nodes[node].session(
                write=False,
                deadline=self._deadline,
                reads=reads,
                snapshot=self._snapshot,
                after=self._after,
            )
            known.tenant = self.tenant
        return known

    async def read(self, shard: int, statement: Statement, values: Sequence[Any]) -> list[Row]:
        """Run a statement on the node that holds a shard.

        Raises:
            Contention: The shard is changing nodes, and that takes longer than can be waited for.
        """
        await self._look_ahead()
        directory = self._database.directory
        waiting = self._database.waiting(self._deadline)
        while True:
            node = directory.nodes[shard]
            rows = await self._ask(node, statement, values, [shard], directory.epochs)
            if rows is not None:
                return rows
            if self._snapshot:  # is of a time when it was still there, or of a node where it never was
                await self._sessions.pop((node, self._reads)).close()
            await waiting.look()

    async def ask_all(
        self,
        statement: Statement,
        values: Callable[[list[int]], Sequence[Any]],
        most: int,
        among: Collection[int] | None = None,
    ) -> list[list[Row]]:
        """Run a statement on every node that has shards, at the same time, and return the rows of each.

        Each row of a shard that was on its way from one node to another is answered by exactly one of them.

        Args:
            statement: Guarded by a list of shards.
            values: Returns its values for the shards of a node.
            most: How many nodes may be asked.
            among: The shards to look at; all of them when absent.

        Raises:
            DatabaseUnavailable: There are more nodes than that, or the nodes can not be reached.
            Contention: Shards kept changing nodes.
        """
        if self._snapshot:
            raise RuntimeError("a snapshot is of one shard: leave snapshot=True out of an operation that reads all")
        await self._look_ahead()
        directory = self._database.directory
        waiting = self._database.waiting(self._deadline)
        while True:
            parts = at_most(most, directory.by_node(among))
            epochs = directory.epochs
            asked = [self._ask(node, statement, values(shards), shards, epochs) for node, shards in parts.items()]
            answers = await together(asked)
            if all(answer is not None for answer in answers):
                return [answer for answer in answers if answer is not None]
            await waiting.look()

    async def _look_ahead(self) -> None:
        """Have a directory as new as the caller has seen; where it can not be had, nobody but primaries will do."""
        if self._blind is not None:
            return
        wanted = self._database.version_in(self._after or ()) if self._reads == "session" else 0
        directory = self._database.directory
        if wanted > directory.version:
            with suppress(DatabaseUnavailable):  # nodes say themselves what they hold
                await directory.refresh()
        self._blind = wanted > directory.version

    async def _ask(
        self, node: str, statement: Statement, values: Sequence[Any], shards: Sequence[int], epochs: Sequence[int]
    ) -> list[Row] | None:
        """Return what a node has, ``None`` when it does not hold all of the shards, of these epochs."""
        database = self._database
        session = self._at(node)
        if not database.moves:
            return await session.fetch(statement, values)
        total = sum(epochs[shard] for shard in shards)
        if not database.replicated:
            rows = await session.fetch(statement, values)
            return rows if await database.holds(session, shards, total) else None
        routed = cast("RoutedSession", session)
        if self._blind:
            await routed.insist()
        while True:
            rows = await routed.fetch(statement, values)
            taken = routed.taken  # of the copy that these rows are of; another task may have gone on meanwhile
            held = await database.holds(routed, shards, total)
            if taken is None:
                return rows if held else None
            if not held:
                await routed.insist()
            elif self._snapshot or all(taken.get(shard) == epochs[shard] for shard in shards):
                return rows
            elif routed.taken is taken:
                taken.update((shard, epochs[shard]) for shard in shards)

    async def fetch_anywhere(self, statement: Statement, values: Sequence[Any]) -> list[Row]:
        """Return the rows of the first node that has any: of what is kept where a command was, such as a job."""
        for name in self._database.nodes:
            rows = await self._at(name, "primary").fetch(statement, values)
            if rows:
                return rows
        return []

    @property
    def behind(self) -> float:
        """How far the copy of the home database that was read is behind; see `Lagging`."""
        home = (session for (node, _), session in self._sessions.items() if node == HOME)
        return max((cast("RoutedSession", session).behind for session in home), default=0.0)

    # -- as every session: what is not sharded

    async def fetch(self, statement: Statement, values: Sequence[Any]) -> list[Row]:
        """Read what is not sharded; see `Session.fetch`."""
        return await self._at(HOME).fetch(statement, values)

    async def execute(self, statement: Statement, values: Sequence[Any]) -> int:
        """Refuse: this session does not write."""
        return await self._at(HOME).execute(statement, values)

    async def execute_many(self, statement: Statement, values: Sequence[Sequence[Any]]) -> None:
        """Refuse: this session does not write."""
        await self._at(HOME).execute_many(statement, values)

    async def load(self, insert: Insert, rows: Sequence[Row]) -> None:
        """Refuse: this session does not write."""
        await self._at(HOME).load(insert, rows)

    def savepoint(self) -> AbstractAsyncContextManager[None]:
        """Refuse: this session does not write."""
        return self._at(HOME).savepoint()

    async def commit(self) -> None:
        """End what was lent."""
        await self.close()

    async def rollback(self) -> None:
        """End what was lent."""
        await self.close()

    async def seen(self) -> Marks:
        """Return what was seen of each node; see `Session.seen`."""
        if not self._database.replicated:
            return ()
        marks: Marks = ()
        for each in await together([session.seen() for session in self._sessions.values()]):
            marks = both(marks, each)
        return self._database.marks(marks, self._after)

    async def close(self) -> None:
        """Return what is borrowed."""
        for session in self._sessions.values():
            await session.close()
        self._sessions.clear()

    async def driver_connection(self) -> Any:
        """Return a connection to the home database."""
        return await self._at(HOME).driver_connection()


class _At:
    """A reading session, at one shard."""

    writes = False

    def __init__(self, whole: ShardedRead, shard: int) -> None:
        self._whole = whole
        self._shard = shard
        self.tenant = whole.tenant
        self.execute = whole.execute
        self.execute_many = whole.execute_many
        self.load = whole.load
        self.savepoint = whole.savepoint
        self.commit = whole.commit
        self.rollback = whole.rollback
        self.seen = whole.seen
        self.close = whole.close
        self.driver_connection = whole.driver_connection

    async def fetch(self, statement: Statement, values: Sequence[Any]) -> list[Row]:
        """Read at the shard."""
        return await self._whole.read(self._shard, statement, values)


def at_most(most: int, parts: dict[str, list[int]]) -> dict[str, list[int]]:
    """Return the shards of each node that a read asks.

    Raises:
        DatabaseUnavailable: They are more nodes than one read may ask.
    """
    if len(parts) > most:
        raise DatabaseUnavailable.because(
            f"a read that is declared with scatter={most} would have to ask {len(parts)} nodes: raise it, "
            "or find the rows by their shard key"
        )
    return parts


async def together(coroutines: Sequence[Coroutine[Any, Any, Any]]) -> list[Any]:
    """Run them at the same time; when one fails, the others are cancelled and its error is raised as itself."""
    tasks = [asyncio.ensure_future(each) for each in coroutines]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
