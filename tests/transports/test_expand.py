"""``?expand=``: batched by level, bounded, under the access rules of each edge."""

from __future__ import annotations

from tests.transports.client import Client
from tests.transports.library import LIBRARIAN, Library, book_id, front
from trivet.core.principal import ANONYMOUS, Principal

ONE = f"/v1/books/{book_id(1)}"


async def test_an_edge_becomes_a_member() -> None:
    response = await Client(front(Library())).get(f"{ONE}?expand=author")
    assert response.json["author"]["name"] == "Austen"


async def test_each_edge_is_resolved_once_for_a_whole_page() -> None:
    library = Library()
    response = await Client(front(library)).get("/v1/books?expand=author,chapters.writer")
    names = [(b["author"]["name"], [c["writer"]["name"] for c in b["chapters"]]) for b in response.json["items"]]
    assert names[:2] == [("Austen", ["Austen", "Poe"]), ("Poe", ["Poe", "Poe"])]
    assert library.journal.calls[1:] == [("author", 5), ("writer", 10)]


async def test_edges_that_lead_to_pages_are_followed_on() -> None:
    library = Library()
    response = await Client(front(library)).get(f"{ONE}?expand=author.books.author")
    books = response.json["author"]["books"]["items"]
    assert [b["author"]["name"] for b in books] == ["Austen"] * 3
    assert library.journal.calls[1:] == [("author", 1), ("books", 1), ("author", 3)]


async def test_items_of_a_batch_that_do_not_exist_stay_null() -> None:
    response = await Client(front(Library())).get(
        f"/v1/books:batchGet?ids={book_id(1)}&ids={book_id(99)}&expand=author"
    )
    assert [item and item["author"]["name"] for item in response.json["items"]] == ["Austen", None]


async def test_an_unknown_path_is_refused_with_the_known_ones() -> None:
    for path in ("", "publisher", "author.", "author,", "chapters", "author.books.author.books", "author.loans"):
        response = await Client(front(Library())).get(f"{ONE}?expand={path}")
        assert (response.status, response.pointers) == (400, ["#/expand"])
        assert "chapters.writer" in response.json["errors"][0]["detail"]


async def test_the_number_of_paths_is_bounded() -> None:
    response = await Client(front(Library())).get(f"{ONE}?expand={','.join(['author'] * 21)}")
    assert (response.status, response.pointers) == (400, ["#/expand"])


async def test_an_edge_needs_its_scope() -> None:
    library = Library()
    refused = await Client(front(library, LIBRARIAN)).get(f"{ONE}?expand=loans")
    assert (refused.status, refused.json["scopes"]) == (403, ["loans.read"])
    assert (await Client(front(library, ANONYMOUS)).get(f"{ONE}?expand=author.books.loans")).status in (400, 401)
    assert (await Client(front(library, ANONYMOUS)).get(f"{ONE}?expand=loans")).status == 401
    assert library.journal.calls == []
    reader = Principal(subject="reader", scopes=frozenset({"loans.read"}))
    allowed = await Client(front(library, reader)).get(f"{ONE}?expand=loans")
    assert [author["name"] for author in allowed.json["loans"]] == ["Poe"]


async def test_a_command_can_be_expanded_too() -> None:
    response = await Client(front(Library())).post(f"{ONE}:lend?expand=author", {"reader": "me"})
    assert response.json["author"]["name"] == "Austen"


async def test_what_has_no_edges_knows_no_expand() -> None:
    response = await Client(front(Library())).get("/v1/books:count?expand=author")
    assert (response.status, response.pointers) == (400, ["#/expand"])
