"""Large work on every engine: rows go in and come out as with the small verbs, and are never held all at once."""

from __future__ import annotations

import weakref
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from typing import Any

import pytest
from msgspec.structs import replace

from tests.data.conftest import GUARDED, KEY, Opener, Store, settings_for
from trivet.core.error import AlreadyExists, Error, InvalidArgument, PermissionDenied
from trivet.core.module import Module
from trivet.core.principal import Principal
from trivet.core.shape import Struct
from trivet.data import Table, Unique
from trivet.data.catalog import bind, open_database, schema
from trivet.data.database import Database, TransactionFailed
from trivet.data.groups import GROUP

pytestmark = pytest.mark.parametrize("url", GUARDED, indirect=True)

MANY = 2 * GROUP + 7
ANN = Principal(subject="ann", tenant="acme")
STAFF = Principal(subject="staff", tenant="acme", roles=frozenset({"staff"}))


class Line(Struct, weakref=True):
    id: int
    code: str
    owner: str
    tenant: str
    weight: int
    note: str | None = None


class CodeTaken(AlreadyExists):
    """A line with this code exists already."""

    taken: str


class Ledger:
    """A module with one table: lines are per tenant, their owners' and the staff's."""

    def __init__(self) -> None:
        self.module = Module("ledger")
        self.lines = lines = Table(
            self.module,
            Line,
            key=lambda line: line.id,
            unique=[Unique("code", error=lambda line: CodeTaken(taken=line.code))],
            tenant=lambda line: line.tenant,
            readable=lambda who, line: (line.owner == who.subject) | who.has("staff"),
            writable=lambda who, line: (line.owner == who.subject) | who.has("staff"),
        )

        @lines.listing(order=["weight", "-code"])
        def by_weight(line: Line, least: int | None = None) -> bool:
            return least is None or line.weight >= least

        self.by_weight = by_weight

    async def all(self, store: Store, who: Principal = STAFF) -> list[Line]:
        async with store.reading(who) as ctx:
            return [line async for line in self.lines.stream(ctx, self.by_weight)]


def line(number: int, owner: str = "ann", tenant: str = "acme") -> Line:
    return Line(id=number, code=f"{number:06}", owner=owner, tenant=tenant, weight=number % 5)


async def arriving(rows: Iterator[Line]) -> AsyncIterator[Line]:
    for row in rows:
        yield row


def in_order(rows: list[Line]) -> list[Line]:
    return sorted(sorted(rows, key=lambda line: line.code, reverse=True), key=lambda line: line.weight)


# -- in


@pytest.mark.parametrize("many", [0, 1, GROUP, MANY])
async def test_what_is_loaded_is_there_and_counted(store: Opener, many: int) -> None:
    ledger = Ledger()
    opened = await store(ledger.module)
    async with opened.writing(ANN) as ctx:
        assert await ledger.lines.load(ctx, map(line, range(many))) == many
        assert await ledger.lines.load(ctx, arriving(map(line, range(many, 2 * many)))) == many
    assert await ledger.all(opened) == in_order([line(n) for n in range(2 * many)])


async def test_a_load_that_fails_is_undone_as_a_whole_and_its_transaction_goes_on(store: Opener) -> None:
    ledger = Ledger()
    opened = await store(ledger.module)
    async with opened.writing(ANN) as ctx:
        await ledger.lines.insert(ctx, line(1))
        rows = (line(n, owner="bob" if n == MANY - 1 else "ann") for n in range(2, MANY))
        with pytest.raises(PermissionDenied) as refused:
            await ledger.lines.load(ctx, rows)
        assert refused.value.__notes__ == [f"in row {MANY - 3} of those that were to be loaded, counted from 0"]
        await ledger.lines.insert(ctx, line(2))
    assert await ledger.all(opened) == in_order([line(1), line(2)])


