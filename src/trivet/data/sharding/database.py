"""The database of an app with sharded tables: several nodes that look like one store."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, cast

from trivet.core.clock import Deadline
from trivet.core.consistency import DIRECTORY, Mark, Marks, both
from trivet.core.sharding import SHARDS
from trivet.data.database import (
    Absentable,
    Contention,
    Database,
    DatabaseUnavailable,
    Dialect,
    Reads,
    Session,
    Snapshot,
    Tenancy,
)
from trivet.data.observer import UNOBSERVED, Observer
from trivet.data.pooled import PoolsObserver
from trivet.data.sharding.absence import Absence
from trivet.data.sharding.directory import HOME, Directory, dealt
from trivet.data.sharding.reads import ShardedRead, together
from trivet.data.sharding.session import ShardedWrite
from trivet.data.sharding.tables import statements, tables
from trivet.data.statement import Statement

if TYPE_CHECKING:
    import sqlalchemy as sa

    from trivet.data.postgresql import ReplicatedDatabase

PATIENCE_SECONDS = 5.0
"""How long whoever wants a shard waits while it changes nodes, unless its deadline comes first."""

LOOK_SECONDS = 0.02
"""The first pause between two looks for a shard that nobody holds; it doubles up to a quarter of a second."""

FILLING = 0x7472_6976_6576
"""The advisory lock that whoever fills an empty directory holds."""


class ShardedDatabase:
    """Nodes that look like one store.

    Args:
        nodes: The database of each node by its name; one of them is called ``home``. On SQLite that is the only one:
            all shards are in one file, and what is refused elsewhere is refused there.
        replicated: Whether any node has replicas; all of them keep account then of what callers have seen.
        whole: Whether every node has to be there to begin with. Otherwise one that can not be reached, other than the
            home database, is absent until it can be used.
        observer: Told which nodes are absent.

    Attributes:
        nodes: As given.
        replicated: As given.
        home: The node of everything that is not sharded.
        directory: Where the shards are, as this process knows it.
    """

    def __init__(
        self,
        nodes: Mapping[str, Database],
        *,
        replicated: bool = False,
        whole: bool = True,
        observer: Observer = UNOBSERVED,
    ) -> None:
        self.nodes = dict(nodes)
        self.replicated = replicated
        self.home = self.nodes[HOME]
        self.dialect: Dialect = self.home.dialect
        self.directory = Directory(self.home, self.nodes)
        self.moves = self.dialect == "postgresql"
        """Whether shards can be on other nodes; where not, nothing has to be asked."""
        self._whole = whole
        self._observer = observer
        self._absent: dict[str, Absence] = {}
        self._returning: list[asyncio.Task[None]] = []
        self._wake: Callable[[], None] | None = None

    def __repr__(self) -> str:
        return f"ShardedDatabase({', '.join(self.nodes)})"

    # -- life

    async def open(self) -> None:
        """Open every node that is there; raises what their `open` raises."""
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self.close)
            await self.home.open()
            others = [(name, database) for name, database in self.nodes.items() if name != HOME]
            await together([self._there(name, database.open) for name, database in others])
            stack.pop_all()

    async def close(self) -> None:
        """Close every node."""
        for task in self._returning:
            task.cancel()
        await asyncio.gather(*self._returning, return_exceptions=True)
        for database in self.nodes.values():
            await database.close()

    async def create(self, tables: Sequence[sa.Table]) -> None:
        """Create the tables on every node, so that a shard can go anywhere; then fill an empty directory."""
        await self._make_sure(lambda database: database.create(tables))

    async def check(self, tables: Sequence[sa.Table]) -> None:
        """Check the tables on every node; then fill an empty directory."""
        await self._make_sure(lambda database: database.check(tables))

    async def _make_sure(self, act: Callable[[Database], Awaitable[None]]) -> None:
        for name, database in self.nodes.items():
            await self._there(name, partial(act, database))
        if self.moves:
            await self._fill()
            await self.directory.refresh()
        for name in self.nodes.keys() - self._absent.keys() - {HOME}:
            self._observer.present(name)
        self._returning = [asyncio.create_task(self._back(each, act)) for each in self._absent.values()]

    async def _there(self, name: str, act: Callable[[], Awaitable[None]]) -> None:
        """Do something with a node that is there; where it turns out that it is not, it is absent from then on."""
        if name in self._absent:
            return
        try:
            await act()
        except DatabaseUnavailable as gone:
            node = cast("Absentable", self.nodes[name])
            if self._whole or name == HOME or not node.passes(gone):
                raise
            await node.close()
            self._absent[name] = Absence(name, node, gone, self._observer)

    async def _back(self, absence: Absence, act: Callable[[Database], Awaitable[None]]) -> None:
        """Use a node once it can be used."""
        node = absence.node
        await absence.end(partial(act, node))
        del self._absent[absence.name]
        if self._wake is not None:
            node.listen(self._wake)
            self._wake()

    async def ping(self) -> None:
        """Return when the home database has answered: a node that is down is no reason to serve nothing at all."""
        await self.home.ping()

    def watch(self, observer: PoolsObserver, node: str = HOME) -> None:
        """Tell what the pools of every node do, under its name; that of the home database is `node`."""
        for name, database in self.nodes.items():
            database.watch(observer, node if name == HOME else name)

    def listen(self, wake: Callable[[], None]) -> None:
        """Listen on every node, on one that is absent once it is there."""
        self._wake = wake
        for name, database in self.nodes.items():
            if name not in self._absent:
                database.listen(wake)

    def tell(self) -> None:
        """Tell on every node."""
        for database in self.nodes.values():
            database.tell()

    async def _fill(self) -> None:
        """Deal the shards out to the nodes, where that was never done; nodes learn it first, the directory last."""
        import sqlalchemy as sa
        from sqlalchemy.dialects.postgresql import insert

        shard, held = tables().shard, tables().held
        home = self.home.session(write=True)
        try:
            if await home.fetch(Statement(sa.select(shard.c.logical).limit(sa.literal_column("1"))), ()):
                return
            self._all_there()
            await home.fetch(Statement(sa.text(f"SELECT pg_advisory_xact_lock({FILLING})")), ())
            if await home.fetch(Statement(sa.select(shard.c.logical).limit(sa.literal_column("1"))), ()):
                return
            nodes = dealt(SHARDS, self.nodes)
            for name, database in self.nodes.items():
                rows = [(logical, 1, True, True) for logical in range(SHARDS) if nodes[logical] == name]
                if not rows:
                    continue
                session = home if database is self.home else database.session(write=True)
                names: tuple[str, ...] = ("logical", "epoch", "open", "here")
                new = insert(held).values({each: sa.bindparam(each) for each in names}).on_conflict_do_nothing()
                await session.execute_many(Statement(new, names), rows)
                if session is not home:
                    await session.commit()
                    await session.close()
            where = [(logical, nodes[logical], 1, "serving") for logical in range(SHARDS)]
            names = ("logical", "node", "epoch", "step")
            await home.execute_many(
                Statement(sa.insert(shard).values({name: sa.bindparam(name) for name in names}), names), where
            )
            await home.commit()
        finally:
            await home.close()

    def _all_there(self) -> None:
        if self._absent:
            raise DatabaseUnavailable.because(
                f"the shards were never dealt out, and {' and '.join(self._absent)} can not be reached: begin once all "
                "databases of database.shards are there, or leave out what is not (the reason is in the log)"
            )

    # -- sessions

    def session(
        self,
        *,
        write: bool,
        deadline: Deadline | None = None,
        reads: Reads = "session",
        snapshot: bool = False,
        after: Marks | None = None,
    ) -> Session:
        """Return a session; where it runs is decided by the first row that it is used for."""
        if write:
            return ShardedWrite(self, deadline, after)
        return ShardedRead(self, deadline, reads, snapshot, after)

    @property
    def snapshots(self) -> int:
        """How many snapshots of what is not sharded may be held at a time."""
        return self.home.snapshots

    def snapshot(self) -> Snapshot:
        """Return a snapshot of what is not sharded."""
        return self.home.snapshot()

    # -- what callers have seen

    def marks(self, seen: Marks, after: Marks | None) -> Marks:
        """Return the marks of a unit of work.

        Args:
            seen: Those of the nodes that it used.
            after: With which it began; where that is not known, only the primaries of all other nodes will do for what
                the caller may have seen before.
        """
        if not self.replicated:
            return ()
        if after is None:
            used = {mark.database for mark in seen}
            seen += tuple(node.farthest for node in self._replicated if node.identity not in used)
        version = max(self.directory.version, self.version_in(after or ()))
        return (*seen, Mark(database=DIRECTORY, timeline=0, position=version))

    async def position(self, everything: bool) -> Marks:
        """Return the marks of whoever has seen all primaries until now; see `Accounting.position`."""
        marks: Marks = ()
        for node in self._replicated:
            marks = both(marks, await node.position(everything))
        return self.marks(marks, ())

    def known(self, marks: Marks) -> Marks | None:
        """Return the marks as these nodes are called; see `Accounting.known`.

        Of a node that is absent nobody knows what it was called before: a token from then leads to primaries.
        """
        found: Marks = ()
        for mark in marks:
            if mark.database == DIRECTORY:
                found += (mark,)
                continue
            named = next((known for node in self._replicated if (known := node.known((mark,)))), None)
            if named is None:
                return None
            found = both(found, named)
        return found

    @staticmethod
    def version_in(marks: Marks) -> int:
        """Return the version of the directory that the owner of the marks has seen."""
        return next((mark.position for mark in marks if mark.database == DIRECTORY), 0)

    @property
    def _replicated(self) -> list[ReplicatedDatabase]:
        return [cast("ReplicatedDatabase", node) for node in self.nodes.values()]

    # -- who holds a shard

    async def claim(self, shard: int, deadline: Deadline | None, tenant: Tenancy = None) -> tuple[Session, Database]:
        """Begin a transaction on the node that holds the shard, which it keeps until then, and return both.

        Args:
            shard: The logical shard.
            deadline: Bounds every statement.
            tenant: Whom the transaction works for.

        Raises:
            Contention: The shard is changing nodes, and that takes longer than can be waited for.
        """
        waiting = self.waiting(deadline)
        while True:
            node, epoch = self.directory.nodes[shard], self.directory.epochs[shard]
            session = self.nodes[node].session(write=True, deadline=deadline)
            session.tenant = tenant
            if not self.moves:
                return session, self.nodes[node]
            try:
                rows = await session.fetch(statements().claim, (shard,))
                if rows and rows[0][0] == epoch:
                    return session, self.nodes[node]
            except BaseException:
                await session.close()
                raise
            await session.close()
            await waiting.look()

    def waiting(self, deadline: Deadline | None) -> Waiting:
        """Return what waits for a shard that is on its way."""
        return Waiting(self, deadline)

    async def holds(self, session: Session, shards: Sequence[int], epochs: int) -> bool:
        """Return whether the session's node holds all of the shards, of the same epochs as the directory has.

        Args:
            session: Of a node; what it read before was the truth then.
            shards: Logical shards.
            epochs: The sum of their epochs.
        """
        if not self.moves:
            return True
        [(count, total)] = await session.fetch(statements().check, (list(shards),))
        return bool(count == len(shards) and total == epochs)


class Waiting:
    """Looks where a shard has gone, again and again, as long as there is time.

    Args:
        database: Whose directory is refreshed.
        deadline: Of whoever waits.
    """

    __slots__ = ("_database", "_deadline", "_pause", "_until")

    def __init__(self, database: ShardedDatabase, deadline: Deadline | None) -> None:
        self._database = database
        self._deadline = deadline
        self._pause = 0.0
        self._until = 0.0

    async def look(self) -> None:
        """Refresh the directory; from the second time on after a pause.

        Raises:
            Contention: There is no time left.
        """
        now = asyncio.get_running_loop().time()
        if not self._pause:
            self._until = now + PATIENCE_SECONDS
            if self._deadline is not None:
                self._until = min(self._until, now + self._deadline.remaining() * 0.8)
            self._pause = LOOK_SECONDS
        elif now + self._pause > self._until:
            raise Contention(retry_after=1)
        else:
            await asyncio.sleep(self._pause)
            self._pause = min(self._pause * 2, 0.25)
        await self._database.directory.refresh()
