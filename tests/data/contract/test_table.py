"""What the verbs of a table promise, on every engine."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NewType
from uuid import UUID

import msgspec
import pytest
import sqlalchemy as sa

from tests.data.conftest import GUARDED, Opener, Store
from trivet.core.error import AlreadyExists, Conflict, InvalidArgument, NotFound, PermissionDenied
from trivet.core.module import Module
from trivet.core.page import PageRequest
from trivet.core.principal import Principal
from trivet.core.shape import Struct
from trivet.core.value import Amount, Money
from trivet.data import PUBLIC, Table, Unique
from trivet.data.selection import Rows

ProductId = NewType("ProductId", UUID)
STAFF = Principal(subject="staff", roles=frozenset({"staff"}))
ANN = Principal(subject="ann")
BOB = Principal(subject="bob")


class Product(Struct):
    id: ProductId
    sku: str
    brand: str
    price: Money
    stock: int
    owner: str
    secret: bool
    version: int
    create_time: datetime


class SkuTaken(AlreadyExists):
    """A product with this SKU exists already."""

    sku: str


class BrandPrice(Struct):
    brand: str
    lowest: Amount


class Shop:
    """A module with one table: secrets are for their owners and staff, only owners and staff write."""

    def __init__(self) -> None:
        self.module = Module("shop")
        self.products = products = Table(
            self.module,
            Product,
            key=lambda p: p.id,
            unique=[Unique("sku", error=lambda p: SkuTaken(sku=p.sku))],
            readable=lambda who, p: not_secret(p) | (p.owner == who.subject) | who.has("staff"),
            writable=lambda who, p: (p.owner == who.subject) | who.has("staff"),
        )

        @products.listing(order=["brand", "-create_time"])
        def by_brand(p: Product, brand: str | None = None) -> bool:
            return p.brand == brand

        @products.selection(BrandPrice)
        def lowest_prices(rows: Rows, most: Amount) -> sa.Select[Any]:
            p = rows[products].c
            lowest = sa.func.min(p.price_amount).label("lowest")
            return sa.select(lowest, p.brand).where(p.price_amount <= most).group_by(p.brand).order_by(p.brand)

        self.by_brand = by_brand
        self.lowest_prices = lowest_prices


def not_secret(p: Product) -> bool:
    return p.secret == False  # noqa: E712 - traced


def product(number: int, **changes: Any) -> Product:
    made = Product(
        id=ProductId(UUID(int=number)),
        sku=f"sku-{number}",
        brand="acme",
        price=Money(amount=Decimal(number), currency="EUR"),
        stock=5,
        owner="ann",
        secret=False,
        version=1,
        create_time=datetime(2026, 1, 1, tzinfo=UTC),
    )
    return msgspec.structs.replace(made, **changes)


async def filled(store: Opener, shop: Shop, *rows: Product) -> Store:
    opened = await store(shop.module)
    async with opened.writing(STAFF) as ctx:
        await shop.products.insert_many(ctx, rows)
    return opened


async def test_a_row_is_got_by_its_key(store: Opener) -> None:
    shop = Shop()
    opened = await filled(store, shop, product(1), product(2))
    async with opened.reading() as ctx:
        assert await shop.products.get(ctx, product(1).id) == product(1)
        assert await shop.products.find(ctx, product(2).id) == product(2)


async def test_a_missing_row_is_not_found(store: Opener) -> None:
    shop = Shop()
    opened = await filled(store, shop)
    async with opened.reading() as ctx:
        assert await shop.products.find(ctx, product(1).id) is None
        with pytest.raises(NotFound, match="Product 00000000-0000-0000-0000-000000000001 does not exist"):
            await shop.products.get(ctx, product(1).id)


async def test_many_are_got_in_the_order_of_the_keys_with_repeats_and_gaps(store: Opener) -> None:
    shop = Shop()
    opened = await filled(store, shop, product(1), product(2))
    async with opened.reading() as ctx:
        found = await shop.products.get_many(ctx, [product(n).id for n in (2, 3, 1, 2)])
        assert found == [product(2), None, product(1), product(2)]
        assert await shop.products.get_many(ctx, []) == []


async def test_a_row_that_the_caller_may_not_read_is_not_there(store: Opener) -> None:
    shop = Shop()
    opened = await filled(store, shop, product(1, secret=True))
    async with opened.reading(BOB) as ctx:
        assert await shop.products.find(ctx, product(1).id) is None
        assert await shop.products.get_many(ctx, [product(1).id]) == [None]
        assert (await shop.products.page(ctx, shop.by_brand, PageRequest())).items == []
        assert (await shop.products.page_by(ctx, shop.by_brand, ["acme"], PageRequest()))[0].items == []
        assert await shop.products.select(ctx, shop.lowest_prices, Decimal(100)) == []
    async with opened.reading(ANN) as ctx:
        assert await shop.products.find(ctx, product(1).id) is not None
    async with opened.reading(BOB, unrestricted=True) as ctx:
        assert await shop.products.find(ctx, product(1).id) is not None
        assert len(await shop.products.select(ctx, shop.lowest_prices, Decimal(100))) == 1


async def test_an_update_stores_the_next_version(store: Opener) -> None:
    shop = Shop()
    opened = await filled(store, shop, product(1))
    async with opened.writing(ANN) as ctx:
        changed = await shop.products.update(ctx, product(1, stock=7))
        assert (changed.version, changed.stock) == (2, 7)
        assert await shop.products.get(ctx, changed.id) == changed


async def test_an_update_from_an_old_version_conflicts_and_changes_nothing(store: Opener) -> None:
    shop = Shop()
    opened = await filled(store, shop, product(1))
    async with opened.writing(ANN) as ctx:
        await shop.products.update(ctx, product(1, stock=7))
    async with opened.writing(ANN) as ctx:
        with pytest.raises(Conflict):
            await shop.products.update(ctx, product(1, stock=8))
        assert (await shop.products.get(ctx, product(1).id)).stock == 7


async def test_a_change_is_refused_with_404_403_or_409_in_this_order(store: Opener) -> None:
    shop = Shop()
    opened = await filled(store, shop, product(1), product(2, secret=True))
    async with opened.writing(BOB) as ctx:
        with pytest.raises(NotFound):
            await shop.products.delete(ctx, product(3).id)
        with pytest.raises(NotFound):
            await shop.products.delete(ctx, product(2).id)
        with pytest.raises(PermissionDenied):
            await shop.products.delete(ctx, product(1).id, version=99)
    async with opened.writing(ANN) as ctx:
        with pytest.raises(Conflict):
            await shop.products.delete(ctx, product(1).id, version=99)
        await shop.products.delete(ctx, product(1).id, version=1)
        await shop.products.delete(ctx, product(2).id)
        assert await shop.products.get_many(ctx, [product(1).id, product(2).id]) == [None, None]


async def test_the_old_state_and_the_new_one_have_to_be_writable(store: Opener) -> None:
    shop = Shop()
    opened = await filled(store, shop, product(1), product(2, owner="bob"))
    async with opened.writing(ANN) as ctx:
        with pytest.raises(PermissionDenied):
            await shop.products.update(ctx, product(1, owner="bob"))  # gives it away
        with pytest.raises(PermissionDenied):
            await shop.products.update(ctx, product(2, owner="ann"))  # takes it
        with pytest.raises(PermissionDenied):
            await shop.products.insert(ctx, product(3, owner="bob"))
    async with opened.writing(BOB, unrestricted=True) as ctx:
        await shop.products.update(ctx, product(1, owner="bob"))


async def test_what_is_unique_is_refused_with_the_declared_error(store: Opener) -> None:
    shop = Shop()
    opened = await filled(store, shop, product(1), product(2))
    for attempt in (shop.products.insert, shop.products.update):
        session = opened.writing(ANN)
        ctx = await session.__aenter__()
        row = product(3, sku="sku-1") if attempt == shop.products.insert else product(2, sku="sku-1")
        with pytest.raises(SkuTaken) as taken:
            await attempt(ctx, row)
        assert taken.value.sku == "sku-1"
        await ctx._work.session.close()


async def test_a_key_that_is_taken_exists_already(store: Opener) -> None:
    shop = Shop()
    opened = await filled(store, shop, product(1))
    session = opened.database.session(write=True)
    with pytest.raises(AlreadyExists, match="Product with this id exists already"):
        async with opened.writing(ANN) as ctx:
            await shop.products.insert(ctx, product(1, sku="other"))
    await session.close()


async def test_many_rows_are_added_all_or_none(store: Opener) -> None:
    shop = Shop()
    opened = await filled(store, shop, product(5))
    with pytest.raises(AlreadyExists):
        async with opened.writing(ANN) as ctx:
            await shop.products.insert_many(ctx, [product(number) for number in range(1, 200)])
    async with opened.reading() as ctx:
        assert await shop.products.find(ctx, product(1).id) is None


async def test_a_locked_row_is_never_oversold(store: Opener) -> None:
    shop = Shop()
    opened = await filled(store, shop, product(1, stock=5))

    async def sell() -> bool:
        async with opened.writing(STAFF) as ctx:
            found = await shop.products.lock(ctx, product(1).id)
            await asyncio.sleep(0)
            if not found.stock:
                return False
            await shop.products.update(ctx, msgspec.structs.replace(found, stock=found.stock - 1))
            return True

    assert sum(await asyncio.gather(*(sell() for _ in range(12)))) == 5
    async with opened.reading() as ctx:
        assert (await shop.products.get(ctx, product(1).id)).stock == 0


async def test_many_are_locked_in_the_order_of_the_keys_given(store: Opener) -> None:
    shop = Shop()
    opened = await filled(store, shop, product(1), product(2))
    async with opened.writing(STAFF) as ctx:
        found = await shop.products.lock_many(ctx, [product(2).id, product(9).id, product(1).id])
        assert found == [product(2), None, product(1)]
        with pytest.raises(NotFound):
            await shop.products.lock(ctx, product(9).id)


async def test_a_selection_gives_typed_rows_by_name(store: Opener) -> None:
    shop = Shop()
    opened = await filled(store, shop, product(1), product(2), product(3, brand="zeta"), product(9, brand="zeta"))
    async with opened.reading() as ctx:
        assert await shop.products.select(ctx, shop.lowest_prices, Decimal(5)) == [
            BrandPrice(brand="acme", lowest=Decimal(1)),
            BrandPrice(brand="zeta", lowest=Decimal(3)),
        ]


async def test_a_context_reaches_only_its_own_modules_tables(store: Opener) -> None:
    shop, other = Shop(), Shop()
    opened = await filled(store, shop, product(1))
    await store(other.module)
    async with opened.reading() as ctx:
        with pytest.raises(TypeError, match="belongs to module shop"):
            await other.products.find(ctx, product(1).id)


async def test_a_reading_context_changes_nothing(store: Opener) -> None:
    shop = Shop()
    opened = await filled(store, shop, product(1))
    async with opened.reading(STAFF) as ctx:
        reader: Any = ctx
        for verb, argument in (("insert", product(2)), ("update", product(1)), ("delete", product(1).id)):
            with pytest.raises(TypeError, match="make the operation a command"):
                await getattr(shop.products, verb)(reader, argument)


async def test_a_key_may_have_several_fields(store: Opener) -> None:
    class Line(Struct):
        order: UUID
        number: int
        text: str

    module = Module("lines")
    lines = Table(module, Line, key=lambda line: (line.order, line.number), readable=PUBLIC, writable=PUBLIC)
    opened = await store(module)
    first, second = (Line(order=UUID(int=1), number=n, text="x") for n in (1, 2))
    async with opened.writing() as ctx:
        await lines.insert_many(ctx, [first, second])
        assert await lines.get(ctx, (UUID(int=1), 2)) == second
        keys = [(UUID(int=1), 2), (UUID(int=2), 1), (UUID(int=1), 1)]
        assert await lines.get_many(ctx, keys) == [second, None, first]
        assert await lines.lock_many(ctx, keys) == [second, None, first]
        await lines.update(ctx, msgspec.structs.replace(first, text="y"))
        await lines.delete(ctx, (UUID(int=1), 2))
        assert await lines.get_many(ctx, keys) == [None, None, msgspec.structs.replace(first, text="y")]


class Note(Struct):
    id: int
    tenant: str
    name: str


@pytest.mark.parametrize("url", GUARDED, indirect=True)
async def test_rows_of_another_tenant_are_out_of_reach_even_for_who_acts_as_the_module(store: Opener) -> None:
    module = Module("notes")
    notes = Table(
        module, Note, key=lambda n: n.id, tenant=lambda n: n.tenant, unique=["name"], readable=PUBLIC, writable=PUBLIC
    )

    @notes.listing(order="name")
    def by_name(n: Note, name: str | None = None) -> bool:
        return n.name == name

    class Count(Struct):
        number: int

    @notes.selection(Count)
    def count(rows: Rows) -> sa.Select[Any]:
        return sa.select(sa.func.count().label("number")).select_from(rows[notes])

    opened = await store(module)
    red, blue = Principal(subject="r", tenant="red"), Principal(subject="b", tenant="blue")
    for unrestricted in (False, True):
        row = Note(id=int(unrestricted), tenant="red", name=str(unrestricted))
        async with opened.writing(red, unrestricted=unrestricted) as ctx:
            await notes.insert(ctx, row)
            assert await notes.select(ctx, count) == [Count(number=1 + unrestricted)]
        async with opened.writing(blue, unrestricted=unrestricted) as ctx:
            assert await notes.find(ctx, row.id) is None
            assert await notes.get_many(ctx, [row.id]) == [None]
            assert (await notes.page(ctx, by_name, PageRequest())).items == []
            assert [page.items for page in await notes.page_by(ctx, by_name, [row.name], PageRequest())] == [[]]
            assert await notes.select(ctx, count) == [Count(number=0)]
            with pytest.raises(NotFound):
                await notes.delete(ctx, row.id)
            with pytest.raises(PermissionDenied):
                await notes.update(ctx, row)
            with pytest.raises(NotFound):
                await notes.update(ctx, msgspec.structs.replace(row, tenant="blue"))
            with pytest.raises(PermissionDenied):
                await notes.insert(ctx, msgspec.structs.replace(row, id=9))
    async with opened.reading() as anonymous:
        with pytest.raises(PermissionDenied, match="tenant"):
            await notes.find(anonymous, 1)


@pytest.mark.parametrize("url", GUARDED, indirect=True)
async def test_what_is_unique_is_unique_per_tenant(store: Opener) -> None:
    module = Module("notes")
    notes = Table(
        module, Note, key=lambda n: n.id, tenant=lambda n: n.tenant, unique=["name"], readable=PUBLIC, writable=PUBLIC
    )
    opened = await store(module)
    for number, tenant in enumerate(("red", "blue")):
        async with opened.writing(Principal(subject="x", tenant=tenant)) as ctx:
            await notes.insert(ctx, Note(id=number, tenant=tenant, name="same"))
    with pytest.raises(AlreadyExists, match="Note with this name"):
        async with opened.writing(Principal(subject="x", tenant="red")) as ctx:
            await notes.insert(ctx, Note(id=7, tenant="red", name="same"))


async def test_several_parents_take_no_token(store: Opener) -> None:
    shop = Shop()
    opened = await filled(store, shop)
    async with opened.reading() as ctx:
        with pytest.raises(InvalidArgument):
            await shop.products.page_by(ctx, shop.by_brand, ["a", "b"], PageRequest(page_token="x"))
        assert await shop.products.page_by(ctx, shop.by_brand, [], PageRequest()) == []
