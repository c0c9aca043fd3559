"""What is refused at start, so that no process works beside a wall that has a hole."""

from __future__ import annotations

from typing import Any

import pytest

from tests.data.conftest import OWNER, Store
from tests.data.postgresql.rowsecurity.book import BLUE, BOOK, EVERY, RED, Note, name_of, opened, session_for
from tests.postgres import empty_database, run_on, server
from trivet.data.catalog import open_database, schema
from trivet.data.database import DatabaseUnavailable
from trivet.settings import DatabaseSettings

pytestmark = pytest.mark.integration


async def why_not(url: str, **more: Any) -> str:
    with pytest.raises(DatabaseUnavailable) as refused:
        await opened(url, **more)
    return str(refused.value.args[0])


async def checked(url: str, **more: Any) -> str | None:
    """Check the tables as a worker in production does, and return why it does not start."""
    database = open_database(url, DatabaseSettings(**{"row_security": "on", **more}))
    await database.open()
    try:
        await database.check(schema([BOOK.module], "postgresql"))
    except DatabaseUnavailable as refused:
        return str(refused.args[0])
    finally:
        await database.close()
    return None


async def test_a_user_whom_it_does_not_hold_is_refused() -> None:
    with empty_database() as url:
        said = await why_not(url)
        assert "postgres is a superuser, whom row-level security does not hold" in said
        assert "connect as a role without SUPERUSER and BYPASSRLS" in said
        assert run_on(url, "SELECT 1 FROM pg_namespace WHERE nspname = 'book'") == [], "nothing was created"
    server().run("DROP ROLE IF EXISTS passer")
    server().run("CREATE ROLE passer LOGIN BYPASSRLS")
    with empty_database(owner="passer") as url:
        assert "passer has BYPASSRLS" in await why_not(url)
    server().run("DROP ROLE passer")


WRONG = {
    "no policy": ("DROP POLICY trivet_tenant ON book.notes", "lacks the policy trivet_tenant"),
    "not enabled": ("ALTER TABLE book.notes DISABLE ROW LEVEL SECURITY", "does not have row-level security enabled"),
    "not forced": ("ALTER TABLE book.notes NO FORCE ROW LEVEL SECURITY", "does not hold for the table's owner"),
    "another condition": ("ALTER POLICY trivet_tenant ON book.notes USING (true)", "says something else: USING (true)"),
    "another check": ("ALTER POLICY trivet_tenant ON book.notes WITH CHECK (true)", "WITH CHECK (true)"),
    "of one role": (f"ALTER POLICY trivet_tenant ON book.notes TO {OWNER}", "says something else"),
    "a door beside it": ("CREATE POLICY staff ON book.notes USING (true)", "a further permissive policy, staff"),
}


@pytest.mark.parametrize(("sql", "said"), WRONG.values(), ids=WRONG)
async def test_a_wall_with_a_hole_is_refused(store: Store, url: str, sql: str, said: str) -> None:
    assert await checked(url) is None
    run_on(url, sql)
    refused = await checked(url)
    assert refused is not None
    assert said in refused
    assert "trivet db diff" in refused
    assert await checked(url, row_security="prepare") is None


async def test_a_narrower_policy_of_the_teams_own_is_no_hole(store: Store, url: str) -> None:
    run_on(url, "CREATE POLICY office ON book.notes AS RESTRICTIVE USING (name <> 'secret')")
    assert await checked(url) is None


async def test_a_default_that_says_for_whom_is_refused(store: Store, url: str) -> None:
    server().run(f"ALTER DATABASE {name_of(url)} SET trivet.all_tenants = 'on'")
    assert "trivet.all_tenants has a default" in str(await checked(url))
    session = session_for(store, "red")  # told both, whatever the default is
    assert [id for id, _ in await session.fetch(EVERY, ())] == [0, 2]


async def test_an_app_that_says_nothing_does_not_start_where_the_wall_stands(store: Store, url: str) -> None:
    refused = str(await checked(url, row_security="off"))
    assert "TRIVET_DATABASE__ROW_SECURITY=on" in refused
    superuser = url.replace(f"//{OWNER}@", "//postgres@")
    assert await checked(superuser, row_security="off") is None, "a user whom it does not hold sees its rows as ever"


@pytest.mark.parametrize("major", [17, 18])
async def test_in_development_the_setting_makes_the_wall_and_takes_it_down(major: int) -> None:
    with empty_database(major, OWNER) as url:
        for security, walls in (
            ("off", 0),
            ("on", 1),
            ("on", 1),
            ("prepare", 1),
            ("off", 0),
            ("prepare", 1),
            ("on", 1),
        ):
            store = await opened(url, row_security=security)
            await store.database.close()
            found = run_on(url, "SELECT count(*) FROM pg_policies")
            assert found == [(walls,)]
            if walls:
                assert await checked(url) is None
            forced = "SELECT relrowsecurity, relforcerowsecurity FROM pg_class WHERE oid = 'book.notes'::regclass"
            assert run_on(url, forced) == [(bool(walls), bool(walls))]


async def test_an_app_that_is_prepared_works_with_the_policies_and_without(url: str) -> None:
    for security in ("off", "on"):
        made = await opened(url, row_security=security)
        await made.database.close()
        prepared = await opened(url, row_security="prepare")
        await made_by(prepared, 500 if security == "on" else 400)
        await prepared.database.close()


async def made_by(store: Store, id: int) -> None:
    async with store.writing(RED) as ctx:
        await BOOK.notes.insert(ctx, Note(id=id, org="red", name="x"))
        await BOOK.notes.load(ctx, [Note(id=id + 1, org="red", name="x")])
    async with store.reading(RED) as ctx:
        assert None not in await BOOK.notes.get_many(ctx, [id, id + 1])
    async with store.reading(BLUE) as ctx:
        assert await BOOK.notes.get_many(ctx, [id, id + 1]) == [None, None]
