"""What the driver's errors mean above: each known failure has its name, and a bug stays what it is."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest
from asyncpg import exceptions

from trivet.core.error import DeadlineExceeded
from trivet.data.database import Contention, DatabaseUnavailable, UniqueViolated
from trivet.data.postgresql.errors import columns_of, translated

BUGS = {
    "02",  # no data
    "03",  # the statement is not complete
    "09",  # a trigger failed
    "0A",  # not supported
    "0B",
    "0F",
    "0L",
    "0P",
    "0Z",
    "10",
    "20",  # CASE without a case
    "21",  # several rows where one was expected
    "22",  # a value does not fit: encoders refuse those before
    "23",  # a constraint that no table of ours declares
    "24",
    "25",  # the state of the transaction
    "26",
    "27",
    "2B",
    "2D",
    "2F",
    "34",
    "38",
    "39",
    "3B",
    "3F",
    "42",  # the statement names what does not exist
    "44",
    "54",  # the statement is too complex
    "55",
    "57",
    "72",
    "F0",
    "HV",
    "P0",
    "XX",
    "40",
    "01",
    "00",
}
"""Classes of codes that only a wrong statement, or something that this platform does not use, leads to."""


def all_below(error: type[Any]) -> list[type[Any]]:
    return [error, *(each for direct in error.__subclasses__() for each in all_below(direct))]


@pytest.mark.parametrize("error", all_below(asyncpg.PostgresError), ids=lambda error: error.__name__)
def test_every_error_of_the_server_is_one_of_ours_or_a_bug(error: type[asyncpg.PostgresError]) -> None:
    code = getattr(error, "sqlstate", None)
    raised = error("told")
    known = translated(raised, "db", {})
    if known is raised:
        assert code is None or code[:2] in BUGS
    else:
        assert isinstance(known, Contention | DatabaseUnavailable | UniqueViolated | DeadlineExceeded)


@pytest.mark.parametrize(
    ("raised", "meaning"),
    [
        (exceptions.SerializationError, Contention),
        (exceptions.DeadlockDetectedError, Contention),
        (exceptions.LockNotAvailableError, Contention),
        (exceptions.InvalidCachedStatementError, Contention),
        (exceptions.OutdatedSchemaCacheError, Contention),
        (exceptions.UniqueViolationError, UniqueViolated),
        (exceptions.QueryCanceledError, DeadlineExceeded),
        (asyncio.TimeoutError, DeadlineExceeded),
        (exceptions.AdminShutdownError, DatabaseUnavailable),
        (exceptions.ConnectionDoesNotExistError, DatabaseUnavailable),
        (exceptions.TooManyConnectionsError, DatabaseUnavailable),
        (exceptions.ReadOnlySQLTransactionError, DatabaseUnavailable),
        (exceptions.DiskFullError, DatabaseUnavailable),
        (ConnectionResetError, DatabaseUnavailable),
    ],
    ids=lambda each: each.__name__,
)
def test_known_failures_have_their_names(raised: type[Exception], meaning: type[Exception]) -> None:
    assert type(translated(raised("told"), "db", {})) is meaning


@pytest.mark.parametrize(
    "bug", [ValueError("x"), exceptions.UndefinedTableError("x"), exceptions.NotNullViolationError("x")]
)
def test_a_bug_stays_what_it_is(bug: Exception) -> None:
    assert translated(bug, "db", {}) is bug


def violation(**fields: str) -> exceptions.UniqueViolationError:
    error = exceptions.UniqueViolationError("duplicate key value violates unique constraint")
    for name, value in fields.items():
        setattr(error, name, value)
    return error


@pytest.mark.parametrize(
    ("fields", "columns"),
    [
        pytest.param({"schema_name": "shop", "constraint_name": "uq"}, ("sku",), id="by the name of the index"),
        pytest.param(
            {"constraint_name": "other", "detail": "Key (a, b)=(1, (2)=(3) already exists."}, ("a", "b"), id="by detail"
        ),
        pytest.param({"detail": "Schlüssel »(id)=(1)« existiert bereits."}, ("id",), id="in another language"),
        pytest.param({"constraint_name": "other"}, ("other",), id="without a detail"),
    ],
)
def test_a_violation_names_its_columns(fields: dict[str, str], columns: tuple[str, ...]) -> None:
    assert columns_of(violation(**fields), {("shop", "uq"): ("sku",)}) == columns
