"""A primary and its streaming replicas as one database: queries are read where they show nothing older than was seen.

How it is right, and why it costs little:

- **After a commit** the position of the primary's log is asked for, on a connection of its own, by one look that all
  commits share which are answered meanwhile. Whoever has seen a replica replay that position there sees the commit.
- **A read knows where it may go** without asking anybody: each replica's position is looked at a few times a second,
  and positions only grow. Only where the last look is too old for what the caller has seen, a new one is made.
- **A reader stays** with the replica it has read from: its mark names it. So it never sees less than before, and
  nobody has to ask how much it saw. Where that replica is gone or was started anew, it reads from the primary, which
  has everything that any replica had, and gets an exact mark.
- **What a replica can not answer**, the primary does: because it is gone, silent, or had to cancel the statement to
  replay what the primary removed.
- **Positions count within one timeline.** After a promotion marks of the old one lead to the primary.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from msgspec.structs import replace

from trivet.core.clock import Deadline
from trivet.core.consistency import FARTHEST, Mark, Marks
from trivet.data.database import DatabaseUnavailable, Dialect, Reads, Session, Snapshot
from trivet.data.observer import UNOBSERVED, Observer
from trivet.data.pooled import PoolsObserver
from trivet.data.postgresql.database import PostgresDatabase
from trivet.data.postgresql.errors import BROKEN, reraise
from trivet.data.postgresql.replica import Candidate, Course, alias_of, choose, identity_of, node_of, unfit, wrong
from trivet.data.postgresql.routed import MarkedSession, RoutedSession
from trivet.data.postgresql.standby import StandbyDatabase
from trivet.data.postgresql.watch import SILENT_SECONDS, Sight, Watch, look
from trivet.settings import DatabaseSettings

if TYPE_CHECKING:
    import sqlalchemy as sa

AGAIN_SECONDS = 0.005
"""How soon a replica is asked again that has not come far enough yet."""

PRIMARY = "primary"


class Replica:
    """One replica as this process sees it.

    Args:
        database: On it.
        of: What it is a replica of.

    Attributes:
        sight: What the last look showed; ``None`` while it can not be used.
        node: Identifies this start of it.
        taken: Which shards it was seen to have, of which epochs; that is forgotten when it starts anew, as it may have
            come less far then.
    """

    def __init__(self, database: StandbyDatabase, of: ReplicatedDatabase) -> None:
        self.database = database
        self.name = f"{of.node}/{database.shown}" if of.node else database.shown
        self.sight: Sight | None = None
        self.node = 0
        self.taken: dict[int, int] = {}
        self._of = of
        self._why: str | None = None
        self._late = False
        self._watch: Watch | None = None

    async def meet(self, primary: Sight) -> Sight | str:
        """Return what it is, a replica of the primary, or why it does not answer just now.

        Raises:
            DatabaseUnavailable: It is something else, or it will not let us in: with what to do.
        """
        try:
            sight = await self.database.sight()
        except DatabaseUnavailable as gone:
            if not self.database.passes(gone):
                raise
            return str(gone.args[0])
        problem = wrong(sight, primary)
        if problem:
            raise DatabaseUnavailable.because(f"{self.database}: {problem}")
        return sight

    def begin(self, met: Sight | str) -> None:
        """Watch it from now on.

        Args:
            met: What `meet` returned.
        """
        if isinstance(met, str):
            self._lost(met)
        else:
            self._seen(met)
        self._watch = Watch(self.database.connect, self._seen, self._lost)

    async def close(self) -> None:
        """Stop watching and disconnect."""
        if self._watch is not None:
            await self._watch.close()
        await self.database.close()

    async def ask(self, seconds: float) -> Sight | None:
        """Look anew; ``None`` when it does not answer in time or can not be used."""
        if self._watch is not None:
            await self._watch.ask(seconds)
        return self.sight

    def candidate(self, index: int, now: float) -> Candidate | None:
        """Return it for a choice, where it can be used."""
        sight = self.sight
        if sight is None:
            return None
        behind, size = self._of.distance(sight)
        if self._of.too_far(behind, size):
            return None
        return Candidate(
            index=index,
            node=self.node,
            timeline=sight.timeline,
            position=sight.position,
            behind=behind,
            age=now - sight.at,
        )

    def _seen(self, sight: Sight) -> None:
        problem = unfit(sight, self._of.primary_sight)
        if problem:
            self._lost(problem)
            return
        expected = self.database.expected
        if expected is None or sight.started != expected.started:
            self.database.pool.suspend(DatabaseUnavailable.because(f"{self.database} was started anew", retry_after=1))
            self.node, self.taken = node_of(self.name, sight), {}
        self.database.expected = self.sight = sight
        behind, size = self._of.distance(sight)
        self._of.observer.lag(self.name, behind, size)
        late = self._of.too_far(behind, size)
        if self._why != "" or late != self._late:
            self._why, self._late = "", late
            self.database.pool.resume()
            if late:
                self._of.observer.down(self.name, f"it is {behind:.0f} s and {size} bytes behind")
            else:
                self._of.observer.up(self.name)

    def _lost(self, why: str) -> None:
        self.sight = None
        self.database.pool.suspend(DatabaseUnavailable.because(f"{self.database}: {why}", retry_after=1))
        if why != self._why:
            self._why = why
            self._of.observer.down(self.name, why)


async def _nothing() -> None:
    """Find nothing amiss."""


def _position(mark: Mark) -> int:
    return mark.position


class ReplicatedDatabase:
    """A database on a primary and its replicas.

    Args:
        url: Of the primary.
        settings: With the addresses of the replicas.
        name: Under which the servers show this process.
        observer: Told where reads go and which replicas can be used.
        node: What it is called among several databases of one app; empty where it is the only one.

    Attributes:
        node: As given.
        primary: The database on the primary.
        primary_sight: What the last look at it showed.
        identity: What marks call it.
        alias: What marks call it that were made before its primary was seen.

    Raises:
        ValueError: An address can not be read.
    """

    dialect: Dialect = "postgresql"

    primary_sight: Sight

    def __init__(
        self,
        url: str,
        settings: DatabaseSettings,
        name: str = "trivet",
        observer: Observer = UNOBSERVED,
        node: str = "",
    ) -> None:
        self.node = node
        self.identity = self.alias = alias_of(node)
        self.primary = PostgresDatabase(url, settings, name)
        self.replicas = [Replica(StandbyDatabase(each.reveal(), settings, name), self) for each in settings.replicas]
        self.observer = observer
        self._settings = settings
        self._course = Course(settings.replica_lag + 2 * SILENT_SECONDS)
        self._turns = itertools.count(os.getpid())  # so that processes begin differently
        self._watch: Watch | None = None
        self.now: Callable[[], float] = lambda: 0.0

    def __repr__(self) -> str:
        return f"ReplicatedDatabase({self.primary}, {len(self.replicas)} replicas)"

    # -- life

    async def open(self) -> None:
        """Connect and verify that the primary is one, and that the replicas that answer are its own.

        Raises:
            DatabaseUnavailable: With what to do about it.
        """
        self._prepare()
        try:
            await self.admit(_nothing)
        except BaseException:
            await self.close()
            raise

    def _prepare(self) -> None:
        self.now = asyncio.get_running_loop().time
        self.primary.prepare()
        for replica in self.replicas:
            replica.database.prepare()

    def passes(self, gone: DatabaseUnavailable) -> bool:
        """Whether what keeps us from the primary may pass by itself; see `Absentable.passes`."""
        return self.primary.passes(gone)

    def suspend(self, why: DatabaseUnavailable) -> None:
        """Belong to this process, and refuse whoever wants a connection until `admit`, to a replica as well."""
        if self.primary.closed:
            self._prepare()
        self.primary.suspend(why)

    async def admit(self, make_sure: Callable[[], Awaitable[None]]) -> None:
        """Give connections, if the primary can be used, nothing is amiss there, and the replicas are its own.

        See `Absentable.admit`.
        """
        await self.primary.verify()
        driver = await self.primary.connect()
        try:
            self._seen(await look(driver))
        except BROKEN as error:
            reraise(error, self.primary, self.primary.uniques)
        finally:
            driver.terminate()
        await make_sure()
        met = [await replica.meet(self.primary_sight) for replica in self.replicas]
        for replica, found in zip(self.replicas, met, strict=True):
            replica.begin(found)
        self.primary.pool.resume()
        if self.replicas:
            self._watch = Watch(self.primary.connect, self._seen, self._lost)

    async def close(self) -> None:
        """Finish what runs and disconnect."""
        watch, self._watch = self._watch, None
        if watch is not None:
            await watch.close()
        for replica in self.replicas:
            await replica.close()
        await self.primary.close()

    async def create(self, tables: Sequence[sa.Table]) -> None:
        """Create on the primary what does not exist; see `Database.create`."""
        await self.primary.create(tables)

    async def check(self, tables: Sequence[sa.Table]) -> None:
        """Return when the primary has everything; see `Database.check`."""
        await self.primary.check(tables)

    async def ping(self) -> None:
        """Return when the primary answered a trivial statement."""
        await self.primary.ping()

    def watch(self, observer: PoolsObserver, node: str = PRIMARY) -> None:
        """From now on tell what the pools do, that of the primary and one for each replica."""
        self.primary.watch(observer, node)
        for replica in self.replicas:
            replica.database.watch(observer, replica.name)

    def listen(self, wake: Callable[[], None]) -> None:
        """Hear other processes through the primary."""
        self.primary.listen(wake)

    def tell(self) -> None:
        """Let other processes know, through the primary."""
        self.primary.tell()

    # -- where the primary is

    def _seen(self, sight: Sight) -> None:
        known = getattr(self, "primary_sight", None)
        if known is not None and known.timeline != sight.timeline:
            self._course.forget()
        if known is None or known.system != sight.system:
            self.identity = identity_of(self.node, sight)
        self.primary_sight = sight
        if not sight.standby:
            self._course.note(sight.at, sight.end)

    def _lost(self, why: str) -> None:
        """Go on: replicas can be read without the primary, and what needs it will find out."""

    def distance(self, sight: Sight) -> tuple[float, int]:
        """Return how far a replica was behind the primary: seconds, and bytes of the log."""
        return self._course.behind(sight.at, sight.position), max(0, self._course.end - sight.position)

    def complete(self, sight: Sight) -> float:
        """Return up to when a replica had everything, at least, on the clock of `now`."""
        return self._course.complete(sight.position)

    def too_far(self, seconds: float, size: int) -> bool:
        """Whether a replica that is so far behind is not used."""
        return seconds > self._settings.replica_lag or size > self._settings.replica_lag_size

    async def position(self, everything: bool) -> Marks:
        """Return the mark of whoever has seen the primary until now; never fails.

        Args:
            everything: Whether something may have been committed that is not safe on disk yet.
        """
        sight = await self._watch.ask(SILENT_SECONDS) if self._watch is not None else None
        if sight is None or sight.standby:
            return (self.farthest,)
        position = sight.end if everything else sight.position
        return (Mark(database=self.identity, timeline=sight.timeline, position=position),)

    @property
    def farthest(self) -> Mark:
        """The mark of whom only the primary will do for."""
        return Mark(database=self.identity, timeline=0, position=FARTHEST)

    def known(self, marks: Marks) -> Marks | None:
        """Return the marks under its identity, ``None`` where one is of another database; see `Accounting.known`."""
        if all(mark.database == self.identity for mark in marks):
            return marks
        if any(mark.database not in self._names for mark in marks):
            return None
        farthest = max(marks, key=_position)
        return (replace(farthest, database=self.identity),)

    @property
    def _names(self) -> tuple[int, int]:
        return self.identity, self.alias

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
        """Return a session; see `Database.session`."""
        self.primary.in_process()
        if write:
            return MarkedSession(self, deadline)
        return RoutedSession(self, deadline, reads, snapshot, after)

    @property
    def snapshots(self) -> int:
        """How many snapshots of the primary may be held at a time."""
        return self.primary.snapshots

    def snapshot(self) -> Snapshot:
        """Return a snapshot of the primary: a replica ends a read that keeps it from going on."""
        return self.primary.snapshot()

    async def route(self, reads: Reads, after: Marks | None) -> Replica | None:
        """Choose where a unit of work reads, ``None`` for the primary, and count it."""
        replica, why = await self._routed(reads, after)
        if after is not None or reads != "primary":  # what the platform itself reads is of no interest
            self.observer.read((self.node or PRIMARY) if replica is None else replica.name, why)
        return replica

    async def _routed(self, reads: Reads, after: Marks | None) -> tuple[Replica | None, str]:
        if reads == "primary":
            return None, "declared"
        if reads == "replica":
            after = ()
        elif after is None:
            return None, "unknown caller"
        if self._watch is None:
            return None, "no replica"
        mark = max((each for each in after if each.database in self._names), key=_position, default=None)
        wait, began = self._settings.replica_wait, self.now()
        while True:
            now = self.now()
            candidates = [
                found for i, each in enumerate(self.replicas) if (found := each.candidate(i, now)) is not None
            ]
            choice = choose(candidates, mark, self.primary_sight.timeline, wait)
            if choice.ready:
                return self.replicas[choice.ready[next(self._turns) % len(choice.ready)]], "replica"
            left = wait - (now - began)
            if not choice.hopeful or left <= 0:
                return None, choice.why
            nearest = self.replicas[choice.hopeful[0]]
            sight = await nearest.ask(left)
            if mark is not None and (sight is None or sight.position < mark.position):
                await asyncio.sleep(min(AGAIN_SECONDS, left))
