"""A PostgreSQL database as one process has it open."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any

import asyncpg

from trivet.core.clock import Deadline
from trivet.core.consistency import Marks
from trivet.data.database import DatabaseUnavailable, Dialect, Reads, Session, Snapshot, Tenancy
from trivet.data.existing import disagreement, missing, unsearchable
from trivet.data.pooled import PoolsObserver
from trivet.data.postgresql.address import OLDEST, address_of
from trivet.data.postgresql.confined import ConfinedReadSession
from trivet.data.postgresql.connection import Connection
from trivet.data.postgresql.errors import BROKEN, field_of, passes, reraise
from trivet.data.postgresql.listen import Listener
from trivet.data.postgresql.pool import Pool, PoolOptions
from trivet.data.postgresql.rowsecurity import GUARDS, ROLE, UNGUARDED, changes, flaw, guards_of, told, unheld
from trivet.data.postgresql.session import ReadSession, Scan, SnapshotSession, WriteSession
from trivet.data.search.index import SearchIndex, searches_of
from trivet.data.search.postgresql import THERE
from trivet.data.statement import TENANT, compiler
from trivet.settings import DatabaseSettings

if TYPE_CHECKING:
    import sqlalchemy as sa

CREATING = 0x7472_6976_6574
"""The advisory lock that whoever creates tables holds: "trivet" in ASCII."""

COLUMNS = """
SELECT n.nspname, c.relname, a.attname
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relkind IN ('r', 'p', 'v') AND n.nspname = ANY($1::text[])
"""

UNIQUES = """
SELECT n.nspname, i.relname, array_agg(a.attname::text ORDER BY k.place)
FROM pg_catalog.pg_index x
JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid
JOIN pg_catalog.pg_namespace n ON n.oid = i.relnamespace
CROSS JOIN LATERAL unnest(x.indkey::int2[]) WITH ORDINALITY AS k (attnum, place)
JOIN pg_catalog.pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = k.attnum
WHERE x.indisunique AND k.place <= x.indnkeyatts AND n.nspname = ANY($1::text[])
GROUP BY n.nspname, i.relname
"""

RIGHTS = """
SELECT t.name, r.word
FROM unnest($1::text[]) AS t (name)
CROSS JOIN unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS r (word)
WHERE NOT has_table_privilege(t.name, r.word)
"""

SEQUENCES = """
SELECT s.name
FROM (
    SELECT t.name, pg_get_serial_sequence(t.name, a.attname) AS sequence
    FROM unnest($1::text[]) AS t (name)
    JOIN pg_catalog.pg_attribute a ON a.attrelid = t.name::regclass AND a.attnum > 0 AND NOT a.attisdropped
) AS s
WHERE s.sequence IS NOT NULL
AND NOT (has_sequence_privilege(s.sequence, 'USAGE') AND has_sequence_privilege(s.sequence, 'SELECT'))
"""


class PostgresDatabase:
    """A database on a PostgreSQL server.

    Args:
        url: ``postgresql://user:password@host:port/database?parameters``.
        settings: Of the pool and its connections.
        name: Under which the server shows this process.

    Attributes:
        begin: How a command's transaction begins.
        confines: Whether the server is told whom each transaction works for.
        pgbouncer: Whether nothing may be kept on connections.
        reading: What reads each statement on its own.
        snapshots: How many snapshots may be held: a quarter of the connections, none of the only one.
        uniques: The columns of unique indexes, by schema and name.

    Raises:
        ValueError: The URL can not be read.
    """

    dialect: Dialect = "postgresql"

    pool: Pool[Connection]

    def __init__(self, url: str, settings: DatabaseSettings | None = None, name: str = "trivet") -> None:
        self._settings = settings or DatabaseSettings()
        self._address = address_of(url, self._settings, name)
        self._pid = 0
        self._later: set[asyncio.Task[Any]] = set()
        self._listener: Listener | None = None
        level = self._settings.isolation.upper().replace("-", " ")
        self.begin = f"BEGIN ISOLATION LEVEL {level} READ WRITE"
        self.uniques: dict[tuple[str, str], tuple[str, ...]] = {}
        self.pgbouncer = self._settings.pgbouncer
        self.confines = self._settings.row_security != "off"
        self.reading = ConfinedReadSession if self.confines else ReadSession
        self.snapshots = (self._settings.pool_size + 2) // 4

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._address.shown})"

    # -- life

    async def open(self) -> None:
        """Connect in this process and verify that the server can be used.

        Raises:
            DatabaseUnavailable: With what to do about it.
        """
        self.prepare()
        await self.verify()

    async def verify(self) -> None:
        """Connect beside the pool and verify that the server can be used; raises what `open` raises."""
        driver = await self.connect()
        try:
            await self._verify(driver)
        finally:
            driver.terminate()

    def passes(self, gone: DatabaseUnavailable) -> bool:
        """Whether what keeps us from the server may pass by itself; see `Absentable.passes`."""
        return self._address.complete and passes(gone.__cause__)

    def suspend(self, why: DatabaseUnavailable) -> None:
        """Belong to this process, and refuse whoever wants a connection, until `admit`."""
        if self.closed:
            self.prepare()
        self.pool.suspend(why)

    async def admit(self, make_sure: Callable[[], Awaitable[None]]) -> None:
        """Give connections, if the server can be used and nothing is amiss on it; see `Absentable.admit`."""
        await self.verify()
        await make_sure()
        self.pool.resume()

    def prepare(self) -> None:
        """Belong to this process and have a pool, which connects when a connection is wanted."""
        settings = self._settings
        options = PoolOptions(
            size=settings.pool_size,
            queue=settings.pool_queue,
            timeout=settings.pool_timeout,
            lifetime=settings.pool_lifetime,
        )
        self.pool = Pool(self._pooled, options, self)
        self._pid = os.getpid()

    async def connect(self) -> asyncpg.Connection:
        """Connect beside the pool; raises `DatabaseUnavailable`."""
        return await self._address.connect()

    async def _pooled(self) -> Connection:
        driver = await self.connect()
        try:
            await self._admit(driver)
        except BaseException:
            driver.terminate()
            raise
        return Connection(driver, self._address.statements)

    async def _admit(self, driver: asyncpg.Connection) -> None:
        """Refuse a server that is not what it has to be; after a failover an address may lead to another one."""
        if getattr(driver.get_settings(), "in_hot_standby", None) == "on":  # the server says it by itself
            raise DatabaseUnavailable.because(
                f"{self} is a standby by now: name the primary with DATABASE_URL", retry_after=1
            )

    async def _verify(self, driver: asyncpg.Connection) -> None:
        version = driver.get_server_version()
        if version.major < OLDEST:
            raise DatabaseUnavailable.because(
                f"{self}: the server is PostgreSQL {version.major}; Trivet needs {OLDEST} or newer: upgrade it"
            )
        try:
            standby = await driver.fetchval("SELECT pg_is_in_recovery()")
        except BROKEN as error:
            reraise(error, self, self.uniques)
        if standby:
            raise DatabaseUnavailable.because(
                f"{self} is a standby, which can not be written: name the primary with DATABASE_URL"
            )

    async def close(self) -> None:
        """Finish what runs and disconnect."""
        if self.closed:  # not open, or inherited by a fork and not ours to close
            return
        self._pid = 0
        listener, self._listener = self._listener, None
        if listener is not None:
            await listener.close()
        await asyncio.gather(*self._later, return_exceptions=True)
        await self.pool.close()

    def later(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something that nobody waits for."""
        task = asyncio.get_running_loop().create_task(work)
        self._later.add(task)
        task.add_done_callback(self._later.discard)

    def watch(self, observer: PoolsObserver, node: str = "primary") -> None:
        """From now on tell what the pool does.

        Args:
            observer: Is told.
            node: What the server is called there.
        """
        pool = self.pool

        def used() -> int:
            figures = pool.figures
            return figures.open - figures.free

        size = self._settings.pool_size
        pool.observer = observer.pool(node, size, lambda: pool.figures.open, used, lambda: pool.figures.waiting)

    def listen(self, wake: Callable[[], None]) -> None:
        """From now on call `wake` when another process said `tell`; through a PgBouncer nobody hears anything."""
        if not self._settings.pgbouncer:
            self._listener = Listener(self._address.connect, wake)

    def tell(self) -> None:
        """Let other processes know, soon."""
        if self._listener is not None:
            self._listener.tell()

    async def ping(self) -> None:
        """Return when a trivial statement was answered; raises `DatabaseUnavailable` otherwise."""
        self.in_process()
        connection = await self.pool.take()
        try:
            await connection.command("SELECT 1")
        except Exception as error:
            reraise(error, self, self.uniques)
        finally:
            self.pool.give_back(connection)

    # -- tables

    async def create(self, tables: Sequence[sa.Table]) -> None:
        """Create the schemas, tables and indexes that do not exist; several processes may do so at once.

        Raises:
            DatabaseUnavailable: A table exists with other columns; the message names them. Or the user may not.
        """
        from sqlalchemy.schema import CreateIndex, CreateSchema, CreateTable

        dialect = compiler("postgresql")
        schemas = schemas_of(tables)
        driver = await self.connect()
        try:
            await driver.execute(self.begin)
            await driver.execute(f"SET LOCAL statement_timeout = 0; SELECT pg_advisory_xact_lock({CREATING})")
            existing = await self._existing(driver, schemas)
            there = {schema for (schema,) in await driver.fetch("SELECT nspname FROM pg_catalog.pg_namespace")}
            for schema in schemas:
                if schema not in there:  # a right is needed even to find out that one exists
                    await driver.execute(str(CreateSchema(schema).compile(dialect=dialect)))
            for table in tables:
                columns = existing.get(_place(table))
                if columns is None:
                    await driver.execute(str(CreateTable(table).compile(dialect=dialect)))
                    if "first" in table.info:  # of its partitions
                        await driver.execute(table.info["first"])
                else:
                    self._agree(table, columns, {column.name for column in table.columns})
                for index in sorted(table.indexes, key=lambda index: str(index.name)):
                    await driver.execute(str(CreateIndex(index, if_not_exists=True).compile(dialect=dialect)))
            for search in await self._not_whole(driver, tables):
                for sql in search.create():
                    await driver.execute(sql)
            guards = guards_of(await driver.fetch(GUARDS))
            for table in tables:
                for sql in changes(table, guards.get(_place(table), UNGUARDED), wanted=self.confines):
                    await driver.execute(sql)
            await self._guarded(driver, tables)
            await self._learn(driver, schemas)
            await driver.execute("COMMIT")
        except asyncpg.InsufficientPrivilegeError as refused:
            said, user = field_of(refused, "message"), self._address.user
            raise DatabaseUnavailable.because(
                f"{self}: {user} may not create tables ({said}): GRANT CREATE ON DATABASE "
                f"{self._address.database} TO {user}, or create them as their owner and set "
                "TRIVET_DATABASE__CREATE=false"
            ) from refused
        except BROKEN as error:
            reraise(error, self, self.uniques)
        finally:
            driver.terminate()

    async def check(self, tables: Sequence[sa.Table]) -> None:
        """Return when every table exists with every column that is used; further columns do not matter.

        Raises:
            DatabaseUnavailable: Something is missing, or the user may not use it; the message names it.
        """
        schemas = schemas_of(tables)
        driver = await self.connect()
        try:
            existing = await self._existing(driver, schemas)
            lacking = missing(self, (_shown(t) for t in tables if _place(t) not in existing), "database")
            if lacking is not None:
                raise DatabaseUnavailable.because(lacking)
            for table in tables:
                wanted = {column.name for column in table.columns}
                self._agree(table, existing[_place(table)] & wanted, wanted)
            unfit = unsearchable(self, (s.searched.name for s in await self._not_whole(driver, tables)))
            if unfit is not None:
                raise DatabaseUnavailable.because(unfit)
            await self._permitted(driver, tables)
            await self._guarded(driver, tables)
            await self._learn(driver, schemas)
        except BROKEN as error:
            reraise(error, self, self.uniques)
        finally:
            driver.terminate()

    async def _existing(self, driver: asyncpg.Connection, schemas: Sequence[str]) -> dict[tuple[str, str], set[str]]:
        found: dict[tuple[str, str], set[str]] = {}
        for schema, table, column in await driver.fetch(COLUMNS, schemas):
            found.setdefault((schema, table), set()).add(column)
        return found

    async def _not_whole(self, driver: asyncpg.Connection, tables: Sequence[sa.Table]) -> list[SearchIndex]:
        searches = searches_of(tables)
        there = {name for (name,) in await driver.fetch(THERE)} if searches else set()
        return [search for search in searches if not search.parts <= there]

    async def _learn(self, driver: asyncpg.Connection, schemas: Sequence[str]) -> None:
        """Learn the columns of unique indexes, which errors only name."""
        for schema, index, columns in await driver.fetch(UNIQUES, schemas):
            self.uniques[schema, index] = tuple(columns)

    async def _permitted(self, driver: asyncpg.Connection, tables: Sequence[sa.Table]) -> None:
        user = self._address.user
        schemas = "SELECT s FROM unnest($1::text[]) AS s WHERE NOT has_schema_privilege(s, 'USAGE')"
        closed = [schema for (schema,) in await driver.fetch(schemas, schemas_of(tables))]
        if closed:
            names = ", ".join(closed)
            raise DatabaseUnavailable.because(
                f"{self}: {user} may not use the {'schema' if len(closed) == 1 else 'schemas'} {names}: "
                f"GRANT USAGE ON SCHEMA {names} TO {user}"
            )
        lacks: dict[str, list[str]] = {}
        for table, right in await driver.fetch(RIGHTS, [_shown(table) for table in tables]):
            lacks.setdefault(table, []).append(right)
        if lacks:
            table, rights = next(iter(lacks.items()))
            more = f" (and {len(lacks) - 1} more tables)" if len(lacks) > 1 else ""
            raise DatabaseUnavailable.because(
                f"{self}: {user} lacks rights on {table}{more}: GRANT {', '.join(rights)} ON {table} TO {user}"
            )
        counting = [_shown(table) for table in tables if table.autoincrement_column is not None]
        silent = [name for (name,) in await driver.fetch(SEQUENCES, counting)]
        if silent:
            raise DatabaseUnavailable.because(
                f"{self}: {user} lacks rights on the sequence of {silent[0]}: "
                f"GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA {silent[0].partition('.')[0]} TO {user}"
            )

    async def _guarded(self, driver: asyncpg.Connection, tables: Sequence[sa.Table]) -> None:
        """Refuse a wall between tenants that does not stand, or that stands where nobody says for whom he comes."""
        tenanted = [table for table in tables if TENANT in table.info]
        security = self._settings.row_security
        if not tenanted or security == "prepare":
            return
        guards = guards_of(await driver.fetch(GUARDS))
        if security == "on":
            [role] = await driver.fetch(ROLE)
            problem = unheld(role)
            if problem is not None:
                raise DatabaseUnavailable.because(f"{self}: {problem}")
        for table in tenanted:
            guard = guards.get(_place(table), UNGUARDED)
            lacks = flaw(table, guard, wanted=security == "on")
            if lacks is not None and (security == "on" or guard.active):
                mend = (
                    "migrate it (`trivet db diff`, `trivet db migrate`)"
                    if security == "on"
                    else "no row would be there: set TRIVET_DATABASE__ROW_SECURITY=on, or take the policies off "
                    "(`trivet db diff`)"
                )
                raise DatabaseUnavailable.because(f"{self}: table {_shown(table)} {lacks}: {mend}")

    def _agree(self, table: sa.Table, existing: set[str], wanted: set[str]) -> None:
        problem = disagreement(_shown(table), existing, wanted)
        if problem is not None:
            raise DatabaseUnavailable.because(
                f"{self}: {problem}. Migrate it (`trivet db migrate`), or in development drop it"
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
        """Return a session; nothing is borrowed or begun yet. There is one node, whatever `reads` says."""
        self.in_process()
        if write:
            return WriteSession(self, deadline)
        return SnapshotSession(self, deadline) if snapshot else self.reading(self, deadline)

    def beginning(self, begin: str, tenant: Tenancy) -> str:
        """Return how a transaction begins that works for a tenant: with one round trip, and no query for nobody."""
        return f"{begin}; {told(tenant)}" if self.confines and tenant is not None else begin

    def snapshot(self) -> Snapshot:
        """Return a snapshot; nothing is borrowed or begun yet."""
        self.in_process()
        return Scan(self, None)

    @property
    def closed(self) -> bool:
        """Whether it is not open in this process."""
        return self._pid != os.getpid()

    def in_process(self) -> None:
        """Refuse to be used in another process than the one that opened it."""
        if self.closed:
            raise RuntimeError(f"{self} is not open in this process: await open() after the fork, not before it")


def schemas_of(tables: Sequence[sa.Table]) -> list[str]:
    """Return the schemas that tables are in."""
    return sorted({table.schema or "public" for table in tables})


def _place(table: sa.Table) -> tuple[str, str]:
    return table.schema or "public", table.name


def _shown(table: sa.Table) -> str:
    return ".".join(_place(table))
