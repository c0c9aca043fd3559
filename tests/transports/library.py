"""A library in memory: the application that the tests of transports talk to. It has every kind of face."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated, Any, NewType
from uuid import UUID

from trivet import (
    About,
    AlreadyExists,
    Deprecated,
    Example,
    FailedPrecondition,
    Meta,
    Module,
    Money,
    NotFound,
    Page,
    PageRequest,
    Patch,
    QuotaExceeded,
    Read,
    Run,
    Struct,
    Unavailable,
    Write,
)
from trivet.contracts.describe import describe
from trivet.contracts.graphql.read import graph_of
from trivet.contracts.proto.package import contract_of
from trivet.core.fault import NOWHERE
from trivet.core.principal import Principal
from trivet.policies.chain import bind_all
from trivet.runtime import Runtime
from trivet.settings import Settings
from trivet.telemetry.log import Sink
from trivet.transports.front import Front

BookId = NewType("BookId", UUID)
AuthorId = NewType("AuthorId", UUID)
Title = Annotated[str, Meta(min_length=1, max_length=40, examples=["Persuasion"])]
Tag = Annotated[str, Meta(max_length=20)]
Name = Annotated[str, Meta(max_length=80)]


class Genre(enum.Enum):
    """What kind of book it is."""

    NOVEL = "NOVEL"
    POEMS = "POEMS"


class Author(Struct):
    """Who writes books."""

    id: AuthorId
    name: Name


class Chapter(Struct):
    """A part of a book."""

    title: Title
    author_id: AuthorId


class Book(Struct):
    """Something to read."""

    id: BookId
    title: Title
    author_id: AuthorId
    genre: Genre
    price: Money
    tags: Annotated[tuple[Tag, ...], Meta(max_length=5)] = ()
    chapters: Annotated[tuple[Chapter, ...], Meta(max_length=200)] = ()
    create_time: datetime


class NewBook(Struct):
    """What a client says about a book."""

    title: Title
    author_id: AuthorId
    genre: Genre = Genre.NOVEL
    price: Money
    tags: Annotated[tuple[Tag, ...], Meta(max_length=5)] = ()


class TitleTaken(AlreadyExists):
    """A book with this title exists already."""

    taken: Title


class BookLent(FailedPrecondition):
    """The book is lent."""

    until: date


class TooManyLoans(QuotaExceeded):
    """The reader has borrowed enough for now."""


class ArchiveClosed(Unavailable):
    """The archive is closed."""


def book_id(number: int) -> BookId:
    return BookId(UUID(int=number))


def author_id(number: int) -> AuthorId:
    return AuthorId(UUID(int=1000 + number))


AUSTEN, POE = author_id(1), author_id(2)
NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
AUTHORS = {AUSTEN: Author(id=AUSTEN, name="Austen"), POE: Author(id=POE, name="Poe")}


def book(number: int, author: AuthorId = AUSTEN) -> Book:
    return Book(
        id=book_id(number),
        title=f"Volume {number}",
        author_id=author,
        genre=Genre.NOVEL,
        price=Money(amount=Decimal("9.50"), currency="EUR"),
        tags=("old",),
        chapters=(Chapter(title="One", author_id=author), Chapter(title="Two", author_id=POE)),
        create_time=NOW,
    )


BOOKS = {book_id(n): book(n, AUSTEN if n % 2 else POE) for n in range(1, 6)}


class Journal:
    """What happened while the tests looked elsewhere."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.closed = asyncio.Event()
        self.cancelled = asyncio.Event()


class Library:
    """The modules of the library and what they did."""

    def __init__(self) -> None:
        self.journal = Journal()
        self.books = books_module(self.journal)
        self.authors = self.books.uses[0]

    @property
    def modules(self) -> list[Module]:
        return [self.authors, self.books]


def authors_module() -> Module:
    authors = Module("authors", version="1.2.0", owner="library team")

    @authors.query(public=True, raises=[NotFound])
    async def get_author(ctx: Read, id: AuthorId) -> Author:
        """Return one author."""
        if id not in AUTHORS:
            raise NotFound
        return AUTHORS[id]

    @authors.query(public=True)
    async def list_authors(ctx: Read, page: PageRequest) -> Page[Author]:
        """List authors."""
        return Page(items=list(AUTHORS.values())[: page.limit])

    return authors


