"""Trivet: a number that is written and read, for what a caller waits to see what it wrote."""

from __future__ import annotations

from typing import Annotated

from trivet import PUBLIC, App, Http, Meta, Module, Read, Struct, Table, Write

ledger = Module("ledger", owner="benchmarks")
Name = Annotated[str, Meta(min_length=1, max_length=40)]


class Entry(Struct):
    """A number under a name."""

    id: Name
    value: int


entries = Table(ledger, Entry, key=lambda e: e.id, readable=PUBLIC, writable=PUBLIC)


@ledger.command(public=True, http=Http(method="PUT", path="/entries/{id}", status=200))
async def put_entry(ctx: Write, id: Name, value: int) -> Entry:
    """Write a number under a name."""
    entry = Entry(id=id, value=value)
    if await entries.find(ctx, id) is None:
        await entries.insert(ctx, entry)
        return entry
    return await entries.update(ctx, entry)


@ledger.query(public=True, plural="entries")
async def get_entry(ctx: Read, id: Name) -> Entry:
    """Return a number."""
    return await entries.get(ctx, id)


app = App("ledger", modules=[ledger])
