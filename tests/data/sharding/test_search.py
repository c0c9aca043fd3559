"""Rows of a sharded table are found by their words as those of one database are: the same ones, in the same order."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.data.conftest import KEY, Store, settings_for
from tests.data.sharding.nodes import nodes_of, opened, three, what_moves
from tests.postgres import empty_database
from trivet.core.module import Module
from trivet.core.page import CursorPage, CursorRequest, PageRequest
from trivet.core.principal import Principal
from trivet.core.shape import Struct
from trivet.core.sharding import logical_of
from trivet.data import PUBLIC, Search, Table
from trivet.data.catalog import bind, open_database, schema
from trivet.data.database import DatabaseUnavailable
from trivet.data.sharding.move import Move
from trivet.data.sharding.session import SecondShard
from trivet.settings import DatabaseSettings, Url

ANN = Principal(subject="ann", tenant="a")
STAFF = Principal(subject="eve", tenant="a", roles=frozenset({"staff"}))

WORDS = ("oak", "pine", "chair", "table", "walnut", "wall", "red", "solid")
QUERIES = ("oak", "oak chair", '"oak chair"', "wal*", "oak -pine", "red solid*", "nothing", "-oak")


class Book(Struct):
    owner: str
    number: int
    title: str
    text: str
    shelf: str = ""


class Shelf:
    """Books, sharded by who owns them or not at all; whoever is not staff sees a book of their own or on no shelf."""

    def __init__(self, **options: Any) -> None:
        self.module = Module("books")
        self.table = table = Table(
            self.module,
            Book,
            key=lambda b: (b.owner, b.number),
            search=Search("title", "text"),
            readable=lambda who, b: (b.shelf == "") | (b.owner == who.subject) | who.has("staff"),
            writable=PUBLIC,
            **options,
        )

        @table.listing(order="number")
        def of_owner(b: Book, owner: str) -> bool:
            return b.owner == owner

        self.of_owner = of_owner
        if options.get("scatter") or not options:

            @table.listing(order="-number")
            def every(b: Book, shelf: str | None = None) -> bool:
                return b.shelf == shelf

            self.every = every

    async def fill(self, store: Store, books: list[Book]) -> Store:
        """Keep these books."""
        for book in books:
            async with store.writing(ANN, unrestricted=True) as ctx:
                await self.table.insert(ctx, book)
        return store

    async def found(
        self,
        store: Store,
        query: str,
        size: int = 100,
        *,
        who: Principal = ANN,
        shelf: str | None = None,
        between: Callable[[], Awaitable[None]] | None = None,
    ) -> list[tuple[str, int]]:
        """Page to the end, and return the keys in the order in which they were found."""
        found: list[tuple[str, int]] = []
        token: str | None = None
        while True:
            async with store.reading(who) as ctx:
                page = await self.table.search(
                    ctx, self.every, query, PageRequest(page_size=size, page_token=token), shelf=shelf
                )
            found += [(book.owner, book.number) for book in page.items]
            assert len(page.items) == size or page.next_page_token is None
            token = page.next_page_token
            if token is None:
                return found
            if between is not None:
                await between()


def sharded() -> Shelf:
    return Shelf(shard_by=lambda b: b.owner, scatter=3)


def some_books(count: int) -> list[Book]:
    """Return books of several owners, of which many fit as well as others."""
    chance = random.Random(4711)

    def words(most: int) -> str:
        return " ".join(chance.choices(WORDS, k=chance.randint(1, most)))

    return [
        Book(owner=f"o{n % 11}", number=n, title=words(3), text=words(8), shelf=chance.choice(["", "", "a", "b"]))
        for n in range(count)
    ]


@asynccontextmanager
async def one(url: str, shelf: Shelf) -> AsyncIterator[Store]:
    """Open one database with the tables of a shelf."""
    database = open_database(url, settings_for(url))
    await database.open()
    try:
        plans, faults = bind([shelf.module], database.dialect, KEY)
        assert not faults, "\n".join(map(str, faults))
        await database.create(schema([shelf.module], database.dialect))
        yield Store(database, shelf.module, plans)
    finally:
        await database.close()


@asynccontextmanager
async def both(engine: str, folder: Path, several: Shelf, whole: Shelf) -> AsyncIterator[tuple[Store, Store]]:
    """Open a table over several nodes, and one that is not sharded."""
    if engine == "sqlite":
        one_file = DatabaseSettings(url=Url(f"sqlite:///{folder}/sharded.db"))
        async with opened(one_file, several.module) as nodes, one(f"sqlite:///{folder}/whole.db", whole) as store:
            yield nodes, store
    else:
        with three() as found, empty_database() as url:
            async with opened(found, several.module) as nodes, one(url, whole) as store:
                yield nodes, store


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
async def test_pages_over_all_shards_are_those_of_one_database(engine: str, tmp_path: Path) -> None:
    several, whole, books = sharded(), Shelf(), some_books(120)
    async with both(engine, tmp_path, several, whole) as (nodes, store):
        await several.fill(nodes, books)
        await whole.fill(store, books)
        if engine == "postgresql":
            held = nodes_of(nodes).directory.nodes
            assert {held[logical_of(book.owner)] for book in books} == {"home", "b", "c"}
        longest = 0
        for query in QUERIES:
            for who in (ANN, STAFF):
                for shelf in (None, "a"):
                    expected = await whole.found(store, query, who=who, shelf=shelf)
                    longest = max(longest, len(expected))
                    for size in (100, 7, 3):
                        found = await several.found(nodes, query, size, who=who, shelf=shelf)
                        assert found == expected, (query, who, shelf, size)
        assert longest > 20
        async with nodes.reading(ANN) as ctx:
            request = CursorRequest(page_size=4, every=True)
            page = await several.table.search(ctx, several.every, "oak", request)
            assert isinstance(page, CursorPage)
            after = await several.table.search(
                ctx, several.every, "oak", PageRequest(page_size=3, page_token=page.cursors[0])
            )
            assert after.items == page.items[1:]


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
async def test_a_search_with_the_shard_key_asks_one_shard_and_needs_no_scatter(engine: str, tmp_path: Path) -> None:
    several, whole, books = Shelf(shard_by=lambda b: b.owner), Shelf(), some_books(60)
    async with both(engine, tmp_path, several, whole) as (nodes, store):
        await several.fill(nodes, books)
        await whole.fill(store, books)
        for owner in ("o1", "o2", "o3", "nobody"):
            async with nodes.reading(ANN) as there, store.reading(ANN) as here:
                found = await several.table.search(there, several.of_owner, "oak", PageRequest(), owner)
                assert (
                    found.items == (await whole.table.search(here, whole.of_owner, "oak", PageRequest(), owner)).items
                )
                assert {book.owner for book in found.items} <= {owner}
        async with nodes.writing(ANN) as ctx:
            await several.table.insert(ctx, Book(owner="o1", number=1000, title="ebony", text=""))
            new = await several.table.search(ctx, several.of_owner, "ebony", PageRequest(), "o1")
            assert [book.number for book in new.items] == [1000], "a transaction finds what it wrote"
            elsewhere = next(f"x{n}" for n in range(9) if logical_of(f"x{n}") != logical_of("o1"))
            with pytest.raises(SecondShard):
                await several.table.search(ctx, several.of_owner, "oak", PageRequest(), elsewhere)


def test_a_search_that_no_shard_has_as_a_whole_is_allowed_by_scatter_only() -> None:
    module = Module("books")
    table = Table(
        module,
        Book,
        key=lambda b: (b.owner, b.number),
        shard_by=lambda b: b.owner,
        search=Search("title"),
        readable=PUBLIC,
        writable=PUBLIC,
    )

    @table.listing(order="number")
    def every(b: Book) -> bool:
        return True

    [fault] = bind([module], "postgresql", KEY)[1]
    assert "listing every reads every shard" in str(fault)


async def test_a_search_asks_no_more_nodes_than_was_declared_and_none_for_nothing() -> None:
    narrow = Shelf(shard_by=lambda b: b.owner, scatter=2)
    with three() as found:
        async with opened(found, narrow.module) as nodes:
            async with nodes.reading() as ctx:
                with pytest.raises(DatabaseUnavailable, match="scatter=2 would have to ask 3 nodes"):
                    await narrow.table.search(ctx, narrow.every, "oak", PageRequest())
                assert (await narrow.table.search(ctx, narrow.every, "-oak", PageRequest())).items == []
            async with nodes.writing() as write:
                with pytest.raises(RuntimeError, match="a command can not read across shards"):
                    await narrow.table.search(write, narrow.every, "oak", PageRequest())


async def test_what_was_found_is_found_once_though_its_shard_moves_between_two_pages() -> None:
    shelf, books = sharded(), some_books(80)
    with three() as found:
        async with opened(found, shelf.module) as nodes, opened(found, shelf.module) as mover:
            await shelf.fill(nodes, books)
            expected = await shelf.found(nodes, "oak", who=STAFF)
            assert len(expected) > 20
            owners = sorted({book.owner for book in books})

            async def move() -> None:
                if owners:
                    await moved(mover, shelf, owners.pop())

            assert await shelf.found(nodes, "oak", 3, who=STAFF, between=move) == expected
            assert await shelf.found(nodes, "oak", who=STAFF) == expected


async def test_searches_are_right_while_shards_change_nodes() -> None:
    shelf, books = sharded(), some_books(40)
    with three() as found:
        async with opened(found, shelf.module) as nodes, opened(found, shelf.module) as mover:
            await shelf.fill(nodes, books)
            expected = await shelf.found(nodes, "oak", who=STAFF)
            mine: Mapping[str, list[int]] = {
                owner: [number for each, number in expected if each == owner] for owner in ("o0", "o1")
            }

            async def moves() -> None:
                for owner in ("o0", "o1", "o2", "o0"):
                    await moved(mover, shelf, owner)

            moving, rounds = asyncio.create_task(moves()), 0
            while not moving.done() or not rounds:
                assert await shelf.found(nodes, "oak", 5, who=STAFF) == expected
                for owner, numbers in mine.items():
                    async with nodes.reading(STAFF) as ctx:
                        page = await shelf.table.search(ctx, shelf.of_owner, "oak", PageRequest(), owner)
                    assert [book.number for book in page.items] == numbers
                rounds += 1
            await moving


async def moved(store: Store, shelf: Shelf, owner: str) -> None:
    """Move the shard of an owner to another node."""
    database, shard = nodes_of(store), logical_of(owner)
    await database.directory.refresh()
    target = next(node for node in database.nodes if node != database.directory.nodes[shard])
    await Move(database.nodes, what_moves(shelf.module), shard, target).run()


async def test_words_that_change_on_a_shard_are_found_at_once_and_moved_ones_where_they_are() -> None:
    shelf = sharded()
    with three() as found:
        async with opened(found, shelf.module) as nodes:
            await shelf.fill(nodes, [Book(owner="o1", number=1, title="oak", text="")])
            await moved(nodes, shelf, "o1")
            async with nodes.writing() as ctx:
                await shelf.table.update(ctx, Book(owner="o1", number=1, title="pine", text=""))
            assert await shelf.found(nodes, "oak") == []
            assert await shelf.found(nodes, "pine") == [("o1", 1)]


@pytest.mark.slow
async def test_in_one_file_the_words_are_looked_at_first_and_then_the_shards(tmp_path: Path) -> None:
    shelf = sharded()
    async with opened(DatabaseSettings(url=Url(f"sqlite:///{tmp_path}/sharded.db")), shelf.module) as nodes:
        await shelf.fill(nodes, [Book(owner=f"o{n}", number=n, title="oak", text="") for n in range(20)])
        search = nodes.plans[shelf.table].searches[shelf.every]
        query = search.all_first[0][0]
        async with nodes.reading() as ctx:
            form = query.statement.on("sqlite")
            values = form.arrange(query.values(ctx, (None, search.asked("oak")[1], 20, list(range(480)))))
            driver = await ctx._work.session.driver_connection()
            plan = [row[3] for row in driver.execute(f"EXPLAIN QUERY PLAN {form.sql}", values)]
        steps = [step for step in plan if step.startswith(("SCAN", "SEARCH"))]
        assert "VIRTUAL TABLE INDEX" in steps[0], plan
        assert [step.partition(" ")[0] for step in steps[1:3]] == ["SEARCH", "SEARCH"], plan
        assert not any("_shard=" in step for step in steps), plan
