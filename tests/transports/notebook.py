"""A notebook on a real database: what has versions, what has none, what one may read and not write."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, NewType
from uuid import UUID

from trivet import (
    PUBLIC,
    App,
    Cache,
    Conflict,
    Meta,
    Module,
    Page,
    PageRequest,
    Patch,
    Read,
    Run,
    Struct,
    Table,
    Write,
)
from trivet.testing import Client, principal

NoteId = NewType("NoteId", UUID)
TagId = NewType("TagId", UUID)
Text = Annotated[str, Meta(max_length=5000)]

CHANGED = datetime(2026, 1, 31, 12, 0, 0, 500_000, UTC)
"""When the notes of these tests changed last."""

OWNER = principal("ann", scopes="notes")
READER = principal("ben", scopes="notes")
STRANGER = principal("eve", scopes="notes")


class NewNote(Struct):
    text: Text = ""


class Note(Struct):
    """Something written down; its owner may change it, a reader may read it."""

    id: NoteId
    owner: str
    reader: str
    text: Text
    version: int
    update_time: datetime


class Count(Struct):
    """How much there is."""

    notes: int


class Tag(Struct):
    """A row without a version."""

    id: TagId
    name: str


class Locked(Conflict):
    """The note is locked."""


def notebook() -> App:
    """Return the app, made anew."""
    notes = Module("notes", version="1.2.0")
    rows = Table(
        notes,
        Note,
        key=lambda n: n.id,
        readable=lambda who, n: (n.owner == who.subject) | (n.reader == who.subject),
        writable=lambda who, n: n.owner == who.subject,
    )
    tags = Table(notes, Tag, key=lambda t: t.id, readable=PUBLIC, writable=PUBLIC)

    @rows.listing(order="-id")
    def every(n: Note) -> bool:
        return True

    @notes.query(scope="notes")
    async def get_note(ctx: Read, id: NoteId) -> Note:
        """Return a note."""
        return await rows.get(ctx, id)

    @notes.query(scope="notes")
    async def find_note(ctx: Read, id: NoteId) -> Note | None:
        """Return a note, or nothing."""
        return await rows.find(ctx, id)

    @notes.query(scope="notes")
    async def list_notes(ctx: Read, page: PageRequest) -> Page[Note]:
        """List notes."""
        return await rows.page(ctx, every, page)

    @notes.query(scope="notes")
    async def search_notes(ctx: Read, like: NewNote) -> list[Note]:
        """Find notes that begin alike; sent by POST."""
        found = await rows.page(ctx, every, PageRequest())
        return [note for note in found.items if note.text.startswith(like.text)]

    @notes.query(public=True, cache=Cache(ttl=60, stale=30, tags=("count", "count:{of}")))
    async def get_count(ctx: Read, of: Annotated[str, Meta(max_length=20)] = "all") -> Count:
        """Return how many notes there are."""
        return Count(notes=1)

    @notes.command(scope="notes")
    async def create_note(ctx: Write, note: NewNote) -> Note:
        """Write something down."""
        who = ctx.principal.subject
        made = Note(id=NoteId(ctx.new_id()), owner=who, reader="", text=note.text, version=1, update_time=ctx.now)
        await rows.insert(ctx, made)
        return made

    @notes.command(scope="notes")
    async def update_note(ctx: Write, id: NoteId, changes: Patch[NewNote]) -> Note:
        """Change a note; whoever changed it meanwhile is overwritten, if nobody looks."""
        note = await rows.get(ctx, id)
        return await rows.update(ctx, changes.apply(note, update_time=ctx.now))

    @notes.command(scope="notes")
    async def delete_note(ctx: Write, id: NoteId) -> None:
        """Tear a note out."""
        await rows.delete(ctx, id)

    @notes.command(scope="notes", raises=[Locked])
    async def lock_note(ctx: Write, id: NoteId) -> Note:
        """Refuse, for reasons of its own."""
        await rows.get(ctx, id)
        raise Locked

    @notes.command(scope="notes")
    async def touch_note(ctx: Write, id: NoteId) -> Note:
        """Look at a note as if to change it."""
        return await rows.get(ctx, id)

    @notes.command(scope="notes", precondition="required")
    async def replace_note(ctx: Write, id: NoteId, text: Text) -> Note:
        """Write a note anew, only from a version that one has seen."""
        note = await rows.get(ctx, id)
        return await rows.update(ctx, Patch[NewNote]({"text": text}).apply(note, update_time=ctx.now))

    @notes.query(public=True)
    async def get_tag(ctx: Read, id: TagId) -> Tag:
        """Return a tag."""
        return await tags.get(ctx, id)

    @notes.command(public=True, plural="tags")
    async def create_tag(ctx: Write, name: str) -> Tag:
        """Add a tag."""
        made = Tag(id=TagId(ctx.new_id()), name=name)
        await tags.insert(ctx, made)
        return made

    @notes.command(public=True)
    async def delete_tag(ctx: Write, id: TagId) -> None:
        """Remove a tag."""
        await tags.delete(ctx, id)

    @notes.job(scope="notes")
    async def print_note(ctx: Run, id: NoteId) -> Count:
        """Print a note, some time."""
        return Count(notes=1)

    @notes.edge(Note, "tags", public=True)
    async def note_tags(ctx: Read, parents: Sequence[Note]) -> Sequence[list[Tag]]:
        return [[Tag(id=TagId(note.id), name=note.text)] for note in parents]

    return App("notebook", modules=[notes])


async def put(client: Client, version: int = 7, text: str = "milk", changed: datetime = CHANGED) -> str:
    """Put a note into the notebook and return its path."""
    app = client.service.app
    [notes] = app.modules
    rows = next(table for table in notes.tables if table.shape is Note)
    async with client.context(notes, as_module=True) as ctx:
        note = Note(id=NoteId(ctx.new_id()), owner="ann", reader="ben", text=text, version=version, update_time=changed)
        await rows.insert(ctx, note)
    return f"/v1/notes/{note.id}"
