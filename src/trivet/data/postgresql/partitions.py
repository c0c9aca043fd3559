"""Partitions on PostgreSQL: looking at them, and taking the steps that `trivet.data.partitioned` decides.

Whoever does this may be killed anywhere: each step is one transaction that decides by what it finds. The moments in
which a step keeps others out are short, and it waits for them no longer than `LOCK_MILLISECONDS`, because others would
wait behind it; then it is left to the next turn.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import asyncpg

from trivet.data.partitioned import WIDTH, Close, Drop, Enter, Make, Numbered, Partition, State, Step, next_step
from trivet.data.postgresql.errors import reraise

if TYPE_CHECKING:
    from trivet.data.database import Database

FEW = 10_000
"""Up to so many rows that are still needed are moved out of a partition that is dropped."""

LOCK_MILLISECONDS = 100
"""How long a step waits for a lock that others would wait behind."""

TURNING = 0x7472_6976_6578
"""The advisory lock of whoever takes a step: what comes after the platform's other ones."""

CLOSED = re.compile(r"closed (\S+)")


class Partitions:
    """The partitions of one table.

    Args:
        database: Where it is.
        table: Which one.
    """

    def __init__(self, database: Database, table: Numbered) -> None:
        self._database = database
        self._table = table

    def __repr__(self) -> str:
        return f"Partitions({self._table.place()})"

    async def turn(self, now: datetime, before: datetime) -> str | None:
        """Begin a new day if it is time, and drop what was closed before an instant; one process at a time.

        Args:
            now: The present instant.
            before: An instant.

        Returns:
            ``None``, or why this process can not do that, and somebody has to remove rows one by one.

        Raises:
            DatabaseUnavailable: The server can not be asked.
        """
        passed: list[int] = []
        while True:
            step: Step | None = None
            try:
                async with self._transaction() as driver:
                    obstacle = await self._obstacle(driver)
                    if obstacle is not None:
                        return obstacle
                    if not await driver.fetchval(f"SELECT pg_try_advisory_xact_lock({TURNING})"):
                        return None
                    state = await self._state(driver)
                    step = next_step(state, now, before, passed)
                    if step is None:
                        return None
                    if not await self._take(driver, step, state, now):
                        passed.append(step.number)
            except asyncpg.LockNotAvailableError:
                if not isinstance(step, Drop):
                    return None  # the next turn comes to it
                passed.append(step.number)
            except asyncpg.InsufficientPrivilegeError as refused:
                place = self._table.place()
                return f"{refused}: the owner of {place} needs USAGE and CREATE on schema {self._table.schema}"
            except (asyncpg.PostgresError, OSError) as error:
                reraise(error, self._database, {})

    # -- looking

    async def _obstacle(self, driver: Any) -> str | None:
        """Act as the owner of the table, or return what is in the way of that."""
        place = self._table.place()
        parted, owner, quoted, ours, me = await driver.fetchrow(
            "SELECT c.relkind = 'p', pg_get_userbyid(c.relowner), quote_ident(pg_get_userbyid(c.relowner)), "
            "pg_has_role(c.relowner, 'MEMBER'), current_user FROM pg_catalog.pg_class c WHERE c.oid = $1::regclass",
            place,
        )
        if not parted:
            return f"{place} has no partitions: apply what is to be applied with `trivet db migrate`"
        if not ours:
            return f"{me} does not own {place}: run `trivet db prune` as {owner} once a day, or GRANT {quoted} TO {me}"
        if owner != me:
            await driver.execute(f"SET LOCAL ROLE {quoted}")  # so that all partitions are the same user's
        return None

    async def _state(self, driver: Any) -> State:
        table = self._table
        found = await driver.fetch(
            "SELECT c.relname, obj_description(c.oid, 'pg_class') FROM pg_catalog.pg_inherits i "
            "JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = $1::regclass",
            table.place(),
        )
        own = re.compile(rf"{re.escape(table.name)}_(\d+)")
        partitions = [
            Partition(number=int(match[1]), closed=_closed(comment))
            for name, comment in found
            if (match := own.fullmatch(name)) is not None
        ]
        current = await driver.fetchval(f"SELECT last_value FROM {await self._sequence(driver)}") // WIDTH  # noqa: S608 - a name that the server quotes
        begun = await driver.fetchval(
            f"SELECT {table.time} FROM {table.place()} WHERE {table.key} >= $1 ORDER BY {table.key} LIMIT 1",  # noqa: S608 - names of our own
            current * WIDTH,
        )
        return State(
            current=current,
            begun=None if begun is None else datetime.fromtimestamp(begun / 1e6, UTC),
            partitions=tuple(partitions),
        )

    async def _sequence(self, driver: Any) -> str:
        name: str = await driver.fetchval("SELECT pg_get_serial_sequence($1, $2)", self._table.place(), self._table.key)
        return name

    # -- steps

    async def _take(self, driver: Any, step: Step, state: State, now: datetime) -> bool:
        """Take a step, and return whether it changed anything."""
        match step:
            case Make(number=number):
                await self._make(driver, self._table.place(number))
                await self._attach(driver, number, number * WIDTH)
            case Enter(number=number):
                sequence = await self._sequence(driver)
                await driver.execute("SELECT setval($1::regclass, $2)", sequence, number * WIDTH)
            case Close(number=number):
                await self._close(driver, number, now)
            case Drop(number=number):
                older = sorted(each.number for each in state.partitions if each.number < number)
                return await self._drop(driver, number, older)
        return True

    async def _make(self, driver: Any, place: str) -> None:
        await driver.execute(f"CREATE TABLE {place} (LIKE {self._table.place()} INCLUDING ALL)")

    async def _attach(self, driver: Any, number: int, start: int | None) -> None:
        """Make a table a partition, which keeps nobody out; to create it as one would."""
        table = self._table
        await driver.execute(
            f"ALTER TABLE {table.place()} ATTACH PARTITION {table.place(number)} "
            f"FOR VALUES FROM ({'MINVALUE' if start is None else start}) TO ({(number + 1) * WIDTH})"
        )

    async def _close(self, driver: Any, number: int, when: datetime) -> None:
        await driver.execute(f"COMMENT ON TABLE {self._table.place(number)} IS 'closed {when.isoformat()}'")

    async def _drop(self, driver: Any, number: int, older: Sequence[int]) -> bool:
        """Drop a partition; what is needed of it comes to stand together with what is left of the one before."""
        table, gone, start = self._table, [number], _after(older)
        await self._settle(driver, number)
        count = await self._count(driver, start, number)
        if count > FEW:
            return False
        if count and older and await self._count(driver, _after(older[:-1]), number) <= FEW:
            gone, start = [older[-1], number], _after(older[:-1])
            await self._settle(driver, older[-1])
        elif count and not await self._has_stale(driver, start, number):
            return False
        kept, values = f"{table.place(number)}_kept", _bounds(start, number)
        closed = await driver.fetchval("SELECT obj_description($1::regclass, 'pg_class')", table.place(number))
        if count:
            await self._make(driver, kept)
            for each in gone:
                wanted = f"SELECT t.* FROM {table.place(each)} AS t WHERE t.{table.key} IN ({table.needed})"  # noqa: S608 - text of our own
                await driver.execute(f"INSERT INTO {kept} {wanted}", *values)
        for each in gone:
            place = table.place(each)
            await driver.execute(f"ALTER TABLE {table.place()} DETACH PARTITION {place}; DROP TABLE {place}")
        if count:
            await driver.execute(f"ALTER TABLE {kept} RENAME TO {table.name}_{number}")
            await self._attach(driver, number, start)
            await driver.execute(f"COMMENT ON TABLE {table.place(number)} IS '{closed}'")
        return True

    async def _settle(self, driver: Any, number: int) -> None:
        """Wait for whoever still writes into a partition, which stops nobody else: nobody else uses it."""
        await driver.execute(f"LOCK TABLE ONLY {self._table.place(number)} IN SHARE MODE")

    async def _count(self, driver: Any, start: int | None, number: int) -> int:
        """Return how many rows are needed from a start to the end of a partition, counted up to one too many."""
        few = f"SELECT DISTINCT key FROM ({self._table.needed}) AS needed (key) LIMIT {FEW + 1}"  # noqa: S608 - text of our own
        count: int = await driver.fetchval(f"SELECT count(*) FROM ({few}) AS few", *_bounds(start, number))  # noqa: S608 - text of our own
        return count

    async def _has_stale(self, driver: Any, start: int | None, number: int) -> bool:
        """Return whether a partition has rows that nothing needs."""
        table = self._table
        stale = f"SELECT FROM {table.place(number)} AS t WHERE t.{table.key} NOT IN ({table.needed})"
        found: bool = await driver.fetchval(f"SELECT EXISTS ({stale})", *_bounds(start, number))
        return found

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[Any]:
        session = self._database.session(write=True)
        try:
            driver = await session.driver_connection()
            await driver.execute(
                "SET TRANSACTION ISOLATION LEVEL READ COMMITTED; SET LOCAL statement_timeout = 0; "
                f"SET LOCAL lock_timeout = '{LOCK_MILLISECONDS}ms'"
            )
            yield driver
            await session.commit()
        finally:
            await session.close()


def _after(older: Sequence[int]) -> int | None:
    """Return where what follows these partitions may begin, ``None`` for the beginning of all numbers."""
    return (older[-1] + 1) * WIDTH if older else None


def _bounds(start: int | None, number: int) -> tuple[int, int]:
    return -(2**63) if start is None else start, (number + 1) * WIDTH


def _closed(comment: str | None) -> datetime | None:
    found = CLOSED.fullmatch(comment or "")
    return None if found is None else datetime.fromisoformat(found[1])
