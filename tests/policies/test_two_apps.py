"""Two apps of one process may share modules: neither changes what the other compiled."""

from __future__ import annotations

from typing import Annotated

from trivet import PUBLIC, App, Meta, Module, Page, PageRequest, Read, Struct, Table, Write
from trivet.testing import Client

notes = Module("notes")


class Note(Struct):
    id: Annotated[int, Meta(ge=1, le=100)]


table = Table(notes, Note, key=lambda n: n.id, readable=PUBLIC, writable=PUBLIC)


@table.listing(order="id")
def every(n: Note) -> bool:
    return n.id == n.id


@notes.command(public=True)
async def create_note(ctx: Write, note: Note) -> Note:
    """Add a note."""
    await table.insert(ctx, note)
    return note


@notes.query(public=True)
async def list_notes(ctx: Read, page: PageRequest) -> Page[Note]:
    """List the notes."""
    return await table.page(ctx, every, page)


async def test_a_token_of_one_app_is_none_of_the_other_and_both_go_on() -> None:
    async with Client(App("one", modules=[notes])) as one, Client(App("two", modules=[notes])) as two:
        for client in (one, two):
            for number in (1, 2):
                assert (await client.post("/v1/notes", json={"id": number})).status == 201
        first = (await one.get("/v1/notes?page_size=1")).json()["next_page_token"]
        second = (await two.get("/v1/notes?page_size=1")).json()["next_page_token"]
        assert (await one.get(f"/v1/notes?page_token={first}")).json() == {"items": [{"id": 2}]}
        assert (await two.get(f"/v1/notes?page_token={second}")).json() == {"items": [{"id": 2}]}
        assert (await two.get(f"/v1/notes?page_token={first}")).status == 400