def books_module(journal: Journal) -> Module:
    authors = authors_module()
    books = Module("books", version="1.0.0", uses=[authors])

    @books.query(public=True, raises=[NotFound])
    async def get_book(ctx: Read, id: BookId) -> Book:
        """Return one book."""
        journal.calls.append(id)
        if id not in BOOKS:
            raise NotFound(detail=f"There is no book {id}.")
        return BOOKS[id]

    @books.query(public=True)
    async def get_books(ctx: Read, ids: Annotated[list[BookId], Meta(min_length=1, max_length=3)]) -> list[Book | None]:
        """Return several books, in the order asked for."""
        return [BOOKS.get(id) for id in ids]

    @books.query(public=True)
    async def list_books(
        ctx: Read,
        page: PageRequest,
        author_id: AuthorId | None = None,
        genre: Genre | None = None,
        tags: Annotated[tuple[Tag, ...], Meta(max_length=3)] = (),
        price_max: Decimal | None = None,
        lent: bool | None = None,
        year: Annotated[int, Meta(ge=1400, le=2100)] | None = None,
        since: datetime | None = None,
    ) -> Page[Book]:
        """List books."""
        journal.calls.append({k: v for k, v in locals().items() if k not in ("ctx", "journal")})
        found = [b for b in BOOKS.values() if author_id in (None, b.author_id)]
        more = "more" if len(found) > page.limit else None
        return Page(items=found[: page.limit], next_page_token=more)

    @books.query(public=True)
    async def find_book(ctx: Read, title: Annotated[str, Meta(max_length=40)]) -> Book | None:
        """Return the book of that title, if there is one."""
        return next((b for b in BOOKS.values() if b.title == title), None)

    @books.query(public=True)
    async def count_books(ctx: Read, genre: Genre = Genre.NOVEL) -> int:
        """Return how many books there are."""
        return len(BOOKS)

    @books.command(
        scope="books.write",
        raises=[TitleTaken, TooManyLoans],
        examples=[
            Example(
                arguments={
                    "book": NewBook(title="Emma", author_id=AUSTEN, price=Money(amount=Decimal("9.50"), currency="EUR"))
                }
            )
        ],
    )
    async def create_book(ctx: Write, book: NewBook) -> Book:
        """Add a book."""
        if book.title == "taken":
            raise TitleTaken(taken=book.title)
        if book.title == "enough":
            raise TooManyLoans(retry_after=1.2)
        return Book(
            id=book_id(77),
            title=book.title,
            author_id=book.author_id,
            genre=book.genre,
            price=book.price,
            tags=book.tags,
            create_time=NOW,
        )

    @books.command(scope="books.write", raises=[NotFound])
    async def update_book(ctx: Write, id: BookId, changes: Patch[NewBook]) -> Book:
        """Change a book."""
        if id not in BOOKS:
            raise NotFound
        return changes.apply(BOOKS[id])

    @books.command(scope="books.write", raises=[NotFound])
    async def delete_book(ctx: Write, id: BookId) -> None:
        """Remove a book."""
        if id not in BOOKS:
            raise NotFound

    @books.command(public=True, raises=[BookLent, NotFound])
    async def lend_book(
        ctx: Write, id: BookId, reader: Annotated[str, Meta(max_length=40)], days: Annotated[int, Meta(ge=1)] = 14
    ) -> Book:
        """Lend a book to a reader.

        It comes back some day.
        """
        if reader == "second":
            raise BookLent(until=date(2026, 2, 28))
        if id not in BOOKS:
            raise NotFound
        journal.calls.append((reader, days))
        return BOOKS[id]

    @books.command(public=True)
    async def burn_book(ctx: Write, id: BookId) -> None:
        """Fail, as it should."""
        raise RuntimeError("the secret is sesame")

    gone = Deprecated(
        since=date(2026, 1, 1), sunset=date(2027, 1, 1), use="books.polish_book", link="https://example.com/why"
    )

    @books.command(public=True, deprecated=gone)
    async def dust_book(ctx: Write, id: BookId) -> None:
        """Do what nobody does any more."""
        raise ArchiveClosed(retry_after=7)

    @books.query(public=True)
    async def wait_book(ctx: Read, id: BookId) -> Book:
        """Wait for somebody to give up."""
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            journal.cancelled.set()
            raise
        return BOOKS[id]

    @books.query(public=True)
    async def search_books(ctx: Read, page: PageRequest, like: NewBook) -> Page[Book]:
        """Find books like another one."""
        return Page(items=[BOOKS[book_id(1)]][: page.limit])

    @books.stream(public=True, raises=[NotFound])
    async def watch_books(
        ctx: Read, count: Annotated[int, Meta(ge=0, le=100)] = 2, silent: bool = False
    ) -> AsyncIterator[Book]:
        """Watch books arrive."""
        try:
            if count == 99:
                raise NotFound
            for number in range(1, count + 1):
                if number == 5:
                    raise ArchiveClosed
                yield BOOKS[book_id(number)]
            if silent:
                await asyncio.Event().wait()
        finally:
            journal.closed.set()

    @books.job(scope="books.write")
    async def export_books(ctx: Run, day: date) -> Author:
        """Export all books."""
        return AUTHORS[AUSTEN]

    @books.edge(Book, "author", public=True)
    async def book_author(ctx: Read, parents: Sequence[Book]) -> Sequence[Author | None]:
        journal.calls.append(("author", len(parents)))
        return [AUTHORS.get(b.author_id) for b in parents]

    @books.edge(Chapter, "writer", public=True)
    async def chapter_writer(ctx: Read, parents: Sequence[Chapter]) -> Sequence[Author | None]:
        journal.calls.append(("writer", len(parents)))
        return [AUTHORS.get(c.author_id) for c in parents]

    @books.edge(Author, "books", public=True)
    async def author_books(ctx: Read, parents: Sequence[Author], page: PageRequest) -> Sequence[Page[Book]]:
        journal.calls.append(("books", len(parents)))
        return [Page(items=[b for b in BOOKS.values() if b.author_id == a.id][: page.limit]) for a in parents]

    @books.edge(Book, "loans", scope="loans.read")
    async def book_loans(ctx: Read, parents: Sequence[Book]) -> Sequence[Annotated[list[Author], Meta(max_length=9)]]:
        return [[AUTHORS[POE]] for _ in parents]

    return books