@pytest.mark.parametrize("place", [0, GROUP - 1, GROUP, MANY - 1])
async def test_a_row_that_is_taken_is_named_as_by_insert(store: Opener, place: int) -> None:
    ledger = Ledger()
    opened = await store(ledger.module)
    async with opened.writing(ANN) as ctx:
        await ledger.lines.insert(ctx, line(123_456))
        rows = [line(n) for n in range(MANY)]
        rows[place] = Line(id=place, code="123456", owner="ann", tenant="acme", weight=1)
        with pytest.raises(CodeTaken) as taken:
            await ledger.lines.load(ctx, rows)
        assert taken.value.taken == "123456"
        assert taken.value.__notes__ == [f"in row {place} of those that were to be loaded, counted from 0"]
    assert await ledger.all(opened) == [line(123_456)]


@pytest.mark.parametrize(
    ("row", "error"),
    [
        pytest.param(line(7, tenant="other"), PermissionDenied, id="another tenant's"),
        pytest.param(Line(id=7, code="a\0b", owner="ann", tenant="acme", weight=0), InvalidArgument, id="does not fit"),
        pytest.param(line(3), AlreadyExists, id="twice in one load"),
    ],
)
async def test_a_load_refuses_what_an_insert_refuses(store: Opener, row: Line, error: type[Error]) -> None:
    ledger = Ledger()
    opened = await store(ledger.module)
    async with opened.writing(ANN) as ctx:
        with pytest.raises(error):
            await ledger.lines.load(ctx, [line(3), row])
    assert await ledger.all(opened) == []


async def test_a_query_can_not_load(store: Opener) -> None:
    ledger = Ledger()
    opened = await store(ledger.module)
    unchecked: Any = ledger.lines  # type checkers refuse it, too
    async with opened.reading(ANN) as ctx:
        with pytest.raises(TypeError, match="make the operation a command"):
            await unchecked.load(ctx, [line(1)])


async def test_what_the_same_context_streams_can_be_loaded(store: Opener) -> None:
    ledger = Ledger()
    opened = await store(ledger.module)
    async with opened.writing(STAFF) as ctx:
        await ledger.lines.load(ctx, map(line, range(MANY)))

        async def copies() -> AsyncIterator[Line]:
            async for each in ledger.lines.stream(ctx, ledger.by_weight, least=0):
                if each.id < MANY:
                    yield Line(id=MANY + each.id, code=f"c{each.id}", owner="bob", tenant="acme", weight=-1)

        assert await ledger.lines.load(ctx, copies()) == MANY
    assert len(await ledger.all(opened)) == 2 * MANY


async def test_rows_that_were_stored_are_not_kept_while_more_come(store: Opener) -> None:
    ledger = Ledger()
    opened = await store(ledger.module)
    alive: weakref.WeakSet[Line] = weakref.WeakSet()
    most = 0

    def growing() -> Iterator[Line]:
        nonlocal most
        for number in range(6 * GROUP):
            row = line(number)
            alive.add(row)
            most = max(most, len(alive))
            yield row

    async with opened.writing(ANN) as ctx:
        assert await ledger.lines.load(ctx, growing()) == 6 * GROUP
    assert most <= 2 * GROUP


# -- out


async def test_a_stream_has_the_rows_of_the_list_that_the_caller_may_read(store: Opener) -> None:
    ledger = Ledger()
    opened = await store(ledger.module)
    rows = [line(n, owner="ann" if n % 3 else "bob") for n in range(MANY)]
    async with opened.writing(STAFF) as ctx:
        await ledger.lines.load(ctx, rows)
    other = Principal(subject="ann", tenant="other", roles=frozenset({"staff"}))
    assert await ledger.all(opened) == in_order(rows)
    assert await ledger.all(opened, ANN) == in_order([row for row in rows if row.owner == "ann"])
    assert await ledger.all(opened, other) == []
    async with opened.reading(STAFF) as ctx:
        heavy = [row async for row in ledger.lines.stream(ctx, ledger.by_weight, least=4)]
    assert heavy == in_order([row for row in rows if row.weight == 4])


async def test_rows_that_were_streamed_are_not_kept_while_more_come(store: Opener) -> None:
    ledger = Ledger()
    opened = await store(ledger.module)
    async with opened.writing(STAFF) as ctx:
        await ledger.lines.load(ctx, map(line, range(6 * GROUP)))
    alive: weakref.WeakSet[Line] = weakref.WeakSet()
    most = 0
    async with opened.reading(STAFF) as ctx:
        async for row in ledger.lines.stream(ctx, ledger.by_weight):
            alive.add(row)
            most = max(most, len(alive))
    assert most <= 2 * GROUP


