"""A task that is still running when its command ends can neither hold the store nor write into another transaction."""

from __future__ import annotations

import asyncio
from typing import Annotated
from uuid import UUID

import pytest

from trivet import PUBLIC, AlreadyExists, App, Meta, Module, Page, PageRequest, Read, Struct, Table, Write
from trivet.testing import Client

Name = Annotated[str, Meta(max_length=40)]


class Item(Struct):
    id: UUID
    name: Name


def shelf() -> App:
    """Return an app whose commands leave tasks behind in several ways."""
    module = Module("shelf")
    items = Table(module, Item, key=lambda i: i.id, unique=["name"], readable=PUBLIC, writable=PUBLIC)

    @items.listing(order="name")
    def every(i: Item) -> bool:
        return i.id == i.id

    @module.query(public=True)
    async def list_items(ctx: Read, page: PageRequest) -> Page[Item]:
        """List the items."""
        return await items.page(ctx, every, page)

    @module.command(public=True)
    async def hold(ctx: Write) -> None:
        """Keep the store for a while."""
        await items.insert(ctx, Item(id=ctx.new_id(), name="hold"))
        await asyncio.sleep(0.1)

    @module.command(public=True)
    async def add_many(ctx: Write) -> None:
        """Add items at the same time, two of the same name."""
        await asyncio.gather(*(items.insert(ctx, Item(id=ctx.new_id(), name=str(max(n, 1)))) for n in range(30)))

    @module.command(public=True)
    async def load(ctx: Write) -> None:
        """Add very many items in a thread while something else fails."""

        async def fail() -> None:
            await asyncio.sleep(0.0005)
            raise ValueError("no")

        rows = [Item(id=ctx.new_id(), name=f"b{n}") for n in range(30_000)]
        await asyncio.gather(items.insert_many(ctx, rows), fail())

    @module.command(public=True)
    async def add(ctx: Write) -> None:
        """Add one item."""
        await items.insert(ctx, Item(id=ctx.new_id(), name="one"))

    @module.command(internal=True)
    async def swallow(ctx: Write, name: Name) -> None:
        """Add an item and keep quiet when it exists."""
        try:
            await items.insert(ctx, Item(id=ctx.new_id(), name=name))
        except AlreadyExists:
            return

    @module.command(public=True)
    async def go_on(ctx: Write) -> None:
        """Go on after a nested command that kept its database error to itself."""
        await items.insert(ctx, Item(id=ctx.new_id(), name="a"))
        with pytest.raises(Exception, match=r".+"):
            await ctx.call(swallow, "a")
        await items.insert(ctx, Item(id=ctx.new_id(), name="b"))

    return App("shelf", modules=[module])


async def names(client: Client) -> list[str]:
    """Return the names that are there."""
    return [item["name"] for item in (await client.get("/v1/items")).json()["items"]]


async def test_tasks_of_a_command_that_failed_do_not_keep_the_writer() -> None:
    async with Client(shelf()) as client:
        holding = asyncio.create_task(client.post("/v1/hold"))
        await asyncio.sleep(0.02)
        assert (await client.post("/v1/add-many")).status == 409
        await holding
        assert (await client.post("/v1/add")).status == 204
        assert await names(client) == ["hold", "one"]


async def test_a_statement_in_a_thread_is_undone_with_its_command() -> None:
    async with Client(shelf()) as client:
        assert (await client.post("/v1/load")).status == 500
        assert (await client.post("/v1/add")).status == 204
        assert await names(client) == ["one"]


async def test_a_nested_command_that_hides_a_failed_statement_is_undone_and_its_caller_goes_on() -> None:
    async with Client(shelf()) as client:
        assert (await client.post("/v1/go-on")).status == 204
        assert await names(client) == ["a", "b"]
