"""Moving a logical shard to another node, while it is read and written.

The steps, each of them recorded in the directory before it begins, so that whoever comes after a crash goes on there:

- *copying*: rows that differ are copied, over and over, until few differ. The old node serves.
- *fenced*: the old node stops writers and waits for those in the middle; the last differences are copied, and both
  sides are compared once more. The old node serves reads; who wants to write waits.
- *flipping*: the old node gives the shard up, then the new one takes it, then the directory says so. For these three
  short transactions nobody serves, and everybody waits.
- *dropping*: the old node's rows are removed. The new node serves.

A pass compares digests of rows in the order of their keys and copies those that differ, so it can be repeated from any
state: there is no log of changes that could miss one, nothing is installed in the tables, and the server needs no
setting. What it costs is that each pass, the fenced ones included, reads the shard once on both sides.

Two movers never work on one shard: an advisory lock on the home database keeps the second one out, and should the first
have lost it without noticing, it changes nothing where the shard is held: it asks under a lock in each transaction.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol

from trivet.core.shape import Struct
from trivet.data.database import Database, Session
from trivet.data.sharding.tables import SHARD_COLUMN

if TYPE_CHECKING:
    import sqlalchemy as sa

BATCH = 500
"""Rows of one transaction."""

FEW = 50
"""So few differing rows may be left when the shard is fenced."""

PASSES_MAX = 20
"""After so many passes it is fenced even if more differ: writers are faster than the copy."""

DRAIN_SECONDS = 30.0
"""How long the fence waits for transactions in the middle; the deadline of a command is shorter by far."""

MOVING = 0x7472_6965
"""The class of the advisory locks of movers."""

HOLDING = 0x7472_6966
"""The class of the advisory locks under which a node learns what it holds."""

SETTLED = """
SET TRANSACTION ISOLATION LEVEL READ COMMITTED;
SET LOCAL statement_timeout = 0;
SET LOCAL extra_float_digits = 1;
SET LOCAL datestyle = 'ISO';
SET LOCAL intervalstyle = 'postgres';
SET LOCAL bytea_output = 'hex';
SET LOCAL timezone = 'UTC';
SET LOCAL trivet.all_tenants = 'on'
"""
"""How each transaction begins, so that a row has the same text on both sides, whatever its server is set to, and is
there, whoever's it is."""

STEPS = ("copying", "fenced", "flipping", "dropping", "serving")


class CannotMove(Exception):
    """The shard was not moved, or not all of the way; the message says why and what to do."""


class Progress(Struct):
    """Where a move is.

    Attributes:
        shard: The logical shard.
        step: One of `STEPS`.
        pass_: Which pass over the rows, from 1.
        done: Rows compared in this pass.
        copied: Rows copied or removed in this pass.
        seconds: Since the move began.
    """

    shard: int
    step: str
    pass_: int = 0
    done: int = 0
    copied: int = 0
    seconds: float = 0.0


class Moved(Struct):
    """A table of which rows move.

    Attributes:
        name: Quoted, with its schema.
        key: Names of the columns of its key.
        columns: Names of all columns.
        shard: The column with the logical shard.
    """

    name: str
    key: tuple[str, ...]
    columns: tuple[str, ...]
    shard: str


def moved(tables: Sequence[sa.Table]) -> list[Moved]:
    """Return which of these tables move with a shard, and how."""
    found = []
    for table in tables:
        names = [column.name for column in table.c]
        shard = next((name for name in (SHARD_COLUMN, "shard") if name in names), None)
        if shard is not None:
            key = tuple(column.name for column in table.primary_key.columns)
            schema = f"{_quoted(table.schema)}." if table.schema else ""
            found.append(Moved(name=f"{schema}{_quoted(table.name)}", key=key, columns=tuple(names), shard=shard))
    return found


def _quoted(name: str | None) -> str:
    return '"' + (name or "").replace('"', '""') + '"'