LIBRARIAN = Principal(subject="librarian", scopes=frozenset({"books.write"}))


class Served:
    """The library's front with a runtime that needs nothing open, and the lines that it logged."""

    def __init__(
        self,
        library: Library,
        principal: Principal,
        settings: Settings,
        mounts: Mapping[str, Any],
        about: About | None = None,
    ) -> None:
        api, faults = describe("library", library.modules, about=about)
        assert faults == []
        self._written: list[bytes] = []
        self.runtime = Runtime(
            "library", settings, library.modules, sink=Sink(self._written.append, format="json", level="info")
        )
        self.runtime.default_principal = principal
        self.runtime.ready = True
        bind_all((op.operation for op in api.operations), self.runtime)
        contract, unfit = contract_of(api, NOWHERE)
        assert unfit == []
        graph, clashing = graph_of(api)
        assert clashing == []
        self.front = Front(api, contract, self.runtime, mounts, graph)

    @property
    def lines(self) -> list[bytes]:
        """What was logged up to now."""
        self.runtime.sink.flush()
        return b"".join(self._written).splitlines()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.front(scope, receive, send)


def front(
    library: Library,
    principal: Principal = LIBRARIAN,
    settings: Settings | None = None,
    about: About | None = None,
    **mounts: Any,
) -> Served:
    """Return the library, served to callers without credentials as to this principal."""
    prefixed = {f"/{name}": app for name, app in mounts.items()}
    return Served(library, principal, settings or Settings(), prefixed, about)
