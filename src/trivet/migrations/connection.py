"""A connection on which migrations run: to the same place as the app's, with other rules.

Statements take as long as they take, but wait only a few seconds for locks: a migration that queues behind a long
transaction makes everybody else queue behind itself. One process migrates at a time; the others wait and then find
nothing to do.
"""

from __future__ import annotations

import asyncio
import fcntl
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from trivet.core.backoff import full_jitter
from trivet.data.catalog import dialect_of, sqlite_file
from trivet.data.database import DatabaseUnavailable
from trivet.settings import DatabaseSettings

if TYPE_CHECKING:
    import sqlalchemy as sa
    from sqlalchemy.exc import DBAPIError

T = TypeVar("T")

MIGRATING = 0x7472_6976_6577
"""The advisory lock of whoever migrates: what comes after the platform's other ones."""

LOCK_SECONDS = 5
"""How long a statement waits for a lock before it is tried again later."""

ATTEMPTS = 10
FIRST_SECONDS, LONGEST_SECONDS = 2.0, 15.0

LOOK_SECONDS = 0.2
"""The pause between two looks whether the other process is done."""

BUSY_SECONDS = 60
"""How long SQLite waits for the transaction of another process."""

WAITING = "another process migrates; waiting for it"

Say = Callable[[str], None]


async def connected(
    settings: DatabaseSettings, work: Callable[[sa.Connection], T], *, alone: bool = False, say: Say = lambda _: None
) -> T:
    """Run synchronous work on a connection of SQLAlchemy.

    Args:
        settings: Where the database is.
        work: Is run again, after a pause, while locks are in its way; so what it committed it must not do twice.
        alone: Whether no other process may do so meanwhile.
        say: Told why it takes longer.

    Returns:
        What the work returned.

    Raises:
        DatabaseUnavailable: It can not be reached, or the locks stayed in the way.
    """
    if dialect_of(settings.url.reveal()) == "sqlite":
        return await asyncio.to_thread(_on_sqlite, settings, work, alone, say)
    return await _on_postgresql(settings, work, alone, say)


def _on_sqlite(settings: DatabaseSettings, work: Callable[[sa.Connection], T], alone: bool, say: Say) -> T:
    """Do it on a file; whoever only looks creates none, and is in nobody's way."""
    import sqlalchemy as sa
    from sqlalchemy import event, exc

    path = sqlite_file(settings.url.reveal())
    if path is None:
        raise DatabaseUnavailable.because(
            "a private temporary database has nothing to migrate: name a file, DATABASE_URL=sqlite:///FILE"
        )
    name = str(path) if alone or path.exists() else ":memory:"

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(name, timeout=BUSY_SECONDS, isolation_level=None)

    def begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE" if alone else "BEGIN")

    engine = sa.create_engine("sqlite://", creator=connect, poolclass=sa.NullPool)
    event.listen(engine, "begin", begin)
    try:
        with _file_alone(path, say) if alone else nullcontext(), engine.connect() as connection:
            return work(connection)
    except (exc.OperationalError, OSError) as error:
        raise DatabaseUnavailable.because(f"sqlite:///{path}: {getattr(error, 'orig', error)}") from error


@contextmanager
def _file_alone(path: Path, say: Say) -> Iterator[None]:
    """Hold a lock on the file that only those who migrate look at (flock, which SQLite does not use)."""
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(WAITING)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


async def _on_postgresql(settings: DatabaseSettings, work: Callable[[sa.Connection], T], alone: bool, say: Say) -> T:
    import sqlalchemy as sa
    from sqlalchemy import exc
    from sqlalchemy.ext.asyncio import create_async_engine

    from trivet.data.postgresql.address import address_of

    if settings.pgbouncer:
        raise DatabaseUnavailable.because(
            "migrations need a connection of their own: name the server itself with DATABASE_URL, not its PgBouncer, "
            "and set TRIVET_DATABASE__PGBOUNCER=false for this command"
        )
    plain = address_of(settings.url.reveal(), settings, "trivet db")
    address = msgspec.structs.replace(
        plain,
        server_settings={
            "application_name": "trivet db",
            "timezone": "UTC",
            "lock_timeout": f"{LOCK_SECONDS}s",
            "trivet.all_tenants": "on",  # or a revision that changes rows would find none, and say nothing
        },
    )
    engine = create_async_engine("postgresql+asyncpg://", async_creator=address.connect, poolclass=sa.NullPool)
    guard = await address.connect() if alone else None
    try:
        if guard is not None:
            await _alone(guard, say)
        for attempt in range(1, ATTEMPTS + 1):
            try:
                async with engine.connect() as connection:
                    return await connection.run_sync(work)
            except exc.DBAPIError as error:
                if not is_locked(error):
                    raise
                if attempt == ATTEMPTS:
                    raise DatabaseUnavailable.because(
                        f"{address.shown}: other transactions held the tables at each of {ATTEMPTS} attempts: "
                        "end what runs long (pg_stat_activity has it, by xact_start), and migrate again"
                    ) from error
                pause = full_jitter(attempt, FIRST_SECONDS, LONGEST_SECONDS)
                say(f"a lock was not to be had within {LOCK_SECONDS} s; again in {pause:.1f} s")
                await asyncio.sleep(pause)
        raise AssertionError("the last attempt returned or raised")
    finally:
        if guard is not None:
            guard.terminate()
        await engine.dispose()


def is_locked(error: DBAPIError) -> bool:
    """Whether a statement waited in vain for a lock (``lock_not_available``)."""
    return getattr(error.orig, "sqlstate", None) == "55P03"


async def _alone(guard: Any, say: Say) -> None:
    ask = f"SELECT pg_try_advisory_lock({MIGRATING})"
    if await guard.fetchval(ask):
        return
    say(WAITING)
    # A statement that waits has a snapshot, for whose end CREATE INDEX CONCURRENTLY waits: both would wait for ever.
    while not await guard.fetchval(ask):  # noqa: ASYNC110 - so the server is asked again instead
        await asyncio.sleep(LOOK_SECONDS)
