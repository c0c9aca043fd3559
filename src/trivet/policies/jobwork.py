"""Jobs: a unit of work that reads, reports its progress and writes a file, and holds no transaction."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from trivet.blobs.rows import MEDIA_TYPES, writer
from trivet.blobs.store import About
from trivet.contracts.jobs import FILE_PATH
from trivet.core.call import Call
from trivet.core.declaration import Declaration
from trivet.core.job import FILE_NAME, File
from trivet.data.database import Database, Snapshot
from trivet.data.groups import in_groups
from trivet.data.streamed import Streamed
from trivet.messaging.runner import Progress
from trivet.policies.work import UnitOfWork
from trivet.runtime import Runtime


class JobWork(UnitOfWork):
    """The unit of work of a job: it reads, reports its progress, and each of its commands has a work of its own."""

    __slots__ = ("_file", "_held", "_progress")

    def __init__(self, runtime: Runtime, call: Call, declaration: Declaration, progress: Progress) -> None:
        super().__init__(runtime, call, declaration, writes=False)
        self._progress = progress
        self._held: Snapshot | None = None
        self._file = False

    def snapshot(self) -> AbstractAsyncContextManager[Snapshot] | None:
        """Return the store as of one instant, where this job does not hold one and the process may hold any."""
        database = self.runtime.open_database()
        return self._snapshot(database) if database.snapshots and self._held is None else None

    @asynccontextmanager
    async def _snapshot(self, database: Database) -> AsyncIterator[Snapshot]:
        held = self._held = database.snapshot()
        held.tenant = self.tenant
        try:
            async with self.runtime.snapshots:
                try:
                    yield held
                finally:
                    await held.close()
        finally:
            self._held = None

    async def export(self, rows: AsyncIterable[Any], name: str, total: int | None, shape: type[Any] | None) -> File:
        """Write the job's file; it has the job's id.

        Raises:
            ValueError: The name is not fit for a file.
            TypeError: It is a CSV of rows whose shape is not known.
            RuntimeError: The job has one already, or does not say that it returns one.
        """
        named = FILE_NAME.fullmatch(name)
        if named is None:
            raise ValueError(
                f"{name!r}: a file is named with letters, digits, '.', '_', '-' and ends in .csv or .ndjson"
            )
        if self._file or self.runtime.blobs is None:
            raise RuntimeError("a job has one file, and says so: write `-> File`, and return what ctx.export returns")
        self._file = True
        id, media_type = UUID(self.root.idempotency_key), MEDIA_TYPES[named[1]]
        expires = self.runtime.clock.now() + timedelta(seconds=self.runtime.settings.blobs.keep)
        about = About(name=name, media_type=media_type, expire_time=expires, tag=uuid4().hex)
        if shape is None and isinstance(rows, Streamed):
            shape = rows.shape
        write, done = writer(named[1], shape), 0
        async with self.runtime.blobs.write(id, about) as blob, aclosing(in_groups(rows)) as groups:
            await blob.write(write(()))
            async for group in groups:
                await blob.write(write(group))
                done += len(group)
                self._progress(done, total)
        path = FILE_PATH.format(id=id)
        return File(name=name, media_type=media_type, size=blob.size, rows=done, path=path, expire_time=expires)

    async def close(self) -> None:
        """Return what is borrowed, also what a stream holds that was left before its end."""
        if self._held is not None:
            await self._held.close()
        await super().close()

    def progress(self, done: int, total: int | None) -> None:
        """Record how far the job is."""
        self._progress(done, total)
