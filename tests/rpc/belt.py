"""An application that takes streams: parcels that come in are stored, counted, or answered one by one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated
from uuid import UUID

from trivet import (
    PUBLIC,
    AlreadyExists,
    App,
    InvalidArgument,
    Meta,
    Module,
    Page,
    PageRequest,
    Read,
    Run,
    Struct,
    Table,
    Unique,
    Write,
)
from trivet.testing import settings_for_tests

Label = Annotated[str, Meta(min_length=1, max_length=2_000_000)]
CHUNK = 3


class Parcel(Struct):
    """Something that is delivered."""

    label: Label
    weight: Annotated[int, Meta(ge=1, le=1000)] = 1


class Stored(Struct):
    """A parcel on its shelf."""

    id: UUID
    label: str
    shelf: str
    weight: int


class Receipt(Struct):
    """What came in."""

    count: int
    refused: tuple[str, ...] = ()


class Weighed(Struct):
    """What one parcel costs."""

    label: str
    cost: int


class LabelTaken(AlreadyExists):
    """A parcel with this label is there already."""

    label: str


belt = Module("belt")
stored = Table(
    belt,
    Stored,
    key=lambda s: s.id,
    unique=[Unique("label", error=lambda s: LabelTaken(label=s.label))],
    readable=PUBLIC,
    writable=PUBLIC,
)
events: list[str] = []
"""What happened inside, where the caller can not see it."""


@belt.query(public=True)
async def list_events(ctx: Read) -> list[str]:
    """Return what happened inside."""
    return events


@stored.listing(order="label")
def by_label(s: Stored) -> bool:
    """Return all of them."""
    return s.weight >= 0


@belt.query(public=True)
async def list_stored(ctx: Read, page: PageRequest) -> Page[Stored]:
    """List what is there."""
    return await stored.page(ctx, by_label, page)


@belt.command(internal=True, raises=[LabelTaken])
async def store_parcels(ctx: Write, parcels: Annotated[list[Parcel], Meta(max_length=100)], shelf: Label) -> None:
    """Store parcels, all of them or none."""
    for parcel in parcels:
        await stored.insert(ctx, Stored(id=ctx.new_id(), label=parcel.label, shelf=shelf, weight=parcel.weight))


@belt.stream(public=True, raises=[LabelTaken], idle=1.0)
async def receive_parcels(ctx: Run, parcels: AsyncIterator[Parcel], shelf: Label) -> Receipt:
    """Store parcels as they come, a few in a transaction."""
    count, chunk = 0, list[Parcel]()
    async for parcel in parcels:
        chunk.append(parcel)
        if len(chunk) == CHUNK:
            await ctx.call(store_parcels, chunk, shelf)
            count, chunk = count + len(chunk), []
    if chunk:
        await ctx.call(store_parcels, chunk, shelf)
    return Receipt(count=count + len(chunk))


@belt.stream(public=True)
async def sift_parcels(ctx: Run, parcels: AsyncIterator[Parcel]) -> Receipt:
    """Count parcels; what is no parcel is named and passed over."""
    count, refused = 0, list[str]()
    while True:
        try:
            await anext(parcels)
        except StopAsyncIteration:
            return Receipt(count=count, refused=tuple(refused))
        except InvalidArgument as wrong:
            refused += [violation.pointer for violation in wrong.violations]
        else:
            count += 1


@belt.stream(public=True, raises=[LabelTaken], age=60)
async def weigh_parcels(ctx: Run, parcels: AsyncIterator[Parcel], rate: int = 1) -> AsyncIterator[Weighed]:
    """Say of each parcel what it costs."""
    events.append("begun")
    try:
        async for parcel in parcels:
            if parcel.label == "taken":
                raise LabelTaken(label=parcel.label)
            yield Weighed(label=parcel.label, cost=parcel.weight * rate)
        events.append("ended")
    finally:
        events.append("closed")


@belt.stream(scope="belt.guarded")
async def guarded_parcels(ctx: Read, parcels: AsyncIterator[Parcel]) -> None:
    """Take nothing from nobody."""
    raise AssertionError("nobody may")


@belt.stream(public=True)
async def skim_parcels(ctx: Read, parcels: AsyncIterator[Parcel], slowly: bool = False) -> int:
    """Return the weight of the first parcel; takes its time where it should."""
    events.append("begun")
    try:
        first = await anext(parcels)
        if slowly:
            async for _ in parcels:
                pass
            await asyncio.sleep(60)
        return first.weight
    finally:
        events.append("closed")


app = App("test", modules=[belt], settings=settings_for_tests())