async def test_streams_hold_nothing_between_two_groups(url: str) -> None:
    """Of one connection there are six readers who stand still, and somebody who writes."""
    database = open_database(url, replace(settings_for(url), pool_size=1))
    await database.open()
    try:
        ledger = Ledger()
        opened = await bound(database, ledger)
        async with opened.writing(STAFF) as ctx:
            await ledger.lines.load(ctx, map(line, range(MANY)))
        async with opened.reading(STAFF) as ctx:
            streams = [ledger.lines.stream(ctx, ledger.by_weight) for _ in range(6)]
            seen = [[await anext(stream)] for stream in streams]
            async with opened.writing(STAFF) as writing:
                await ledger.lines.delete(writing, line(MANY - 1).id)
            for stream, rows in zip(streams, seen, strict=True):
                rows += [row async for row in stream]
        assert {len(rows) for rows in seen} <= {MANY - 1, MANY}
    finally:
        await database.close()


async def bound(database: Database, ledger: Ledger) -> Store:
    plans, faults = bind([ledger.module], database.dialect, KEY)
    assert not faults
    await database.create(schema([ledger.module], database.dialect))
    return Store(database, ledger.module, plans)


async def test_arguments_that_do_not_fit_are_refused_before_the_first_row(store: Opener) -> None:
    ledger = Ledger()
    opened = await store(ledger.module)
    unchecked: Any = ledger.lines  # type checkers refuse it, too
    async with opened.reading(ANN) as ctx:
        with pytest.raises(TypeError):
            unchecked.stream(ctx, ledger.by_weight, most=3)


# -- snapshots


async def test_a_snapshot_is_of_one_instant_and_in_nobodys_way(store: Opener) -> None:
    ledger = Ledger()
    opened = await store(ledger.module)
    async with opened.writing(STAFF) as ctx:
        await ledger.lines.load(ctx, map(line, range(MANY)))
    plan = opened.plans[ledger.lines]
    listing = plan.listings[ledger.by_weight]
    async with opened.reading(STAFF) as ctx:
        query = listing.first[0][plan.readable.choose(ctx)]
        values = query.values(ctx, (None, 2**63 - 1))
    snapshot = opened.database.snapshot()
    snapshot.tenant = STAFF.tenant
    found: list[int] = []
    groups = 0
    async for rows in snapshot.scan(query.statement, values, 100):
        assert len(rows) <= 100
        found += [row[0] for row in rows]
        async with opened.writing(STAFF) as ctx:  # one leaves and one comes between each two groups
            await ledger.lines.delete(ctx, groups)
            await ledger.lines.insert(ctx, line(MANY + groups))
        groups += 1
    assert groups == MANY // 100 + 1
    assert sorted(found) == list(range(MANY))
    again = [rows async for rows in snapshot.scan(query.statement, values, 1000)]
    assert sorted(row[0] for rows in again for row in rows) == list(range(MANY))
    await snapshot.close()


async def test_a_scan_that_is_left_ends_with_its_snapshot(store: Opener) -> None:
    ledger = Ledger()
    opened = await store(ledger.module)
    async with opened.writing(STAFF) as ctx:
        await ledger.lines.load(ctx, map(line, range(MANY)))
    plan = opened.plans[ledger.lines]
    async with opened.reading(STAFF) as ctx:
        query = plan.listings[ledger.by_weight].first[0][plan.readable.choose(ctx)]
        values = query.values(ctx, (None, 2**63 - 1))
    for _ in range(opened.database.snapshots + 3):  # each gives its connection back
        snapshot = opened.database.snapshot()
        snapshot.tenant = STAFF.tenant
        async with aclosing(snapshot.scan(query.statement, values, 10)) as groups:
            assert len(await anext(groups)) == 10
            await snapshot.close()
            with pytest.raises(TransactionFailed):
                await anext(groups)
