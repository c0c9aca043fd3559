"""What the driver's errors are called above this floor."""

from __future__ import annotations

import re
import sqlite3
from typing import NoReturn

from trivet.core.error import DeadlineExceeded
from trivet.data.database import Contention, DatabaseUnavailable, UniqueViolated

UNIQUE = frozenset(
    {sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, sqlite3.SQLITE_CONSTRAINT_ROWID}
)

UNAVAILABLE = {
    sqlite3.SQLITE_PERM: "this process may not use it: check the permissions of the file",
    sqlite3.SQLITE_READONLY: "it can not be written: check the permissions of the file and of its directory",
    sqlite3.SQLITE_IOERR: "the disk reports an error: check the file system",
    sqlite3.SQLITE_CORRUPT: "the file is damaged: restore it from a backup",
    sqlite3.SQLITE_FULL: "the disk is full: make room",
    sqlite3.SQLITE_CANTOPEN: "it can not be opened: check that its directory exists and that this process may write it",
    sqlite3.SQLITE_PROTOCOL: "its locks do not work: a write-ahead log needs a local file system",
    sqlite3.SQLITE_AUTH: "access was refused: check the permissions of the file",
    sqlite3.SQLITE_NOTADB: "the file is not an SQLite database: name another one",
}
"""What a primary result code (https://sqlite.org/rescode.html) means to whoever runs the process."""


def translated(error: sqlite3.Error, database: object) -> Exception:
    """Return the error of the seam that a driver's error stands for; a bug stays what it is.

    Args:
        error: What the driver raised.
        database: Named in messages for whoever runs the process.
    """
    code = primary(error)
    if getattr(error, "sqlite_errorcode", 0) in UNIQUE:
        return UniqueViolated(columns_of(str(error)))
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return Contention()
    if code == sqlite3.SQLITE_INTERRUPT:
        return DeadlineExceeded()
    if code in UNAVAILABLE:
        return DatabaseUnavailable.because(f"{database}: {UNAVAILABLE[code]} ({error})")
    return error


def reraise(error: BaseException, database: object) -> NoReturn:
    """Raise a driver's error under its name above this floor, and everything else as it is."""
    known = translated(error, database) if isinstance(error, sqlite3.Error) else error
    if known is error:
        raise error
    raise known from error


def primary(error: sqlite3.Error) -> int:
    """Return the primary result code; 0 for what the driver itself raises."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def busy(error: sqlite3.Error) -> bool:
    """Whether another connection is in the way, so that the same may be tried again."""
    return primary(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def interrupted(error: sqlite3.Error) -> bool:
    """Whether the statement was stopped by its meter."""
    return primary(error) == sqlite3.SQLITE_INTERRUPT


def columns_of(message: str) -> tuple[str, ...]:
    """Return the columns that ``UNIQUE constraint failed: t.a, t.b`` names."""
    return tuple(re.findall(r"\.(\w+)", message.partition("failed: ")[2]))