class Log(Protocol):
    """What nodes log beside their rows, such as events: its order lasts when a shard changes nodes."""

    async def given_up(self, session: Session, shard: int) -> Any:
        """Return what a node has logged by now, in the transaction that gives a shard up."""
        ...

    async def taken(self, session: Session, shard: int, source: str, before: Any) -> None:
        """Log in the transaction that takes a shard what another node has logged before."""
        ...


class Move:
    """The move of one logical shard.

    Args:
        nodes: The open database of each node by its name.
        tables: What moves.
        shard: The logical shard.
        target: The node where it is to be.
        report: Told of each step before it begins, and of each batch.
        log: What the nodes log; nothing, when absent.
    """

    def __init__(
        self,
        nodes: Mapping[str, Database],
        tables: Sequence[Moved],
        shard: int,
        target: str,
        report: Callable[[Progress], None] = lambda progress: None,
        log: Log | None = None,
    ) -> None:
        self._nodes = nodes
        self._home = nodes["home"]
        self._tables = tables
        self._shard = shard
        self._target = target
        self._report = report
        self._log = log
        self._began = time.monotonic()
        self._pass = 0

    def __repr__(self) -> str:
        return f"Move({self._shard} to {self._target})"

    async def run(self) -> bool:
        """Move the shard, or go on with a move that ended in the middle; return whether there was anything to do.

        Raises:
            CannotMove: Somebody else moves it, another move of it has to end first, or a transaction holds it too long.
        """
        async with self._transaction(self._home) as lock:
            await lock.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
            if not await lock.fetchval("SELECT pg_try_advisory_xact_lock($1::int, $2::int)", MOVING, self._shard):
                raise CannotMove(f"shard {self._shard} is being moved by another process: wait for it, or end that")
            return await self._run()

    async def _run(self) -> bool:
        source, epoch, step, target = await self._where()
        if step == "serving":
            if source == self._target:
                return False
            await self._advance(epoch, "serving", "copying")
            step = "copying"
        elif target != self._target:
            raise CannotMove(f"shard {self._shard} is on its way to {target}: finish that move first, then this one")
        # With `dropping` the directory names the new node already; the old one is the target of the column then.
        if step == "copying":
            self._say("copying")
            await self._converge(source)
            await self._advance(epoch, "copying", "fenced")
            step = "fenced"
        if step == "fenced":
            self._say("fenced")
            await self._fence(source, epoch)
            await self._pass_over(source, "fenced")
            if await self._pass_over(source, "fenced"):
                raise CannotMove(f"shard {self._shard}: both sides still differ though nobody writes; run it again")
            await self._advance(epoch, "fenced", "flipping")
            step = "flipping"
        if step == "flipping":
            self._say("flipping")
            await self._flip(source, epoch)
            step = "dropping"
        self._say("dropping")
        for name, database in self._nodes.items():
            if name != self._target:
                await self._drop(database)
        await self._advance(epoch + 1 if source != self._target else epoch, "dropping", "serving")
        self._say("serving")
        return True

    def _say(self, step: str, done: int = 0, copied: int = 0) -> None:
        seconds = time.monotonic() - self._began
        self._report(
            Progress(shard=self._shard, step=step, pass_=self._pass, done=done, copied=copied, seconds=seconds)
        )

    # -- the directory

    async def _where(self) -> tuple[str, int, str, str | None]:
        async with self._transaction(self._home) as home:
            row = await home.fetchrow(
                "SELECT node, epoch, step, target FROM trivet.trivet_shard WHERE logical = $1", self._shard
            )
        if row is None:
            raise CannotMove(f"the directory has no shard {self._shard}: start the app once, which fills it")
        return row["node"], row["epoch"], row["step"], row["target"]

    async def _advance(self, epoch: int, before: str, after: str) -> None:
        target = None if after == "serving" else self._target
        async with self._transaction(self._home) as home:
            changed = await home.fetchval(
                "UPDATE trivet.trivet_shard SET step = $1, target = $2 WHERE logical = $3 AND epoch = $4 AND step = $5 "
                "RETURNING 1",
                after,
                target,
                self._shard,
                epoch,
                before,
            )
        if changed is None:
            raise CannotMove(f"shard {self._shard}: another process moves it as well; run this again")

    # -- copying

    async def _converge(self, source: str) -> None:
        for _ in range(PASSES_MAX):
            if await self._pass_over(source, "copying") <= FEW:
                return

    async def _pass_over(self, source: str, step: str) -> int:
        """Copy what differs, once over all tables, and return how many rows that were."""
        self._pass += 1
        changed = done = 0
        for table in self._tables:
            after: tuple[Any, ...] | None = None
            while True:
                count, copied, after = await self._batch(self._nodes[source], table, after)
                done, changed = done + count, changed + copied
                self._say(step, done, changed)
                if after is None:
                    break
        return changed

    async def _batch(
        self, source: Database, table: Moved, after: tuple[Any, ...] | None
    ) -> tuple[int, int, tuple[Any, ...] | None]:
        """Compare and copy up to `BATCH` rows after a key; return how many, how many differed, and the last key.

        The last key is ``None`` once there is nothing further.
        """
        key = ", ".join(map(_quoted, table.key))
        row = ", ".join(f"t.{_quoted(name)}" for name in table.columns)
        select = f"SELECT {key}, md5(ROW({row})::text) FROM {table.name} t WHERE {_quoted(table.shard)} = $1"  # noqa: S608 - quoted names of declared tables
        places = [f"${n}" for n in range(2, 2 + len(table.key))]
        from_here = f" AND ({key}) > ({', '.join(places)})" if after is not None else ""
        async with self._transaction(source) as there:
            rows = await there.fetch(f"{select}{from_here} ORDER BY {key} LIMIT {BATCH}", self._shard, *(after or ()))
            wanted = {tuple(r[:-1]): r[-1] for r in rows}
            last = tuple(rows[-1][:-1]) if len(rows) == BATCH else None
            upto = ""
            values: list[Any] = [self._shard, *(after or ())]
            if last is not None:
                upto = f" AND ({key}) <= ({', '.join(f'${len(values) + n}' for n in range(1, 1 + len(table.key)))})"
                values += last
            async with self._transaction(self._nodes[self._target]) as here:
                await self._not_held(here)
                found = await here.fetch(f"{select}{from_here}{upto}", *values)
                known = {tuple(r[:-1]): r[-1] for r in found}
                gone = [k for k in known if known[k] != wanted.get(k)]
                new = [k for k in wanted if wanted[k] != known.get(k)]
                if gone:
                    await here.executemany(self._by_key("DELETE FROM", table), gone)
                if new:
                    fetch = f"{self._by_key('SELECT ' + _names(table) + ' FROM', table)}"
                    one = await there.prepare(fetch)
                    full = [tuple(r) for k in new for r in await one.fetch(*k)]
                    holes = ", ".join(f"${n}" for n in range(1, 1 + len(table.columns)))
                    await here.executemany(f"INSERT INTO {table.name} ({_names(table)}) VALUES ({holes})", full)  # noqa: S608 - quoted names of declared tables
        return len(rows), len(set(gone) | set(new)), last

    @staticmethod
    def _by_key(verb: str, table: Moved) -> str:
        return f"{verb} {table.name} WHERE " + " AND ".join(
            f"{_quoted(name)} = ${n}" for n, name in enumerate(table.key, 1)
        )

    async def _not_held(self, here: Any) -> None:
        """Make sure, until the transaction ends, that this node does not hold the shard: its rows are not the copy's.

        Raises:
            CannotMove: It does.
        """
        await here.execute("SELECT pg_advisory_xact_lock_shared($1::int, $2::int)", HOLDING, self._shard)
        if await here.fetchval("SELECT 1 FROM trivet.trivet_held WHERE logical = $1 AND here", self._shard):
            raise CannotMove(f"shard {self._shard}: another process has moved it meanwhile; nothing was changed")

    # -- changing hands

    async def _fence(self, source: str, epoch: int) -> None:
        async with self._transaction(self._nodes[source]) as there:
            await there.execute(
                "INSERT INTO trivet.trivet_closing (logical) VALUES ($1) ON CONFLICT DO NOTHING", self._shard
            )
        try:
            async with self._transaction(self._nodes[source]) as there:
                await there.execute(f"SET LOCAL lock_timeout = '{int(DRAIN_SECONDS * 1000)}ms'")
                await there.execute(
                    "UPDATE trivet.trivet_held SET open = false WHERE logical = $1 AND epoch = $2", self._shard, epoch
                )
        except Exception as error:
            if getattr(error, "sqlstate", None) != "55P03":
                raise
            async with self._transaction(self._nodes[source]) as there:
                await there.execute("DELETE FROM trivet.trivet_closing WHERE logical = $1", self._shard)
            await self._advance(epoch, "fenced", "copying")
            raise CannotMove(
                f"shard {self._shard}: a transaction has been on it for over {DRAIN_SECONDS:g} s and still is; the "
                "shard is served as before. End that transaction (see pg_stat_activity there) and run this again"
            ) from None

    async def _flip(self, source: str, epoch: int) -> None:
        before: Any = None
        async with self._session(self._nodes[source]) as (session, there):
            await there.execute("SELECT pg_advisory_xact_lock($1::int, $2::int)", HOLDING, self._shard)
            await there.execute(
                "UPDATE trivet.trivet_held SET here = false, open = false WHERE logical = $1 AND epoch = $2",
                self._shard,
                epoch,
            )
            await there.execute("DELETE FROM trivet.trivet_closing WHERE logical = $1", self._shard)
            if self._log is not None:
                before = await self._log.given_up(session, self._shard)
        async with self._session(self._nodes[self._target]) as (session, here):
            await here.execute("SELECT pg_advisory_xact_lock($1::int, $2::int)", HOLDING, self._shard)
            await here.execute("DELETE FROM trivet.trivet_closing WHERE logical = $1", self._shard)
            await here.execute(
                "INSERT INTO trivet.trivet_held AS held (logical, epoch, open, here) VALUES ($1, $2, true, true) "
                "ON CONFLICT (logical) DO UPDATE SET epoch = excluded.epoch, open = true, here = true "
                "WHERE held.epoch < excluded.epoch",
                self._shard,
                epoch + 1,
            )
            if self._log is not None:
                await self._log.taken(session, self._shard, source, before)
        async with self._transaction(self._home) as home:
            await home.execute(
                "UPDATE trivet.trivet_shard SET node = $1, epoch = $2, step = 'dropping' "
                "WHERE logical = $3 AND epoch = $4",
                self._target,
                epoch + 1,
                self._shard,
                epoch,
            )

    async def _drop(self, database: Database) -> None:
        for table in reversed(self._tables):
            while True:
                key = ", ".join(map(_quoted, table.key))
                some = f"SELECT {key} FROM {table.name} WHERE {_quoted(table.shard)} = $1 LIMIT {BATCH}"  # noqa: S608 - quoted names of declared tables
                async with self._transaction(database) as there:
                    await self._not_held(there)
                    count = await there.fetchval(
                        f"WITH gone AS (DELETE FROM {table.name} WHERE ({key}) IN ({some}) RETURNING 1) "  # noqa: S608 - quoted names of declared tables
                        "SELECT count(*) FROM gone",
                        self._shard,
                    )
                if count < BATCH:
                    break

    @asynccontextmanager
    async def _transaction(self, database: Database) -> AsyncIterator[Any]:
        async with self._session(database) as (_, connection):
            yield connection

    @asynccontextmanager
    async def _session(self, database: Database) -> AsyncIterator[tuple[Session, Any]]:
        session = database.session(write=True)
        try:
            connection = await session.driver_connection()
            await connection.execute(SETTLED)
            yield session, connection
            await session.commit()
        finally:
            await session.close()


def _names(table: Moved) -> str:
    return ", ".join(map(_quoted, table.columns))
