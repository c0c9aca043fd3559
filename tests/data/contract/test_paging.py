"""Pages, put together, are the sorted and filtered rows: none twice, none left out, whatever ties there are."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.conftest import Engine, Opener, Store
from trivet.core.context import Read
from trivet.core.error import InvalidArgument
from trivet.core.module import Module
from trivet.core.page import Page, PageRequest
from trivet.core.shape import Meta, Struct
from trivet.core.value import digits
from trivet.data import PUBLIC, Table, one_of

START = datetime(2026, 1, 1, tzinfo=UTC)


class Entry(Struct):
    id: int
    group: str
    rank: int
    name: str
    at: datetime
    rate: Annotated[Decimal, Meta(extra=digits(6, 2))]
    span: timedelta


entries = st.builds(
    Entry,
    id=st.integers(0, 40),
    group=st.sampled_from(["a", "b", "c"]),
    rank=st.integers(0, 2),
    name=st.sampled_from(["", "a", "B", "ä", "Z", "\U0001f600", "\uffff"]),
    at=st.integers(-1, 1).map(lambda n: START + timedelta(microseconds=n)),
    rate=st.sampled_from([Decimal("0.50"), Decimal("-1"), Decimal("10.25")]),
    span=st.integers(-1, 1).map(lambda n: timedelta(microseconds=n)),
)
FIELDS = ["rank", "name", "at", "rate", "span", "group"]
orders = st.lists(st.sampled_from(FIELDS), min_size=1, max_size=3, unique=True).flatmap(
    lambda names: st.tuples(*(st.sampled_from([name, f"-{name}"]) for name in names))
)


def in_order(rows: list[Entry], order: tuple[str, ...]) -> list[Entry]:
    """Sort as the listing should: the key last, in the direction of the last field."""
    rows = sorted(rows, key=lambda row: row.id, reverse=order[-1].startswith("-"))
    for field in reversed(order):
        name = field.removeprefix("-")
        rows = sorted(rows, key=lambda row: getattr(row, name), reverse=field.startswith("-"))
    return rows


async def walk(ask: Callable[[PageRequest], Any], size: int) -> list[Entry]:
    """Page to the end."""
    rows: list[Entry] = []
    token: str | None = None
    while True:
        page: Page[Entry] = await ask(PageRequest(page_size=size, page_token=token))
        assert len(page.items) <= size
        rows += page.items
        if page.next_page_token is None:
            return rows
        assert len(page.items) == size
        token = page.next_page_token


@settings(max_examples=80)
@given(
    rows=st.lists(entries, max_size=25, unique_by=lambda row: row.id),
    order=orders,
    size=st.integers(1, 7),
    group=st.none() | st.sampled_from(["a", "b"]),
)
def test_pages_put_together_are_the_sorted_rows(
    engine: Engine, rows: list[Entry], order: tuple[str, ...], size: int, group: str | None
) -> None:
    module = Module("paging")
    table = Table(module, Entry, key=lambda e: e.id, readable=PUBLIC, writable=PUBLIC)

    @table.listing(order=order)
    def by_group(e: Entry, group: str | None = None) -> bool:
        return e.group == group

    async def both() -> tuple[list[Entry], list[list[Entry]]]:
        store = await engine.empty(module)
        async with store.writing() as ctx:
            await table.insert_many(ctx, rows)
        async with store.reading() as ctx:
            paged = await walk(lambda page: table.page(ctx, by_group, page, group), size)
            firsts = await table.page_by(ctx, by_group, ["b", "a", "b"], PageRequest(page_size=size))
            walked = []
            for parent, first in zip(["b", "a", "b"], firsts, strict=True):
                rest: list[Entry] = []
                if first.next_page_token is not None:  # a list that began beside others goes on alone
                    [page] = await table.page_by(
                        ctx, by_group, [parent], PageRequest(page_size=100, page_token=first.next_page_token)
                    )
                    rest = page.items
                walked.append(first.items + rest)
            return paged, walked

    paged, walked = engine.run(both())
    assert paged == in_order([row for row in rows if group is None or row.group == group], order)
    assert walked == [in_order([row for row in rows if row.group == parent], order) for parent in ("b", "a", "b")]


class Lists:
    """A table with two listings of the same order."""

    def __init__(self) -> None:
        self.module = Module("lists")
        self.table = table = Table(self.module, Entry, key=lambda e: e.id, readable=PUBLIC, writable=PUBLIC)

        @table.listing(order="rank")
        def by_group(e: Entry, group: str | None = None, ranks: list[int] | None = None) -> bool:
            return (e.group == group) & one_of(e.rank, ranks)  # type: ignore[arg-type]  # dropped where it is None

        @table.listing(order="rank")
        def everything(e: Entry) -> bool:
            return True

        self.by_group = by_group
        self.everything = everything

    async def filled(self, store: Opener) -> Store:
        opened = await store(self.module)
        entry = Entry(id=0, group="a", rank=0, name="", at=START, rate=Decimal(0), span=timedelta())
        async with opened.writing() as ctx:
            await self.table.insert_many(ctx, [Entry(**{**_fields(entry), "id": n}) for n in range(120)])
        return opened

    async def token(self, ctx: Read) -> str:
        page = await self.table.page(ctx, self.by_group, PageRequest(page_size=2), group="a")
        assert page.next_page_token is not None
        return page.next_page_token


def _fields(entry: Entry) -> dict[str, Any]:
    return {name: getattr(entry, name) for name in entry.__struct_fields__}


async def test_a_token_is_refused_by_another_list_filter_or_order(store: Opener) -> None:
    lists = Lists()
    opened = await lists.filled(store)
    async with opened.reading() as ctx:
        page = PageRequest(page_token=await lists.token(ctx))
        assert len((await lists.table.page(ctx, lists.by_group, page, group="a")).items) == 20
        for ask in (
            lists.table.page(ctx, lists.by_group, page, group="b"),
            lists.table.page(ctx, lists.by_group, page),
            lists.table.page(ctx, lists.by_group, page, group="a", ranks=[0]),
            lists.table.page(ctx, lists.everything, page),
        ):
            with pytest.raises(InvalidArgument) as refused:
                await ask
            assert [each.pointer for each in refused.value.violations] == ["#/page_token"]


async def test_sizes_are_twenty_by_default_and_a_hundred_at_most(store: Opener) -> None:
    lists = Lists()
    opened = await lists.filled(store)
    async with opened.reading() as ctx:
        for asked, given_ in ((0, 20), (7, 7), (5000, 100)):
            page = await lists.table.page(ctx, lists.everything, PageRequest(page_size=asked))
            assert len(page.items) == given_


async def test_a_parent_that_is_none_or_a_listing_without_one_is_a_bug_and_says_so(store: Opener) -> None:
    lists = Lists()
    opened = await lists.filled(store)
    async with opened.reading() as ctx:
        with pytest.raises(TypeError, match="a parent is None"):
            await lists.table.page_by(ctx, lists.by_group, [None], PageRequest())
        nothing: Any = lists.everything
        with pytest.raises(TypeError):
            await lists.table.page_by(ctx, nothing, ["a"], PageRequest())
