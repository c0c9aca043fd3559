"""The file as one process has it open: one writer, one reader for the event loop, a few readers for threads."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from trivet.core.clock import Deadline
from trivet.core.consistency import Marks
from trivet.data.database import DatabaseUnavailable, Dialect, Reads, Session, Snapshot
from trivet.data.existing import disagreement, missing, unsearchable
from trivet.data.search.index import SearchIndex, searches_of
from trivet.data.search.sqlite import THERE
from trivet.data.sqlite.connection import Connection
from trivet.data.sqlite.errors import reraise
from trivet.data.sqlite.session import ReadSession, Scan, SnapshotSession, WriteSession
from trivet.data.sqlite.waiting import acquire, patiently
from trivet.data.statement import OPTIONS, Statement, compiler

if TYPE_CHECKING:
    import sqlalchemy as sa

    from trivet.data.pooled import PoolsObserver

READERS = 4
"""Connections for snapshots and for slow reads, each opened when it is first needed."""

HELD = 2
"""How many of them may be held for as long as somebody reads."""


class SqliteDatabase:
    """A database file.

    Args:
        path: The file; it is created where its directory exists. ``None`` is a private temporary file that `close`
            removes.

    Attributes:
        queue: Held by whoever holds the writer.
        slow: Statements that took longer than the event loop should wait.
        committer: The thread for commits and for slow statements of the writer.
        threads: The threads for slow reads.
    """

    dialect: Dialect = "sqlite"
    snapshots = HELD

    writer: Connection
    reader: Connection
    queue: asyncio.Lock
    committer: ThreadPoolExecutor
    threads: ThreadPoolExecutor

    def __init__(self, path: Path | None) -> None:
        self.slow: set[Statement] = set()
        self._path = path
        self._temporary: str | None = None
        self._pid = 0
        self._free: list[Connection] = []

    def __repr__(self) -> str:
        return f"SqliteDatabase({str(self._path) if self._path else 'temporary'})"

    # -- life

    async def open(self) -> None:
        """Open the file in this process and verify that it can be read and written.

        Raises:
            DatabaseUnavailable: With what to do about it.
        """
        if self._path is None:
            self._temporary = tempfile.mkdtemp(prefix="trivet-")
        self._free = []
        try:
            self.writer = await self._connect(write=True)
            try:
                await patiently(self._verify, None)
                self.reader = await self._connect(write=False)
            except BaseException:
                self.writer.close()
                raise
        except BaseException as error:
            self._remove()
            reraise(error, self)
        self.queue = asyncio.Lock()
        self._permits = asyncio.Semaphore(READERS)
        self.committer = ThreadPoolExecutor(1, "trivet-sqlite-writer")
        self.threads = ThreadPoolExecutor(READERS, "trivet-sqlite-reader")
        self._pid = os.getpid()

    async def _connect(self, *, write: bool) -> Connection:
        """Open a connection; another process that opens or closes the file just now may be in the way."""
        path = Path(self._temporary) / "trivet.db" if self._temporary else self._path
        assert path is not None
        return await patiently(partial(Connection, path, write=write), None)

    def _verify(self) -> None:
        [(mode,)] = self.writer.driver.execute("PRAGMA journal_mode=WAL").fetchall()
        if mode != "wal":
            raise DatabaseUnavailable.because(f"{self}: no write-ahead log here; use a local file system")
        self.writer.command("BEGIN IMMEDIATE")  # fails where the file can not be written
        self.writer.command("ROLLBACK")

    def _remove(self) -> None:
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)
            self._temporary = None

    async def close(self) -> None:
        """Finish what runs, close the file, and remove it if it was temporary."""
        if self._pid != os.getpid():  # not open, or inherited by a fork and not ours to close
            return
        self._pid = 0
        async with self.queue:
            await asyncio.to_thread(self.committer.shutdown)
            await asyncio.to_thread(self.threads.shutdown)
            for connection in (self.reader, *self._free, self.writer):
                connection.close()
        self._remove()

    def watch(self, observer: PoolsObserver, node: str = "primary") -> None:
        """Tell nothing: a process has a fixed handful of connections."""

    def listen(self, wake: Callable[[], None]) -> None:
        """Do nothing: no process hears from another one here; each looks for itself."""

    def tell(self) -> None:
        """Do nothing: nobody could hear it."""

    async def ping(self) -> None:
        """Return when a trivial statement was answered; raises `DatabaseUnavailable` otherwise."""
        if self._pid != os.getpid():
            raise DatabaseUnavailable.because(f"{self} is not open")
        try:
            self.reader.command("SELECT count(*) FROM sqlite_schema")
        except sqlite3.Error as error:
            reraise(error, self)

    async def create(self, tables: Sequence[sa.Table]) -> None:
        """Create the tables and indexes that do not exist; several processes may do so at once.

        Raises:
            DatabaseUnavailable: A table exists with other columns; the message names them.
        """
        from sqlalchemy.schema import CreateIndex, CreateTable

        dialect, options = compiler("sqlite"), OPTIONS["sqlite"]
        session = WriteSession(self, None)
        try:
            driver = await session.driver_connection()
            for table in tables:
                driver.execute(str(CreateTable(table, if_not_exists=True).compile(dialect=dialect, **options)))
                self._agree(table.name, self._columns(driver, table.name), {column.name for column in table.columns})
                for index in sorted(table.indexes, key=lambda index: str(index.name)):
                    driver.execute(str(CreateIndex(index, if_not_exists=True).compile(dialect=dialect, **options)))
            for search in self._not_whole(driver, tables):
                for sql in search.create():
                    driver.execute(sql)
            await session.commit()
        except sqlite3.Error as error:
            reraise(error, self)
        finally:
            await session.close()

    async def check(self, tables: Sequence[sa.Table]) -> None:
        """Return when every table exists with every column that is used; further columns do not matter.

        Raises:
            DatabaseUnavailable: Something is missing; the message names it.
        """
        try:
            existing = {table.name: self._columns(self.reader.driver, table.name) for table in tables}
            unfit = unsearchable(self, (s.searched.name for s in self._not_whole(self.reader.driver, tables)))
        except sqlite3.Error as error:
            reraise(error, self)
        lacking = missing(self, (name for name, columns in existing.items() if not columns), "file")
        if lacking is not None:
            raise DatabaseUnavailable.because(lacking)
        for table in tables:
            wanted = {column.name for column in table.columns}
            self._agree(table.name, existing[table.name] & wanted, wanted)
        if unfit is not None:
            raise DatabaseUnavailable.because(unfit)

    @staticmethod
    def _not_whole(driver: sqlite3.Connection, tables: Sequence[sa.Table]) -> list[SearchIndex]:
        searches = searches_of(tables)
        there = {name for (name,) in driver.execute(THERE)} if searches else set()
        return [search for search in searches if not search.parts <= there]

    @staticmethod
    def _columns(driver: sqlite3.Connection, table: str) -> set[str]:
        return {row[1] for row in driver.execute(f'PRAGMA table_info("{table}")')}

    def _agree(self, table: str, existing: set[str], wanted: set[str]) -> None:
        problem = disagreement(table, existing, wanted)
        if problem is not None:
            raise DatabaseUnavailable.because(
                f"{self}: {problem}. Migrate it (`trivet db migrate`), or in development remove the file"
            )

    # -- sessions and their readers

    def snapshot(self) -> Snapshot:
        """Return a snapshot; nothing is borrowed or begun yet."""
        self._in_process()
        return Scan(self, None)

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
        self._in_process()
        if write:
            return WriteSession(self, deadline)
        return SnapshotSession(self, deadline) if snapshot else ReadSession(self, deadline)

    def _in_process(self) -> None:
        if self._pid != os.getpid():
            raise RuntimeError(f"{self} is not open in this process: await open() after the fork, not before it")

    async def borrow(self, deadline: Deadline | None) -> Connection:
        """Take a reader for a thread or a snapshot, waiting until one is free; whoever took it gives it back."""
        await acquire(self._permits, deadline, DatabaseUnavailable.because(f"{self}: all {READERS} readers are taken"))
        try:
            return self._free.pop() if self._free else await self._connect(write=False)
        except BaseException:
            self._permits.release()
            raise

    def give_back(self, connection: Connection) -> None:
        """Return what was borrowed."""
        self._free.append(connection)
        self._permits.release()
