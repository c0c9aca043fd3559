"""An outbox of one table becomes one in partitions: nothing is lost, and the release before goes on working."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa

from tests.postgres import run_on, server
from trivet.migrations.apply import upgrade
from trivet.migrations.connection import connected
from trivet.migrations.part import Part, parts_of
from trivet.migrations.state import differences, state_of
from trivet.settings import DatabaseSettings, Url

pytestmark = pytest.mark.slow

STORE = """
INSERT INTO trivet.trivet_outbox (position, id, kind, type, major, module, aggregate, create_time, request_id, payload)
SELECT CASE WHEN pg_current_xact_id() IS NOT NULL THEN nextval('trivet.trivet_outbox_position_seq') END,
    'i', 'event', 't', 1, 'm', n::text, 1, 'r', '' FROM generate_series(1, {}) AS n RETURNING position
"""
"""What the release before ran."""


ROLE = "tenant_app"


@pytest.fixture(params=[17, 18])
def urls(request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    """An empty database as its owner has it, and as an app has it that may use what it is granted."""
    shared = server(request.param)
    with shared.database() as name:
        shared.run(f"DROP ROLE IF EXISTS {ROLE}")
        shared.run(f"CREATE ROLE {ROLE} LOGIN")
        try:
            yield shared.url(name), shared.url(name, user=ROLE)
        finally:
            shared.run(f"DROP OWNED BY {ROLE}", name)
            shared.run(f"DROP ROLE {ROLE}")


def migrated(url: str, part: Part) -> tuple[int, list[str]]:
    """Apply what there is, and return how much that was and what is different from the shapes afterwards."""

    def work(connection: sa.Connection) -> tuple[int, list[str]]:
        count = upgrade(connection, [part])
        assert not state_of(connection, part, [part]).pending
        return count, differences(connection, part, [part])

    return asyncio.run(connected(DatabaseSettings(url=Url(url)), work, alone=True))


def test_what_was_stored_stays_where_it_was_and_the_release_before_goes_on(
    urls: tuple[str, str], tmp_path: Path
) -> None:
    owner, app = urls
    [part] = parts_of([], "postgresql")
    shutil.copytree(part.directory, tmp_path / "before", ignore=shutil.ignore_patterns("000[45]_*", "__pycache__"))
    assert migrated(owner, msgspec.structs.replace(part, directory=tmp_path / "before"))[0] == 3
    for grant in (
        "USAGE ON SCHEMA trivet",
        "SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA trivet",
        "USAGE, SELECT ON ALL SEQUENCES IN SCHEMA trivet",
    ):
        run_on(owner, f"GRANT {grant} TO {ROLE}")
    assert len(run_on(app, STORE.format(1000))) == 1000
    assert migrated(owner, part) == (2, [])
    assert run_on(owner, "SELECT count(*), max(position) FROM trivet.trivet_outbox_0") == [(1000, 1000)]
    assert run_on(app, STORE.format(2)) == [(1001,), (1002,)]
    assert run_on(app, "SELECT count(*) FROM trivet.trivet_outbox WHERE position > 999") == [(3,)]
    gone = "DELETE FROM trivet.trivet_outbox WHERE position > 0 AND position <= 500 RETURNING 1"
    assert len(run_on(app, gone)) == 500
    checks = "SELECT conname FROM pg_constraint WHERE conrelid = 'trivet.trivet_outbox_0'::regclass AND contype = 'c'"
    assert run_on(owner, checks) == []
    assert migrated(owner, part) == (0, [])
