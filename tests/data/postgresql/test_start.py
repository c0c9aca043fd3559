"""What can be wrong with a server is found at start, and said so that one knows what to do."""

from __future__ import annotations

import asyncio
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.postgres import Server, empty_database, server
from trivet.data import catalog
from trivet.data.catalog import dialect_of, open_database
from trivet.data.database import Database, DatabaseUnavailable
from trivet.data.postgresql import database as databases
from trivet.settings import DatabaseSettings

SECRET = "s3cr3t%2Fword"

THINGS = sa.Table(
    "things",
    sa.MetaData(),
    sa.Column("id", sa.BigInteger, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    schema="store",
)


@pytest.fixture
def url() -> Iterator[str]:
    with empty_database() as url:
        yield url


@asynccontextmanager
async def opened(url: str, **settings: object) -> AsyncIterator[Database]:
    database = open_database(url, DatabaseSettings(**settings))  # type: ignore[arg-type]  # one test's few
    await database.open()
    try:
        yield database
    finally:
        await database.close()


async def why_not(url: str) -> str:
    database = open_database(url)
    with pytest.raises(DatabaseUnavailable) as refused:
        await database.open()
    said = f"{refused.value!s} {refused.value!r} {database!r} {refused.value.__cause__!s} {refused.value.__context__!r}"
    assert "s3cr3t" not in said
    return str(refused.value.args[0])


@pytest.fixture
def nowhere() -> Iterator[int]:
    """A port where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


async def test_nobody_listens(nowhere: int) -> None:
    said = await why_not(f"postgresql://ann:{SECRET}@127.0.0.1:{nowhere}/shop")
    assert said.startswith(f"postgresql://ann@127.0.0.1:{nowhere}/shop: nobody listens there: start the server")


async def test_a_host_that_does_not_exist() -> None:
    assert "can not be resolved" in await why_not(f"postgresql://ann:{SECRET}@nowhere.invalid/shop")


async def test_a_socket_that_does_not_exist() -> None:
    assert "nobody listens there" in await why_not(f"postgresql://ann:{SECRET}@/shop?host=/nonexistent")


async def test_a_server_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trivet.data.postgresql.address.CONNECT_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        said = await why_not(f"postgresql://ann:{SECRET}@127.0.0.1:{silent.getsockname()[1]}/shop?sslmode=disable")
    assert "no answer within 0.2 s" in said


async def test_a_server_without_tls_where_tls_is_asked_for() -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(8)
        writer.write(b"N")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        assert "sslmode=disable" in await why_not(f"postgresql://ann:{SECRET}@127.0.0.1:{port}/shop?sslmode=require")


@pytest.mark.parametrize("password", [SECRET, None], ids=["a wrong password", "none"])
async def test_a_password_that_is_not_right(password: str | None) -> None:
    shared = server()
    if not shared.run("SELECT 1 FROM pg_roles WHERE rolname = 'locked'"):
        shared.run("CREATE ROLE locked LOGIN PASSWORD 'right'")
    said = await why_not(shared.url(user="locked", password=password or ""))
    assert "locked" in said
    assert "DATABASE_URL" in said or "check the user" in said or "password" in said


async def test_a_password_with_special_characters_is_right() -> None:
    shared = server()
    shared.run("DROP ROLE IF EXISTS locked")
    shared.run("CREATE ROLE locked LOGIN PASSWORD 'a@b:c/d%e'")
    for written in ("a%40b%3Ac%2Fd%25e", "a@b%3Ac%2Fd%25e"):
        async with opened(shared.url(user="locked", password=written)) as database:
            await database.ping()


async def test_a_user_that_does_not_exist() -> None:
    assert "nobody_at_all" in await why_not(server().url(user="nobody_at_all", password=SECRET))


async def test_a_database_that_does_not_exist() -> None:
    assert "createdb missing" in await why_not(server().url("missing", password=SECRET))


async def test_a_parameter_that_the_server_does_not_know() -> None:
    assert "check the parameters in DATABASE_URL" in await why_not(server().url(password=SECRET, colour="blue"))


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://ann:{SECRET}@host:port/shop",
        f"postgresql://ann:{SECRET}@[::1/shop",
        f"postgres://a:{SECRET}@h/d?x",
    ],
)
def test_a_url_that_can_not_be_read_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(
        ValueError, match="can not be read: write postgresql://user:password@host:5432/database"
    ) as said:
        open_database(url)
    assert "s3cr3t" not in str(said.value)


def test_a_driver_in_the_url_is_not_needed() -> None:
    with pytest.raises(ValueError, match="the driver is not named: write postgresql://"):
        dialect_of("postgresql+asyncpg://ann@host/shop")


def test_without_its_driver_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'trivet\[postgres\]'"):
        open_database("postgresql://host/shop")


async def test_an_old_server(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(databases, "OLDEST", 99)
    assert "is PostgreSQL 17; Trivet needs 99 or newer" in await why_not(url)


@pytest.mark.integration
async def test_a_standby_given_as_the_primary() -> None:
    shared = server()
    copy = Path(tempfile.mkdtemp(prefix="trivet-pg-"))
    try:
        shutil.chown(copy, "nobody") if copy.owner() == "root" else None
        command = shared._words(
            "pg_basebackup", "-h", str(shared.directory), "-U", "postgres", "-D", "data", "-R", "-c", "fast"
        )
        await asyncio.to_thread(subprocess.run, command, cwd=copy, check=True, capture_output=True)
        standby = await asyncio.to_thread(Server, 17, base=copy)
        assert "is a standby, which can not be written: name the primary" in await why_not(standby.url())
        await asyncio.to_thread(standby.stop, signal.SIGQUIT)
    finally:
        shutil.rmtree(copy, ignore_errors=True)


# -- tables


async def test_tables_that_do_not_exist_are_named(url: str) -> None:
    async with opened(url) as database:
        with pytest.raises(DatabaseUnavailable, match=r"has no table store\.things\. Name the right database"):
            await database.check([THINGS])
        await database.create([THINGS])
        await database.check([THINGS])


async def test_a_table_of_another_shape_is_named_with_what_it_lacks(url: str) -> None:
    other = sa.Table("things", sa.MetaData(), sa.Column("id", sa.BigInteger), sa.Column("old", sa.Text), schema="store")
    async with opened(url) as database:
        await database.create([other])
        for use in (database.create, database.check):
            with pytest.raises(
                DatabaseUnavailable, match=r"table store\.things was made from another shape; it lacks name"
            ):
                await use([THINGS])


async def test_rights_that_lack_are_named_with_the_statement_that_gives_them(url: str) -> None:
    shared, name = server(), url.partition("@/")[2].partition("?")[0]
    shared.run("DROP ROLE IF EXISTS poor")
    shared.run("CREATE ROLE poor LOGIN")
    poor = shared.url(name, user="poor")
    try:
        async with opened(poor) as database:
            with pytest.raises(
                DatabaseUnavailable, match=rf"poor may not create tables .* GRANT CREATE ON DATABASE {name} TO poor"
            ):
                await database.create([THINGS])
        async with opened(url) as database:
            await database.create([THINGS])
        async with opened(poor) as database:
            with pytest.raises(DatabaseUnavailable, match="GRANT USAGE ON SCHEMA store TO poor"):
                await database.check([THINGS])
            shared.run("GRANT USAGE ON SCHEMA store TO poor", name)
            with pytest.raises(
                DatabaseUnavailable, match=r"GRANT SELECT, INSERT, UPDATE, DELETE ON store\.things TO poor"
            ):
                await database.check([THINGS])
            shared.run("GRANT ALL ON store.things TO poor", name)
            with pytest.raises(
                DatabaseUnavailable, match="GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA store TO poor"
            ):
                await database.check([THINGS])
            shared.run("GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA store TO poor", name)
            await database.check([THINGS])
    finally:
        shared.run("DROP OWNED BY poor", name)
        shared.run("DROP ROLE poor")


async def test_many_processes_may_create_the_same_tables_at_once(url: str) -> None:
    async def create() -> None:
        async with opened(url) as database:
            await database.create([THINGS])
            await database.check([THINGS])

    await asyncio.gather(*(create() for _ in range(8)))
