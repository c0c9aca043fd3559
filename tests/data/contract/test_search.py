"""Rows are found by the words that somebody typed: the same ones on every engine, and only those that they may see."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.data.conftest import KEY, Engine, Opener, Store
from trivet.core.error import InvalidArgument
from trivet.core.module import Module
from trivet.core.page import CursorPage, CursorRequest, PageRequest
from trivet.core.principal import Principal
from trivet.core.shape import Struct
from trivet.data import PUBLIC, Search, Table
from trivet.data.catalog import bind
from trivet.data.search.folding import folded
from trivet.data.search.words import MAX_LENGTH, words_of

ANN = Principal(subject="ann", tenant="a")
BEN = Principal(subject="ben", tenant="b")


class Book(Struct):
    id: int
    title: str
    text: str | None = None
    shelf: str = ""
    owner: str = ""
    tenant: str = "a"
    version: int = 1


class Shelf:
    """A table whose rows are found by their titles and, less so, by their texts."""

    def __init__(self, search: Search | None = None, **options: Any) -> None:
        self.module = Module("books")
        options = {"readable": PUBLIC, "writable": PUBLIC} | options
        searched = search or Search("title", "text")
        self.table = table = Table(self.module, Book, key=lambda b: b.id, search=searched, **options)

        @table.listing(order="-id")
        def every(b: Book, shelf: str | None = None) -> bool:
            return b.shelf == shelf

        self.every = every

    async def found(
        self, store: Store, query: str, who: Principal = ANN, *, size: int = 100, shelf: str | None = None
    ) -> list[int]:
        """Page to the end, and return the keys in the order in which they were found."""
        found: list[int] = []
        token: str | None = None
        async with store.reading(who) as ctx:
            while True:
                request = PageRequest(page_size=size, page_token=token)
                page = await self.table.search(ctx, self.every, query, request, shelf=shelf)
                assert len(page.items) <= size
                found += [book.id for book in page.items]
                token = page.next_page_token
                if token is None:
                    return found


async def filled(store: Opener, shelf: Shelf, *books: Book) -> Store:
    opened = await store(shelf.module)
    async with opened.writing(ANN, unrestricted=True) as ctx:
        await shelf.table.insert_many(ctx, books)
    return opened


TEXTS = {
    1: "Red chair of solid oak",
    2: "Oak table, red and solid",
    3: "The well-known chair-maker's 3.5 mm drill",
    4: "Café Ångström GRÖSSE naïve",
    5: "ΣΟΦΟΣ Σοφός σοφος",
    6: "Красный СТУЛ, Ёлка и йод",
    7: "walnut; walrus & wall",
    8: "chair",
    9: "Cafe\u0301 decomposed",
    10: "ՀԱՅԵՐԵՆ ØRSTED Łódź straße",
    11: "sends mail to ann@example.com from https://example.com/a/b?c=d",
    12: "E\u0301le\u0300ve; x1 1x 1e5 007",
}
CASES: dict[str, tuple[str, list[int]]] = {
    "one word": ("oak", [1, 2]),
    "any case": ("OAK", [1, 2]),
    "all words, in any order": ("table red", [2]),
    "phrase": ('"red chair"', [1]),
    "phrase over punctuation": ('"table red"', [2]),
    "phrase with a hole": ('"red oak"', []),
    "excluded": ("oak -table", [1]),
    "excluded phrase": ('oak -"red chair"', [2]),
    "beginning": ("wal*", [7]),
    "a beginning is no word": ("wal", []),
    "two excluded": ("chair -oak -maker", [8]),
    "hyphen": ("well-known", [3]),
    "parts of a hyphen": ("known", [3]),
    "a minus inside of a word excludes nothing": ("chair-maker", [3]),
    "apostrophe": ("maker's", [3]),
    "number": ("3.5", [3]),
    "marks in the row": ("cafe", [4, 9]),
    "marks in the query": ("càfé", [4, 9]),
    "decomposed query": ("cafe\u0301", [4, 9]),
    "decomposed in the row": ("eleve", [12]),
    "ring": ("angstrom", [4]),
    "umlaut": ("größe", []),
    "umlaut without its sharp s": ("Grösse", [4]),
    "sigma": ("σοφοσ", [5]),
    "tonos is no mark of Latin": ("σοφός", [5]),
    "cyrillic": ("стул", [6]),
    "short i is a letter": ("иод", []),
    "yo is a letter": ("ёлка", [6]),
    "armenian": ("հայերեն", [10]),
    "slashed": ("ørsted", [10]),
    "stroke": ("łodz", [10]),
    "mail": ("ann@example.com", [11]),
    "host": ("example", [11]),
    "path": ("c d", [11]),
    "digits and letters": ("x1 1x", [12]),
    "exponent": ("1e5", [12]),
    "zeros": ("007", [12]),
    "syntax of engines is words": ("oak OR chair", []),
    "punctuation is nothing": ("oak & | ! ( ) : * ^ ~ ' \\", [1, 2]),
    "quote that does not end": ('"solid oak', [1]),
}


@pytest.fixture
async def library(store: Opener) -> tuple[Shelf, Store]:
    shelf = Shelf(Search("title"))
    return shelf, await filled(store, shelf, *(Book(id=id, title=text) for id, text in TEXTS.items()))


async def test_every_engine_finds_the_same_rows(library: tuple[Shelf, Store]) -> None:
    shelf, store = library
    found = {case: sorted(await shelf.found(store, query)) for case, (query, _) in CASES.items()}
    assert found == {case: rows for case, (_, rows) in CASES.items()}


async def test_what_asks_for_nothing_finds_nothing(library: tuple[Shelf, Store]) -> None:
    shelf, store = library
    for query in ("", "   ", "!!! \u2014 \U0001f600", "-oak", '""', "-", "\0", "\ud800"):
        assert await shelf.found(store, query) == [], query


async def test_words_are_bounded_by_the_length_of_the_text_alone(store: Opener) -> None:
    """As many words, phrases, beginnings and exclusions as a text has room for, on each engine."""
    shelf = Shelf(Search("title"))
    words = [first + second for first in "abc" for second in "abcdefghijklmnopqrstuv"]
    opened = await filled(store, shelf, Book(id=1, title=" ".join(words)), Book(id=2, title="aa"))
    queries = {
        "words": (" ".join(words), [1]),
        "a phrase": (f'"{" ".join(words)}"', [1]),
        "beginnings": (" ".join(f"{word}*" for word in words[:50]), [1]),
        "exclusions": (" -".join(["aa", *words[1:50]]), [2]),
    }
    assert {len(query) > 190 for query, _ in queries.values()} == {True}
    found = {case: await shelf.found(opened, query) for case, (query, _) in queries.items()}
    assert found == {case: rows for case, (_, rows) in queries.items()}


def test_what_is_too_long_is_refused() -> None:
    assert len(words_of("a " * (MAX_LENGTH // 2)).wanted) == 1
    with pytest.raises(InvalidArgument) as refused:
        words_of("a" * (MAX_LENGTH + 1))
    assert [violation.pointer for violation in refused.value.violations] == ["#/query"]


WORDS = ["red", "Rëd", "oak", "OAK", "стул", "x1", "über-oak", "a", "the"]
anything = st.text(max_size=40) | st.lists(
    st.sampled_from(
        [*WORDS, '"', "-", "*", "'", "\\", "(", ")", "AND", "NEAR", ":", "{", "^", "+", "\t", "&", "|", "<->"]
    ),
    max_size=12,
).map(" ".join)


@settings(max_examples=60)
@given(query=anything)
def test_whatever_is_typed_has_an_answer(shelf: tuple[Shelf, Store], engine: Engine, query: str) -> None:
    table, store = shelf
    engine.run(table.found(store, query, size=3))


@pytest.fixture(scope="module")
def shelf(engine: Engine) -> tuple[Shelf, Store]:
    """What properties ask, bound once."""
    shelf = Shelf(Search("title"))
    store = engine.run(engine.empty(shelf.module))
    engine.run(put(shelf, store, TEXTS))
    return shelf, store


async def put(shelf: Shelf, store: Store, texts: dict[int, str]) -> None:
    """Keep these rows and no other ones."""
    async with store.writing() as ctx:
        page = await shelf.table.page(ctx, shelf.every, PageRequest(page_size=100))
        for book in page.items:
            await shelf.table.delete(ctx, book.id)
        await shelf.table.insert_many(ctx, [Book(id=id, title=text) for id, text in texts.items()])


letters = st.text(st.sampled_from("aBcé Üøß-'.Яйσς1 \u0301\u2014"), max_size=30)


@settings(max_examples=40)
@given(texts=st.lists(letters, min_size=1, max_size=8), word=letters)
def test_what_a_word_is_does_not_depend_on_the_engine(
    shelf: tuple[Shelf, Store], engine: Engine, texts: list[str], word: str
) -> None:
    """A row has a phrase where its folded words follow each other: what both engines say is what Python says."""
    wanted = folded(word).split()
    assume(wanted)
    rows = [folded(text).split() for text in texts]
    expected = [
        id
        for id, row in enumerate(rows)
        if any(row[at : at + len(wanted)] == wanted for at in range(len(row) - len(wanted) + 1))
    ]
    table, store = shelf
    engine.run(put(table, store, dict(enumerate(texts))))
    assert sorted(engine.run(table.found(store, f'"{word}"'))) == expected


async def test_what_counts_more_comes_first_and_then_the_key(store: Opener) -> None:
    shelf = Shelf(Search("title", "text"))
    opened = await filled(
        store,
        shelf,
        Book(id=1, title="Table", text="goes with an oak chair"),
        Book(id=2, title="Oak chair", text="has four legs"),
        Book(id=3, title="Oak chair", text="has four legs"),
        Book(id=4, title="Table", text="goes with an oak chair"),
        Book(id=5, title="Oak", text=None),
    )
    assert await shelf.found(opened, "oak chair") == [2, 3, 1, 4]
    for size in (1, 2, 3):
        assert await shelf.found(opened, "oak chair", size=size) == [2, 3, 1, 4]


async def test_no_phrase_reaches_from_one_field_into_the_next(store: Opener) -> None:
    shelf = Shelf(Search(("title", "text")))
    opened = await filled(store, shelf, Book(id=1, title="red", text="chair"), Book(id=2, title="", text="red chair"))
    assert await shelf.found(opened, '"red chair"') == [2]
    assert await shelf.found(opened, "red chair") == [2, 1] or await shelf.found(opened, "red chair") == [1, 2]


async def test_whoever_may_not_read_a_row_finds_nothing_of_it_and_learns_nothing_from_ranks(store: Opener) -> None:
    """The order values of a token are no secret: they say the same whatever is hidden from the caller."""
    shelf = Shelf(readable=lambda who, b: (b.owner == who.subject) | who.has("staff"), tenant=lambda b: b.tenant)
    opened = await filled(
        store, shelf, Book(id=1, title="secret oak", owner="ann"), Book(id=2, title="oak", owner="ann")
    )

    async def first() -> tuple[list[int], str | None]:
        async with opened.reading(ANN) as ctx:
            page = await shelf.table.search(ctx, shelf.every, "secret oak*", PageRequest(page_size=1))
            both = await shelf.table.search(ctx, shelf.every, "oak*", PageRequest(page_size=1))
        return [book.id for book in page.items], both.next_page_token

    before = await first()
    async with opened.writing(BEN, unrestricted=True) as ctx:
        hidden = [Book(id=id, title="secret secret oak", owner="ann", tenant="b") for id in range(10, 40)]
        await shelf.table.insert_many(ctx, hidden)
    async with opened.writing(ANN, unrestricted=True) as ctx:
        others = [Book(id=id, title="secret oak oak", owner="eve") for id in range(50, 80)]
        await shelf.table.insert_many(ctx, others)
    assert await first() == before
    assert await shelf.found(opened, "secret") == [1]
    assert (
        len(await shelf.found(opened, "secret", Principal(subject="x", tenant="a", roles=frozenset({"staff"})))) == 31
    )
    assert await shelf.found(opened, "secret", Principal(subject="ann", tenant="c")) == []


async def test_the_conditions_of_the_listing_hold(store: Opener) -> None:
    shelf = Shelf()
    books = [Book(id=id, title="oak", shelf="ab"[id % 2]) for id in range(10)]
    opened = await filled(store, shelf, *books)
    assert await shelf.found(opened, "oak", size=2, shelf="a") == [0, 2, 4, 6, 8]
    assert await shelf.found(opened, "oak", size=3, shelf="c") == []


async def test_a_token_is_good_for_its_own_search_only(store: Opener) -> None:
    shelf = Shelf()
    opened = await filled(store, shelf, *(Book(id=id, title="oak chair") for id in range(5)))
    async with opened.reading() as ctx:
        asked = PageRequest(page_size=2)
        token = (await shelf.table.search(ctx, shelf.every, "oak", asked)).next_page_token
        listed = (await shelf.table.page(ctx, shelf.every, asked)).next_page_token
        following = PageRequest(page_size=2, page_token=token)
        again = await shelf.table.search(ctx, shelf.every, ' "OAK"', following)  # which asks for the same
        assert [book.id for book in again.items] == [2, 3]
        with pytest.raises(InvalidArgument):
            await shelf.table.search(ctx, shelf.every, "chair", following)
        with pytest.raises(InvalidArgument):
            await shelf.table.search(ctx, shelf.every, "oak", following, shelf="a")
        with pytest.raises(InvalidArgument):
            await shelf.table.page(ctx, shelf.every, following)
        with pytest.raises(InvalidArgument):
            await shelf.table.search(ctx, shelf.every, "oak", PageRequest(page_token=listed))


async def test_pages_say_where_each_of_their_rows_is(store: Opener) -> None:
    shelf = Shelf()
    opened = await filled(store, shelf, *(Book(id=id, title="oak") for id in range(4)))
    async with opened.reading() as ctx:
        page = await shelf.table.search(ctx, shelf.every, "oak", CursorRequest(page_size=3, every=True))
        assert isinstance(page, CursorPage)
        assert len(page.cursors) == 3
        after = PageRequest(page_token=page.cursors[0])
        assert [book.id for book in (await shelf.table.search(ctx, shelf.every, "oak", after)).items] == [1, 2, 3]


async def test_what_was_changed_is_found_at_once_and_what_was_undone_is_not(store: Opener) -> None:
    shelf = Shelf()
    opened = await filled(store, shelf, Book(id=1, title="oak chair"), Book(id=2, title="oak table"))
    async with opened.writing() as ctx:
        await shelf.table.update(ctx, Book(id=1, title="pine chair"))
        await shelf.table.delete(ctx, 2)
        await shelf.table.load(ctx, [Book(id=id, title="loaded pine") for id in range(10, 13)])
        page = await shelf.table.search(ctx, shelf.every, "pine", PageRequest())
        assert len(page.items) == 4  # within the transaction, too
    assert await shelf.found(opened, "oak") == []
    assert await shelf.found(opened, "chair") == [1]
    assert sorted(await shelf.found(opened, "pine")) == [1, 10, 11, 12]
    async with opened.writing() as ctx:
        await shelf.table.insert(ctx, Book(id=3, title="undone pine"))
        await ctx._work.session.rollback()
    assert await shelf.found(opened, "undone") == []


async def test_rows_that_are_written_by_hand_are_found(store: Opener) -> None:
    shelf = Shelf()
    opened = await filled(store, shelf, Book(id=1, title="oak"), Book(id=2, title="oak"))
    name = "books_books" if opened.database.dialect == "sqlite" else "books.books"
    by_hand = [
        f"INSERT INTO {name} SELECT 3, 'hand', NULL, '', '', 'a', 1",
        f"UPDATE {name} SET title = 'hand made' WHERE id = 1",
        f"UPDATE {name} SET id = 20 WHERE id = 2",
        f"UPDATE {name} SET version = 7",
    ]
    if opened.database.dialect == "sqlite":
        by_hand.append(f"INSERT OR REPLACE INTO {name} SELECT 3, 'replaced hand', NULL, '', '', 'a', 1")
    async with opened.writing() as ctx:
        driver: Any = await ctx._work.session.driver_connection()
        for sql in by_hand:
            done = driver.execute(sql)
            if opened.database.dialect == "postgresql":
                await done
    assert sorted(await shelf.found(opened, "hand")) == [1, 3]
    assert await shelf.found(opened, "oak") == [20]
    async with opened.writing() as ctx:
        driver = await ctx._work.session.driver_connection()
        done = driver.execute(f"DELETE FROM {name} WHERE id = 1")
        if opened.database.dialect == "postgresql":
            await done
    assert await shelf.found(opened, "hand") == [3]


async def test_endings_are_cut_off_in_english(store: Opener) -> None:
    shelf = Shelf(Search("title", language="english"))
    opened = await filled(store, shelf, Book(id=1, title="Painted chairs"), Book(id=2, title="paints a chair"))
    assert sorted(await shelf.found(opened, "chair")) == sorted(await shelf.found(opened, "CHAIRS")) == [1, 2]
    assert sorted(await shelf.found(opened, "painting chair*")) == [1, 2]


async def test_long_texts_are_kept_and_searched_as_far_as_is_promised(store: Opener) -> None:
    shelf = Shelf(Search("title", "text"))
    long = " ".join(f"{chr(0x4E00 + n)}{chr(0x20000 + n)}" for n in range(15_000))
    opened = await filled(store, shelf, Book(id=1, title=long, text=long), Book(id=2, title="w" * 5_000 + " oak"))
    assert await shelf.found(opened, long[:2]) == [1]
    assert await shelf.found(opened, "oak") == [2]


def test_what_can_not_be_searched_is_said_at_start() -> None:
    class Odd(Struct):
        id: int
        name: str
        tags: tuple[str, ...]
        count: int

    def faults(search: Search, **options: Any) -> str:
        module = Module("odd")
        Table(module, Odd, key=lambda o: o.id, readable=PUBLIC, writable=PUBLIC, search=search, **options)
        return "\n".join(str(fault) for fault in bind([module], "postgresql", KEY)[1])

    assert "no stored field 'nam'" in faults(Search("nam"))
    assert "kept as JSON" in faults(Search("tags"))
    assert "count is int" in faults(Search("count"))
    assert "0 fields" in faults(Search())
    assert "no language 'klingon'" in faults(Search("name", language="klingon"))
    assert "named twice" in faults(Search("name", "name"))
    assert faults(Search("name"), shard_by=lambda o: o.id) == ""


def test_a_listing_of_another_table_is_refused(engine: Engine) -> None:
    one, other = Shelf(), Shelf()
    plain: Table[Book, int] = Table(Module("plain"), Book, key=lambda b: b.id, readable=PUBLIC, writable=PUBLIC)

    @plain.listing(order="id")
    def every(b: Book) -> bool:
        return True

    async def ask(table: Table[Book, int], listing: Any, module: Module) -> None:
        store = await engine.empty(module)
        async with store.reading() as ctx:
            await table.search(ctx, listing, "oak", PageRequest())

    with pytest.raises(TypeError, match="can not be searched"):
        engine.run(ask(one.table, other.every, one.module))
    with pytest.raises(TypeError, match="can not be searched"):
        engine.run(ask(plain, every, plain.module))


@pytest.mark.slow
async def test_of_many_rows_those_that_have_the_words_are_looked_at_through_the_index(store: Opener) -> None:
    """SQLite plans without knowing how many rows there are, and takes longer to index them."""
    shelf = Shelf()
    opened = await store(shelf.module)
    rare = 40
    async with opened.writing() as ctx:
        driver: Any = await ctx._work.session.driver_connection()
        if opened.database.dialect == "sqlite":
            driver.execute(MANY.format(table="books_books", rows=2_000, every=2_000 // rare))
        else:
            await driver.execute(MANY.format(table="books.books", rows=100_000, every=100_000 // rare))
    search = opened.plans[shelf.table].searches[shelf.every]
    query = search.first[0][0]
    async with opened.reading() as ctx:
        form = query.statement.on(opened.database.dialect)
        values = form.arrange(query.values(ctx, (None, search.asked("rare")[1], 20)))
        driver = await ctx._work.session.driver_connection()
        if opened.database.dialect == "sqlite":
            plan = [row[3] for row in driver.execute(f"EXPLAIN QUERY PLAN {form.sql}", values)]
            steps = [step for step in plan if step.startswith(("SCAN", "SEARCH"))]
            assert "VIRTUAL TABLE INDEX" in steps[0], plan
            assert [step.partition(" ")[0] for step in steps[1:3]] == ["SEARCH", "SEARCH"], plan
        else:
            await driver.execute("ANALYZE books.books")
            explained = await driver.fetch(f"EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) {form.sql}", *values)
            plan = [row[0] for row in explained]
            assert any("Bitmap Index Scan on books_search_" in step and f"rows={rare} " in step for step in plan), plan
    assert len(await shelf.found(opened, "rare")) == rare


MANY = """
INSERT INTO {table} (id, title, shelf, owner, tenant, version)
WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < {rows})
SELECT n, CASE WHEN n % {every} = 0 THEN 'rare' ELSE 'usual' END, '', '', 'a', 1 FROM n
"""
