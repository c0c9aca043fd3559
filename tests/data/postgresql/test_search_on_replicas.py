"""Search on replicas: they find and rank what the primary does, and whoever has written finds that."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any
from uuid import UUID

import pytest

from tests.data.postgresql.ledger import on_replicas
from tests.data.postgresql.test_replicas import until_replayed
from tests.postgres import Server
from trivet import PUBLIC, App, Meta, Module, Page, PageRequest, Read, Search, Struct, Table, Write
from trivet.settings import DatabaseSettings, Url
from trivet.testing import Client, settings_for_tests

pytestmark = pytest.mark.integration

Text = Annotated[str, Meta(max_length=200)]


class Book(Struct):
    id: UUID
    title: Text


library = Module("library")
books = Table(
    library,
    Book,
    key=lambda b: b.id,
    search=Search("title", language="english"),
    readable=PUBLIC,
    writable=PUBLIC,
)


@books.listing(order="title")
def every(b: Book) -> bool:
    return b.title == b.title


@library.command(public=True, plural="books")
async def create_book(ctx: Write, title: Text) -> Book:
    """Put a book on the shelf."""
    made = Book(id=ctx.new_id(), title=title)
    await books.insert(ctx, made)
    return made


@library.query(public=True)
async def search_books(ctx: Read, query: Text, page: PageRequest) -> Page[Book]:
    """Find books."""
    return await books.search(ctx, every, query, page)


@library.query(public=True, reads="primary")
async def look_up(ctx: Read, query: Text, page: PageRequest) -> Page[Book]:
    """Find books on the primary."""
    return await books.search(ctx, every, query, page)


@pytest.fixture
async def client(primary: Server, replica: Server) -> AsyncIterator[Client]:
    with primary.database() as name:
        replica.await_database(name)
        database = DatabaseSettings(url=Url(primary.url(name)), replicas=(Url(replica.url(name)),), create=True)
        async with Client(App("library", modules=[library]), settings=settings_for_tests(database=database)) as client:
            yield client


async def keep(client: Client, *titles: str) -> str:
    """Keep books, and return the token of who has seen them all."""
    token = ""
    for title in titles:
        headers = {"consistency-token": token} if token else {}
        answer = await client.post("/v1/books", json={"title": title}, headers=headers)
        assert answer.status == 201, answer.body
        token = answer.headers["consistency-token"]
    return token


async def found(client: Client, token: str, path: str = "/v1/books:search", **query: Any) -> Any:
    answer = await client.get(path, query=query, headers={"consistency-token": token})
    assert answer.status == 200, answer.body
    return answer.json()


async def test_a_replica_finds_and_ranks_as_the_primary_does_page_by_page(client: Client, replica: Server) -> None:
    titles = ["An oak chair", "Oak, oaks and more oak", "Chairs of pine", "Oak", "The chair of oak and pine"]
    token = await keep(client, *titles)
    await until_replayed(client, replica, token)
    for query in ("oak", '"oak chair"', "chair -pine", "pin*", "oak chairs"):
        at_primary = await found(client, token, "/v1/look-up", query=query)
        before = on_replicas(client)
        assert await found(client, token, query=query) == at_primary
        assert on_replicas(client) == before + 1
    pages, page = [], await found(client, token, query="oak", page_size=1)
    while True:
        pages += page["items"]
        if "next_page_token" not in page:
            break
        page = await found(client, token, query="oak", page_size=1, page_token=page["next_page_token"])
    assert pages == (await found(client, token, "/v1/look-up", query="oak"))["items"]
    assert len(pages) == 4


async def test_who_has_written_finds_it_though_the_replica_is_late(client: Client, replica: Server) -> None:
    before = await keep(client, "An oak chair")
    await until_replayed(client, replica, before)
    replica.run("SELECT pg_wal_replay_pause()")
    try:
        after = await keep(client, "An oak table")
        assert {each["title"] for each in (await found(client, after, query="oak"))["items"]} == {
            "An oak chair",
            "An oak table",
        }
        read = on_replicas(client)
        assert [each["title"] for each in (await found(client, before, query="oak"))["items"]] == ["An oak chair"]
        assert on_replicas(client) == read + 1
    finally:
        replica.run("SELECT pg_wal_replay_resume()")
    await until_replayed(client, replica, after)
    read = on_replicas(client)
    assert len((await found(client, after, query="oak"))["items"]) == 2
    assert on_replicas(client) == read + 1
