"""Every kind of value comes back as it was stored, and what a column can not hold is refused."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta, timezone
from decimal import Decimal, localcontext
from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.conftest import Engine, Opener
from tests.data.shapes import Everything, everything
from trivet.core.error import Error, InvalidArgument, OutOfRange
from trivet.core.module import Module
from trivet.core.shape import Meta, Struct
from trivet.core.value import Money, digits
from trivet.data import PUBLIC, Table


@settings(max_examples=100)
@given(rows=st.lists(everything(), min_size=1, max_size=2, unique_by=lambda row: row.id))
def test_rows_come_back_as_they_were_stored_alone_and_together(engine: Engine, rows: list[Everything]) -> None:
    module = Module("values")
    table = Table(module, Everything, key=lambda e: e.id, readable=PUBLIC, writable=PUBLIC)

    async def round_trip() -> tuple[list[Everything], list[Everything | None]]:
        store = await engine.empty(module)
        async with store.writing() as ctx:
            for row in rows:
                await table.insert(ctx, row)
        async with store.reading() as ctx:
            alone = [await table.get(ctx, row.id) for row in rows]
            return alone, await table.get_many(ctx, [row.id for row in rows])

    assert engine.run(round_trip()) == (rows, rows)


async def test_an_instant_with_an_offset_comes_back_in_utc(store: Opener) -> None:
    class Moment(Struct):
        id: int
        at: datetime

    module = Module("moments")
    moments = Table(module, Moment, key=lambda m: m.id, readable=PUBLIC, writable=PUBLIC)
    opened = await store(module)
    there = datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    async with opened.writing() as ctx:
        await moments.insert(ctx, Moment(id=1, at=there))
        found = await moments.get(ctx, 1)
    assert found.at == there
    assert found.at.utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    ("stored", "read"),
    [("12.5000", "12.50"), ("12.5", "12.50"), ("0", "0.00"), ("0.0125", "0.0125"), ("-7", "-7.00"), ("1e3", "1000.00")],
)
async def test_an_amount_reads_the_same_on_every_engine(store: Opener, stored: str, read: str) -> None:
    class Price(Struct):
        id: int
        amount: Money

    module = Module("prices")
    prices = Table(module, Price, key=lambda p: p.id, readable=PUBLIC, writable=PUBLIC)
    opened = await store(module)
    async with opened.writing() as ctx:
        await prices.insert(ctx, Price(id=1, amount=Money(amount=Decimal(stored), currency="EUR")))
        found = [await prices.get(ctx, 1), *await prices.get_many(ctx, [1])]
    assert [str(each.amount.amount) for each in found if each is not None] == [read, read]


async def test_a_decimal_is_exact_whatever_a_handler_does_to_its_own_context(store: Opener) -> None:
    module = Module("bounds")
    table = Table(module, Bounded, key=lambda b: b.id, readable=PUBLIC, writable=PUBLIC)
    opened = await store(module)
    row = Bounded(id=1, rate=Decimal("123.45"))
    async with opened.writing() as ctx:
        with localcontext() as own:
            own.prec = 3
            await table.insert(ctx, row)
            found = [await table.get(ctx, 1), *await table.get_many(ctx, [1])]
    assert found == [row, row]


async def test_the_last_and_the_first_instant_are_instants(store: Opener) -> None:
    class Reign(Struct):
        id: int
        until: datetime
        seen: datetime | None = None

    module = Module("reigns")
    reigns = Table(module, Reign, key=lambda r: r.id, readable=PUBLIC, writable=PUBLIC)
    opened = await store(module)
    rows = [
        Reign(id=1, until=datetime.max.replace(tzinfo=UTC), seen=datetime.max.replace(tzinfo=UTC)),
        Reign(id=2, until=datetime.min.replace(tzinfo=UTC)),
    ]
    async with opened.writing() as ctx:
        await reigns.insert_many(ctx, rows)
        assert await reigns.get_many(ctx, [1, 2]) == rows


class Bounded(Struct):
    id: int
    number: int = 0
    text: str = ""
    ratio: float = 0.0
    at: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    clock: time = time()
    span: timedelta = timedelta()
    rate: Annotated[Decimal, Meta(extra=digits(5, 2))] = Decimal(0)
    tags: list[str] = []


@pytest.mark.parametrize(
    ("field", "value", "error"),
    [
        pytest.param("number", 2**63, OutOfRange, id="an integer of more than 64 bits"),
        pytest.param("number", -(2**63) - 1, OutOfRange, id="a negative integer of more than 64 bits"),
        pytest.param("span", timedelta.max, OutOfRange, id="a span of more than 64 bits"),
        pytest.param("text", "a\0b", InvalidArgument, id="text with U+0000"),
        pytest.param("text", "\ud800", InvalidArgument, id="a lone surrogate"),
        pytest.param("ratio", float("nan"), InvalidArgument, id="NaN"),
        pytest.param("ratio", float("inf"), InvalidArgument, id="infinity"),
        pytest.param("at", datetime(2026, 1, 1), InvalidArgument, id="a naive instant"),  # noqa: DTZ001 - naive on purpose
        pytest.param("clock", time(1, tzinfo=UTC), InvalidArgument, id="a time with an offset"),
        pytest.param("rate", Decimal("1000"), OutOfRange, id="a decimal with too many digits"),
        pytest.param("rate", Decimal("1e999999"), OutOfRange, id="a huge decimal"),
        pytest.param("rate", Decimal("0.001"), InvalidArgument, id="a decimal that is too exact"),
        pytest.param("rate", Decimal("1e-999999"), InvalidArgument, id="a tiny decimal"),
        pytest.param("rate", Decimal("NaN"), InvalidArgument, id="a decimal that is not a number"),
        pytest.param("tags", ["\0"], InvalidArgument, id="JSON with U+0000"),
    ],
)
async def test_a_value_that_its_column_can_not_hold_is_refused(
    store: Opener, field: str, value: object, error: type[Error]
) -> None:
    module = Module("bounds")
    table = Table(module, Bounded, key=lambda b: b.id, readable=PUBLIC, writable=PUBLIC)
    opened = await store(module)
    async with opened.writing() as ctx:
        changes: dict[str, Any] = {field: value}
        with pytest.raises(error) as refused:
            await table.insert(ctx, msgspec.structs.replace(Bounded(id=1), **changes))
    if isinstance(refused.value, InvalidArgument):
        assert [each.pointer for each in refused.value.violations] == [f"#/{field}"]


@pytest.mark.parametrize(
    "value", [Decimal("0e999999"), Decimal("-0"), Decimal("1.10"), Decimal("999.99"), Decimal("1e2")]
)
async def test_a_decimal_within_its_digits_is_kept_however_it_is_written(store: Opener, value: Decimal) -> None:
    module = Module("bounds")
    table = Table(module, Bounded, key=lambda b: b.id, readable=PUBLIC, writable=PUBLIC)
    opened = await store(module)
    async with opened.writing() as ctx:
        await table.insert(ctx, Bounded(id=1, rate=value))
        assert (await table.get(ctx, 1)).rate == value


async def test_a_key_that_no_column_holds_is_refused(store: Opener) -> None:
    module = Module("bounds")
    table = Table(module, Bounded, key=lambda b: b.id, readable=PUBLIC, writable=PUBLIC)
    opened = await store(module)
    async with opened.reading() as ctx:
        with pytest.raises(OutOfRange):
            await table.find(ctx, 2**64)
        with pytest.raises(OutOfRange):
            await table.get_many(ctx, [2**64])


async def test_a_value_of_another_type_is_a_bug_and_says_so(store: Opener) -> None:
    module = Module("bounds")
    table = Table(module, Bounded, key=lambda b: b.id, readable=PUBLIC, writable=PUBLIC)
    opened = await store(module)
    wrong: Any = "seven"
    async with opened.writing() as ctx:
        with pytest.raises(TypeError, match="expected an int, got 'seven'"):
            await table.insert(ctx, Bounded(id=wrong))
