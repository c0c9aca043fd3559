"""A request leaves no reference cycles behind: memory is freed at once, and the collector has nothing to do."""

from __future__ import annotations

import asyncio
import gc
from typing import Annotated
from uuid import UUID

import pytest

from trivet import PUBLIC, App, Meta, Module, Read, Struct, Table, Write
from trivet.testing import Client
from trivet.transports.disconnect import TICK_SECONDS

ROUNDS = 50


class Thing(Struct):
    id: UUID
    name: Annotated[str, Meta(max_length=20)]


class NewThing(Struct):
    name: Annotated[str, Meta(max_length=20)]


def things() -> App:
    """Return an app that reads and writes one table."""
    module = Module("things")
    table = Table(module, Thing, key=lambda t: t.id, readable=PUBLIC, writable=PUBLIC)

    @module.query(public=True, plural="things")
    async def get_thing(ctx: Read, id: UUID) -> Thing:
        """Return a thing."""
        return await table.get(ctx, id)

    @module.command(public=True)
    async def create_thing(ctx: Write, thing: NewThing) -> Thing:
        """Add a thing."""
        created = Thing(id=ctx.new_id(), name=thing.name)
        await table.insert(ctx, created)
        return created

    return App("things", modules=[module])


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_nothing_is_left_for_the_collector(method: str) -> None:
    async with Client(things()) as client:
        created = (await client.post("/v1/things", json={"name": "a"})).json()["id"]

        async def once() -> None:
            if method == "GET":
                assert (await client.get(f"/v1/things/{created}")).status == 200
            else:
                assert (await client.post("/v1/things", json={"name": "a"})).status == 201

        for _ in range(5):
            await once()
        gc.collect()
        gc.disable()
        try:
            for _ in range(ROUNDS):
                await once()
            left = gc.collect()
        finally:
            gc.enable()
    assert left < ROUNDS  # less than one object a request: what other tasks did meanwhile


async def test_a_request_that_takes_long_leaves_nothing_either() -> None:
    module = Module("things")

    @module.query(public=True, plural="things")
    async def get_thing(ctx: Read, id: UUID) -> Thing:
        """Return a thing, after it was begun to listen whether the client is still there."""
        await asyncio.sleep(3 * TICK_SECONDS)
        return Thing(id=id, name="slow")

    async with Client(App("things", modules=[module])) as client:
        await client.get(f"/v1/things/{UUID(int=1)}")
        gc.collect()
        gc.disable()
        try:
            for _ in range(10):
                assert (await client.get(f"/v1/things/{UUID(int=1)}")).status == 200
            left = gc.collect()
        finally:
            gc.enable()
    assert left < 10  # less than one object a request
