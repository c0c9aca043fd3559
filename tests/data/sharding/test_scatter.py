"""A list over all shards is the list that one table would give: on three nodes, and while shards change nodes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.conftest import KEY, Store
from tests.data.contract.test_paging import START, Entry, entries, in_order, orders, walk
from tests.data.sharding.nodes import nodes_of, opened, three, what_moves
from trivet.core.module import Module
from trivet.core.page import PageRequest
from trivet.core.sharding import logical_of
from trivet.data import PUBLIC, Table
from trivet.data.catalog import bind, schema
from trivet.data.database import DatabaseUnavailable
from trivet.data.groups import GROUP
from trivet.data.sharding.move import Move
from trivet.data.sharding.session import SecondShard
from trivet.data.statement import Statement
from trivet.settings import DatabaseSettings


class Nodes:
    """Three nodes that stay open for a whole module."""

    def __init__(self, found: DatabaseSettings) -> None:
        self.runner = asyncio.Runner()
        self._opened = opened(found, Module("nothing"))
        self.database = self.runner.run(self._opened.__aenter__()).database

    async def empty(self, module: Module) -> Store:
        """Bind a module, and make its tables empty on every node."""
        plans, faults = bind([module], self.database.dialect, KEY)
        assert not faults, "\n".join(map(str, faults))
        store = Store(self.database, module, plans)
        for database in nodes_of(store).nodes.values():
            tables = schema([module], database.dialect)
            await database.create(tables)
            session = database.session(write=True)
            for table in tables:
                await session.execute(Statement(sa.delete(table)), ())
            await session.commit()
            await session.close()
        return store

    def close(self) -> None:
        self.runner.run(self._opened.__aexit__(None, None, None))
        self.runner.close()


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    """Three open nodes."""
    with three() as found:
        nodes = Nodes(found)
        yield nodes
        nodes.close()


@pytest.mark.slow
@settings(max_examples=10, deadline=None)
@given(
    rows=st.lists(entries, max_size=25, unique_by=lambda row: row.id),
    order=orders,
    size=st.integers(1, 7),
    group=st.none() | st.sampled_from(["a", "b"]),
)
def test_pages_of_all_shards_put_together_are_the_sorted_rows(
    nodes: Nodes, rows: list[Entry], order: tuple[str, ...], size: int, group: str | None
) -> None:
    module = Module("scattered")
    table = Table(
        module, Entry, key=lambda e: e.id, shard_by=lambda e: e.id, scatter=3, readable=PUBLIC, writable=PUBLIC
    )

    @table.listing(order=order)
    def by_group(e: Entry, group: str | None = None) -> bool:
        return e.group == group

    async def paged() -> tuple[list[Entry], list[Entry | None]]:
        store = await nodes.empty(module)
        for row in rows:
            async with store.writing() as ctx:
                await table.insert(ctx, row)
        async with store.reading() as ctx:
            return (
                await walk(lambda page: table.page(ctx, by_group, page, group), size),
                await table.get_many(ctx, [*range(40), 7]),
            )

    pages, found = nodes.runner.run(paged())
    assert pages == in_order([row for row in rows if group is None or row.group == group], order)
    by_id = {row.id: row for row in rows}
    assert found == [by_id.get(number) for number in (*range(40), 7)]


async def test_every_row_is_listed_once_while_shards_change_nodes() -> None:
    module = Module("listed")
    table = Table(
        module, Entry, key=lambda e: e.id, shard_by=lambda e: e.id, scatter=3, readable=PUBLIC, writable=PUBLIC
    )

    @table.listing(order="rank")
    def everything(e: Entry) -> bool:
        return True

    with three() as found:
        async with opened(found, module) as store, opened(found, module) as mover:
            for number in range(12):
                row = Entry(id=number, group="a", rank=0, name="", at=START, rate=Decimal(0), span=timedelta())
                async with store.writing() as ctx:
                    await table.insert(ctx, row)
            directory = nodes_of(store).directory

            async def moves() -> None:
                for number in range(4):
                    shard = logical_of(number)
                    target = "b" if directory.nodes[shard] != "b" else "c"
                    await Move(nodes_of(mover).nodes, what_moves(module), shard, target).run()

            moving, lists = asyncio.create_task(moves()), 0
            while not moving.done() or not lists:
                async with store.reading() as read:
                    rows = await walk(lambda page: table.page(read, everything, page), 5)
                assert [row.id for row in rows] == list(range(12))
                lists += 1
            await moving


async def test_a_read_asks_no_more_nodes_than_was_declared() -> None:
    module = Module("narrow")
    table = Table(
        module, Entry, key=lambda e: e.id, shard_by=lambda e: e.id, scatter=2, readable=PUBLIC, writable=PUBLIC
    )

    @table.listing(order="rank")
    def everything(e: Entry) -> bool:
        return True

    with three() as found:
        async with opened(found, module) as store, store.reading() as ctx:
            with pytest.raises(DatabaseUnavailable, match="scatter=2 would have to ask 3 nodes"):
                await table.page(ctx, everything, PageRequest())


async def test_a_stream_of_all_shards_is_in_order_and_a_load_is_of_one() -> None:
    module = Module("streamed")
    table = Table(
        module,
        Entry,
        key=lambda e: (e.group, e.id),
        shard_by=lambda e: e.group,
        scatter=3,
        readable=PUBLIC,
        writable=PUBLIC,
    )

    @table.listing(order=["rank", "id"])
    def by_group(e: Entry, group: str | None = None) -> bool:
        return e.group == group

    def entry(number: int, group: str) -> Entry:
        return Entry(id=number, group=group, rank=number % 2, name="", at=START, rate=Decimal(0), span=timedelta())

    groups = ["a", "b", "c", "d", "e"]  # on more than one node
    with three() as found:
        async with opened(found, module) as store:
            for group in groups:
                async with store.writing() as ctx:
                    assert await table.load(ctx, (entry(number, group) for number in range(GROUP))) == GROUP
            async with store.writing() as ctx:
                with pytest.raises(SecondShard):
                    await table.load(ctx, [entry(-1, "a"), entry(-1, "b")])
            async with store.reading() as read:
                rows = [row async for row in table.stream(read, by_group)]
                of_one = [row async for row in table.stream(read, by_group, "c")]
    directory = nodes_of(store).directory
    assert len({directory.nodes[logical_of(group)] for group in groups}) > 1
    assert len(rows) == len({(row.group, row.id) for row in rows}) == len(groups) * GROUP
    assert [(row.rank, row.id) for row in rows] == sorted((row.rank, row.id) for row in rows)
    assert of_one == [row for row in rows if row.group == "c"]
