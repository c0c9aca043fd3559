"""What the driver's and the server's errors are called above this floor.

The server names its errors by five characters (https://www.postgresql.org/docs/current/errcodes-appendix.html), of
which the first two are a class. What is in no table here is a bug of the statement, and stays what it is.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from typing import NoReturn

import asyncpg
from asyncpg.exceptions import TargetServerAttributeNotMatched

from trivet.core.error import DeadlineExceeded
from trivet.data.database import Contention, DatabaseUnavailable, UniqueViolated

CONTENTION = frozenset(
    {
        "40001",  # serialization_failure
        "40P01",  # deadlock_detected
        "55P03",  # lock_not_available
        "55006",  # object_in_use
    }
)
"""Others are in the way: the whole unit of work may run again."""

UNAVAILABLE: Mapping[str, str] = {
    "08": "the connection was lost",
    "53": "the server has no room left: look at its connections, memory and disk",
    "57P01": "the server is shutting down",
    "57P02": "the server crashed and recovers",
    "57P03": "the server is not ready yet: it starts, stops or recovers",
    "57P04": "the database was dropped",
    "57P05": "the server closed an idle connection",
    "58": "the server's disk or operating system reports an error: look at its log",
    "XX001": "the data of the server is damaged: restore it from a backup",
    "XX002": "an index of the server is damaged: REINDEX it",
    "25006": "this server only answers reads, as a standby does: name the primary",
    "25P03": "the transaction was idle for too long",
    "25P04": "the transaction took too long",
    "28": "the server does not let this user in any more: check the user, the password and pg_hba.conf",
    "3D000": "the database does not exist any more",
    "42501": "the user lacks a right",
}
"""What a code or its class means to whoever runs the process."""

WALL = "ExecWithCheckOptions"
"""Where the server refuses a row that a policy does not let in: no right is lacking, the statement is wrong."""

STALE = asyncpg.InvalidCachedStatementError | asyncpg.OutdatedSchemaCacheError
"""The tables changed after the statement was prepared; by now the driver has forgotten what it knew."""

BROKEN = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
"""What the driver raises for a statement on a connection that breaks; the third where the server's farewell is read too
late. Whoever looks after a connection goes on after each of them."""

PASSING = frozenset(
    {
        "53300",  # too_many_connections
        "57P01",  # admin_shutdown
        "57P02",  # crash_shutdown
        "57P03",  # cannot_connect_now
    }
)
"""Beside the class 08: what a server says that goes, comes, or is too busy to let us in."""

NEVER_PASSES = ("unsupported startup parameter", "no such database", "no such user")
"""What a PgBouncer refuses for good under a code of class 08, which is its only one."""

Uniques = Mapping[tuple[str, str], tuple[str, ...]]
"""The columns of unique indexes, by schema and name."""


def translated(error: BaseException, database: object, uniques: Uniques) -> BaseException:
    """Return the error of the seam that an error stands for; a bug stays what it is.

    Args:
        error: What was raised.
        database: Named in messages for whoever runs the process.
        uniques: The columns of unique indexes.
    """
    if isinstance(error, STALE):
        return Contention()
    if isinstance(error, TimeoutError):
        return DeadlineExceeded()
    if isinstance(error, asyncpg.PostgresError):
        return _of_server(error, database, uniques)
    if isinstance(error, asyncpg.InterfaceError) and "closed" in str(error):
        return DatabaseUnavailable.because(f"{database}: the connection was lost ({error})", retry_after=1)
    if isinstance(error, OSError | asyncpg.InternalClientError):  # the latter where a farewell is read too late
        return DatabaseUnavailable.because(f"{database}: the connection was lost ({error})", retry_after=1)
    return error


def _of_server(error: asyncpg.PostgresError, database: object, uniques: Uniques) -> BaseException:
    code = field_of(error, "sqlstate")
    if code == "23505":
        return UniqueViolated(columns_of(error, uniques))
    if code in CONTENTION:
        return Contention()
    if code == "57014":  # query_canceled; what we cancel ourselves never gets here
        return DeadlineExceeded()
    meaning = UNAVAILABLE.get(code) or UNAVAILABLE.get(code[:2])
    if meaning is not None and field_of(error, "server_source_function") != WALL:
        return DatabaseUnavailable.because(f"{database}: {meaning} ({field_of(error, 'message')})", retry_after=1)
    bug: BaseException = error
    return bug


def columns_of(error: asyncpg.PostgresError, uniques: Uniques) -> tuple[str, ...]:
    """Return the columns of the constraint that was violated: by the index's name, or as the detail has them.

    The detail is ``Key (a, b)=(1, 2) already exists.`` in the language of the server.
    """
    known = uniques.get((field_of(error, "schema_name"), field_of(error, "constraint_name")))
    if known is not None:
        return known
    named = re.search(r"\(([^()]*)\)=\(", field_of(error, "detail"))
    if named is not None:
        return tuple(name.strip().strip('"') for name in named[1].split(","))
    return (field_of(error, "constraint_name") or "?",)


def row_of(error: asyncpg.PostgresError, table: str, rows: int) -> int | None:
    """Return which row of a COPY an error is about, counted from 0, where the server says it.

    The context is ``COPY table, line 41``, with the word for line in the language of the server.
    """
    _, named, rest = field_of(error, "context").partition(table)
    number = re.search(r"\d+", rest) if named else None
    row = int(number[0]) - 1 if number is not None else -1
    return row if 0 <= row < rows else None


def field_of(error: asyncpg.PostgresError, name: str) -> str:
    """Return one field of the server's message, empty where it has none; the driver sets them as attributes."""
    value = getattr(error, name, None)
    return value if isinstance(value, str) else ""


def lost(error: BaseException) -> bool:
    """Whether the connection broke before the statement was answered."""
    if isinstance(error, asyncpg.PostgresError):
        return isinstance(error, asyncpg.PostgresConnectionError) or field_of(error, "sqlstate").startswith("57P0")
    if isinstance(error, STALE | TimeoutError):
        return False
    return isinstance(error, OSError | asyncpg.InternalClientError)


def passes(error: BaseException | None) -> bool:
    """Whether what keeps us from a server may pass by itself, because the server or the way to it is down.

    What somebody has to mend first (an address, a password, a right, a table) does not. What a PgBouncer says of the
    server behind it does.

    Args:
        error: What the driver raised.
    """
    if isinstance(error, asyncpg.PostgresError):
        code, said = field_of(error, "sqlstate"), field_of(error, "message")
        return (code in PASSING or code.startswith("08")) and not any(each in said for each in NEVER_PASSES)
    if isinstance(error, asyncpg.InterfaceError):
        return "closed" in str(error)
    if isinstance(error, ssl.SSLError | TargetServerAttributeNotMatched) or "rejected SSL" in str(error):
        return False
    return isinstance(error, OSError | asyncpg.InternalClientError)


def reraise(error: BaseException, database: object, uniques: Uniques) -> NoReturn:
    """Raise an error under its name above this floor, and what has none there as it is."""
    known = translated(error, database, uniques)
    if known is error:
        raise error
    raise known from error
