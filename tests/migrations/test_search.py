"""Tables with rows become searchable, otherwise searchable, and not searchable any more, by revisions of `diff`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest
import sqlalchemy as sa

from tests.data.conftest import KEY, Store
from tests.migrations.test_migrations import database
from trivet.core.module import Module
from trivet.core.page import PageRequest
from trivet.core.shape import Struct
from trivet.data import PUBLIC, Search, Table
from trivet.data.catalog import bind, dialect_of, open_database, schema
from trivet.data.database import DatabaseUnavailable
from trivet.migrations.apply import drop, stamp, upgrade
from trivet.migrations.connection import connected
from trivet.migrations.diff import written
from trivet.migrations.lint import lint
from trivet.migrations.part import Part, parts_of
from trivet.migrations.state import differences
from trivet.settings import DatabaseSettings, Url

V = TypeVar("V")


class Note(Struct):
    id: int
    title: str


class Notes:
    """A release of an app that keeps notes, on a database that is migrated.

    Args:
        url: Of the database.
        directory: Of its revisions.
        search: What it declares.
    """

    def __init__(self, url: str, directory: Path, search: Search | None) -> None:
        self.url = url
        self.module = Module("notes")
        self.table = Table(self.module, Note, key=lambda n: n.id, readable=PUBLIC, writable=PUBLIC, search=search)

        @self.table.listing(order="id")
        def every(note: Note) -> bool:
            return True

        self.every = every
        [_, part] = parts_of([self.module], dialect_of(url))
        self.part = msgspec.structs.replace(part, directory=directory)

    async def migrating(self, work: Callable[[sa.Connection, Part, list[Part]], V]) -> V:
        settings = DatabaseSettings(url=Url(self.url))
        return await connected(settings, lambda connection: work(connection, self.part, [self.part]), alone=True)

    async def differs(self) -> list[str]:
        return await self.migrating(differences)

    async def diff(self) -> str:
        """Write the revision of what has changed, and return what is in it; nothing where there is nothing."""
        found = await self.migrating(written)
        if found is None:
            return ""
        path, content = found
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
        return content

    async def migrate(self) -> None:
        await self.migrating(lambda connection, part, parts: upgrade(connection, parts))

    async def serving(self, work: Callable[[Store], Any], *, create: bool = False) -> Any:
        """Start the app, which checks the tables or creates them, and do something with it."""
        database = open_database(self.url)
        await database.open()
        try:
            plans, faults = bind([self.module], database.dialect, KEY)
            assert not faults
            tables = schema([self.module], database.dialect)
            await (database.create if create else database.check)(tables)
            return await work(Store(database, self.module, plans))
        finally:
            await database.close()

    async def keep(self, id: int, title: str, *, create: bool = False) -> None:
        async def add(store: Store) -> None:
            async with store.writing() as ctx:
                await self.table.insert(ctx, Note(id=id, title=title))

        await self.serving(add, create=create)

    async def found(self, query: str) -> list[int]:
        async def search(store: Store) -> list[int]:
            async with store.reading() as ctx:
                page = await self.table.search(ctx, self.every, query, PageRequest())
            return sorted(note.id for note in page.items)

        found: list[int] = await self.serving(search)
        return found


Releases = Callable[[Search | None], Notes]


@pytest.fixture(params=["sqlite", "postgresql"])
async def releases(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Releases]:
    with database(request.param, tmp_path) as url:
        yield lambda search: Notes(url, tmp_path / "revisions", search)
        await asyncio.sleep(0)


async def test_rows_that_are_there_become_searchable_and_the_release_before_goes_on(releases: Releases) -> None:
    before, after = releases(None), releases(Search("title"))
    await before.diff()
    await before.migrate()
    await before.keep(1, "an old chair")
    with pytest.raises(DatabaseUnavailable, match="trivet db diff"):
        await after.found("chair")
    assert any("search of" in line for line in await after.differs())

    revision = await after.diff()
    assert "CreateSearch" in revision
    assert ("aside=True" in revision and "autocommit_block" in revision) == (after.part.dialect == "postgresql")
    assert lint(after.part) == []
    await after.migrate()
    assert await after.differs() == []
    assert await after.diff() == ""
    assert await after.found("chair") == [1]
    await before.keep(2, "a chair of the release before")
    assert await after.found("chair") == [1, 2]
    await before.keep(3, "Ein größerer CHÂIR, стул")  # other characters go another way
    assert await after.found("chair СТУЛ") == [3]


async def test_what_is_declared_otherwise_is_made_beside_what_the_release_before_searches_with(
    releases: Releases,
) -> None:
    before, after, none = releases(Search("title")), releases(Search("title", language="english")), releases(None)
    await before.diff()
    await before.migrate()
    await before.keep(1, "many chairs")
    revision = await after.diff()
    assert revision.count("op.invoke(CreateSearch(") == revision.count("op.invoke(DropSearch(") == 1
    assert [fault.rule for fault in lint(after.part)] == ["migration-drop"]
    [file] = after.part.directory.glob("0002_*.py")
    expanding = "\n".join(line for line in revision.splitlines() if "invoke(DropSearch(" not in line)
    file.write_text(expanding)  # what goes is for a later release
    await after.migrate()
    assert (await after.found("chair"), await before.found("chair")) == ([1], [])
    await before.keep(2, "a chair")
    assert (await after.found("chairs"), await before.found("chair")) == ([1, 2], [2])

    assert "op.invoke(DropSearch(" in await after.diff()
    await after.migrate()
    assert await after.differs() == []
    with pytest.raises(DatabaseUnavailable, match="not whole"):
        await before.found("chair")
    assert await after.found("chair") == [1, 2]

    assert "op.invoke(DropSearch(" in await none.diff()
    await none.migrate()
    assert await none.differs() == []
    await none.keep(3, "a chair that nobody looks for")


async def test_what_start_creates_is_what_the_first_revision_makes_and_both_are_dropped_whole(
    releases: Releases,
) -> None:
    notes = releases(Search("title"))
    revision = await notes.diff()
    assert "op.create_table" in revision
    assert revision.count("op.invoke(CreateSearch(") == 1
    assert "aside" not in revision
    assert lint(notes.part) == []
    await notes.keep(1, "a chair", create=True)
    assert await notes.found("chair") == [1]
    assert await notes.differs() == []
    assert await notes.migrating(lambda connection, part, parts: stamp(connection, parts)) == ["notes"]
    await notes.migrating(lambda connection, part, parts: drop(connection, parts))
    await notes.migrate()
    assert await notes.differs() == []
    await notes.keep(2, "another chair")
    assert await notes.found("chair") == [2]
    await notes.migrating(lambda connection, part, parts: drop(connection, parts))
    await notes.keep(3, "the last chair", create=True)
    assert await notes.found("chair") == [3]


async def test_a_table_that_a_revision_of_sqlite_makes_anew_is_not_served_without_its_search(tmp_path: Path) -> None:
    notes = Notes(f"sqlite:///{tmp_path}/test.db", tmp_path / "revisions", Search("title"))
    await notes.diff()
    await notes.migrate()
    await notes.keep(1, "a chair")
    [first] = notes.part.directory.glob("0001_*.py")
    head = first.read_text().partition("def upgrade")[0].replace('"0001"', '"0002"').replace("= None", '= "0001"')
    body = 'def upgrade() -> None:\n    with op.batch_alter_table("notes_notes", recreate="always"):\n        pass\n'
    first.with_name("0002_remade.py").write_text(head + body)
    await notes.migrate()
    with pytest.raises(DatabaseUnavailable, match="not whole"):
        await notes.keep(2, "a chair that nobody would find")
    assert await notes.differs() == [f"search of notes_notes is missing ({notes.part.searches[0].searched.name})"]
    await notes.diff()
    await notes.migrate()
    await notes.keep(2, "another chair")
    assert await notes.found("chair") == [1, 2]


async def test_an_attempt_that_was_interrupted_is_made_good_by_the_next(tmp_path: Path) -> None:
    """What CREATE INDEX CONCURRENTLY leaves behind is not valid, and looks as if it were there."""
    with database("postgresql", tmp_path) as url:
        notes = Notes(url, tmp_path / "revisions", Search("title"))
        plain = Notes(url, tmp_path / "revisions", None)
        await plain.diff()
        await plain.migrate()
        await plain.keep(1, "a chair")
        await notes.diff()
        name = notes.part.searches[0].searched.name

        def leave(connection: sa.Connection, part: Part, parts: list[Part]) -> None:
            for sql in notes.part.searches[0].create():
                connection.exec_driver_sql(sql)
            connection.exec_driver_sql(
                f"UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'notes.{name}'::regclass"
            )
            connection.commit()

        await notes.migrating(leave)
        with pytest.raises(DatabaseUnavailable, match="not whole"):
            await notes.found("chair")
        await notes.migrate()
        assert await notes.differs() == []
        assert await notes.found("chair") == [1]
