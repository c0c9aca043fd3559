"""Two apps that were one: a depot in a process of its own, and a desk whose handlers call it there."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Annotated
from uuid import UUID

from trivet import (
    PUBLIC,
    App,
    Event,
    FailedPrecondition,
    Meta,
    Module,
    Read,
    Struct,
    Table,
    Unavailable,
    Write,
)
from trivet.rpc import Client, Service
from trivet.testing import settings_for_tests

depot = Module("depot")
desk = Module("desk", uses=[depot])


class Good(Struct):
    """Something that is kept."""

    id: UUID
    name: str
    stock: Annotated[int, Meta(ge=0)]


class Seen(Struct):
    """What the depot sees of a call."""

    remaining: float
    trace_id: str
    parent_id: str
    request_id: str
    token: str


class Short(FailedPrecondition):
    """There is not enough of it."""

    wanted: int
    stock: int
    names: list[str]


class Taken(Event):
    """Some of it was taken."""

    good: UUID
    left: int


goods = Table(depot, Good, key=lambda good: good.id, readable=PUBLIC, writable=PUBLIC)


@depot.command(public=True)
async def create_good(ctx: Write, name: str, stock: int) -> Good:
    """Put something there."""
    good = Good(id=ctx.new_id(), name=name, stock=stock)
    await goods.insert(ctx, good)
    return good


@depot.query(public=True, plural="goods")
async def get_good(ctx: Read, id: UUID) -> Good:
    """Return something that is there."""
    return await goods.get(ctx, id)


@depot.command(public=True, raises=[Short])
async def take_good(ctx: Write, id: UUID, count: int) -> Good:
    """Take some of it."""
    good = await goods.get(ctx, id)
    if good.stock < count:
        raise Short(wanted=count, stock=good.stock, names=[good.name])
    await goods.update(ctx, changed := Good(id=id, name=good.name, stock=good.stock - count))
    ctx.emit(Taken(good=id, left=changed.stock))
    return changed


@depot.query(public=True)
async def look(ctx: Read) -> Seen:
    """Return what is known of this call."""
    call = ctx._work.root
    assert call.trace is not None
    token = call.fields.get(b"consistency-token", b"").decode()
    return Seen(
        remaining=ctx.deadline.remaining(),
        trace_id=call.trace.trace_id,
        parent_id=call.trace.parent_id or "",
        request_id=call.request_id,
        token=token,
    )


@depot.query(public=True, timeout=60)
async def wait(ctx: Read, seconds: float) -> None:
    """Take long."""
    await asyncio.sleep(seconds)


@depot.stream(public=True)
async def watch_goods(ctx: Read) -> AsyncIterator[Taken]:
    """Tell what is taken."""
    async for taken in ctx.follow(Taken):
        yield taken


@depot.query(internal=True)
async def secret(ctx: Read) -> int:
    """Return what only the depot knows."""
    return 1


@depot.query(scope="depot.read")
async def guarded(ctx: Read) -> int:
    """Return what not everybody may know."""
    return 1


depot_app = App("apart", modules=[depot])
"""What the other process serves, and what this one reads to know how it is called."""

there = Service("there", depot_app, lambda app: Client(os.environ["DEPOT_URL"], app))


@desk.query(public=True)
async def get_ordered(ctx: Read, id: UUID) -> Good:
    """Return something that the depot has."""
    return await ctx.call(get_good, id)  # as in one process


@desk.query(public=True, timeout=3)
async def looked(ctx: Read) -> Seen:
    """Return what the depot sees of this call."""
    return await there.get(ctx).call(look)


@desk.query(public=True, timeout=0.5)
async def impatient(ctx: Read) -> None:
    """Ask for what takes longer than there is time."""
    await there.get(ctx).call(wait, 30)


@desk.query(public=True)
async def take_by_query(ctx: Read, id: UUID) -> None:
    """Change something, which a query may not."""
    await there.get(ctx).call(take_good, id, 1)


@desk.query(public=True)
async def unwelcome(ctx: Read) -> int:
    """Ask for what this process may not know."""
    return await there.get(ctx).call(guarded)


fails: list[str] = []


@desk.command(public=True, raises=[Short], uses=[there])
async def create_pick(ctx: Write, id: UUID, count: int) -> Good:
    """Take something out of the depot; the first attempts fail after that."""
    found = await there.get(ctx).call(take_good, id, count)
    if fails:
        raise Unavailable(detail=fails.pop())
    return found


@desk.command(public=True)
async def create_request(ctx: Write, id: UUID, count: int) -> UUID:
    """Have something taken out of the depot once this is done."""
    return await ctx.send(take_good, id, count)


@desk.command(public=True)
async def create_join(ctx: Write, id: UUID) -> Good:
    """Take something as a part of this transaction, which does not reach that far."""
    return await ctx.call(take_good, id, 1)


notes = Table(desk, Good, key=lambda good: good.id, readable=PUBLIC, writable=PUBLIC)


@desk.command(public=True)
async def create_blocker(ctx: Write, id: UUID) -> Good:
    """Ask the depot while a transaction is open, which was not declared."""
    await notes.insert(ctx, Good(id=ctx.new_id(), name="x", stock=1))
    return await ctx.call(get_good, id)


desk_app = App("desk", modules=[desk], resources=[there], settings=settings_for_tests())
