"""What type checkers must infer; `make check` runs both over this file."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, NewType, assert_type
from uuid import UUID

from trivet import (
    PUBLIC,
    AlreadyExists,
    Command,
    Event,
    Fill,
    Job,
    JobStatus,
    Module,
    Page,
    PageRequest,
    Patch,
    Query,
    Read,
    Run,
    Stream,
    Struct,
    View,
    Write,
)
from trivet.core.edge import Edge
from trivet.rpc import Client, Incoming, Service

ProductId = NewType("ProductId", UUID)


class Product(Struct):
    id: ProductId
    sku: str = "x"


class NewProduct(Struct):
    sku: str


class SkuTaken(AlreadyExists):
    """A product with this SKU exists already."""

    sku: str


class Added(Event):
    product_id: ProductId


class Removed(Event):
    product_id: ProductId


m = Module("catalog")


@m.query(public=True, timeout=3)
async def get_product(ctx: Read, id: ProductId) -> Product:
    return Product(id=id)


@m.query(public=True)
async def list_products(ctx: Read, page: PageRequest, brand: str | None = None) -> Page[Product]:
    return Page(items=[])


@m.command(scope="catalog.write", raises=[SkuTaken])
async def create_product(ctx: Write, product: NewProduct) -> Product:
    found = await ctx.call(get_product, ProductId(ctx.new_id()))
    assert_type(found, Product)
    page = await ctx.call(list_products, PageRequest(), brand="x")
    assert_type(page, Page[Product])
    ctx.emit(Added(product_id=found.id))
    assert_type(await ctx.send(create_product, product), UUID)
    return await ctx.call(create_product, product=product)


@m.command(scope=["catalog.write", "catalog.admin"])
async def update_product(ctx: Write, id: ProductId, changes: Patch[NewProduct]) -> Product:
    found = await ctx.call(get_product, id)
    return changes.apply(found)


@m.query(internal=True, acts_as="module")
async def count(ctx: Read) -> int:
    return 1


@m.stream(public=True)
async def watch(ctx: Read) -> AsyncIterator[Added | Removed]:
    async for event in ctx.follow(Added, Removed):
        assert_type(event, Added | Removed)
        yield event


@m.stream(scope="catalog.write")
async def import_products(ctx: Run, products: AsyncIterator[NewProduct], dry: bool = False) -> int:
    async for product in products:
        assert_type(product, NewProduct)
        assert_type(await ctx.call(create_product, product), Product)
    return 1


@m.stream(public=True)
async def match_products(ctx: Run, products: AsyncIterator[NewProduct]) -> AsyncIterator[ProductId]:
    async for product in products:
        yield (await ctx.call(create_product, product)).id


@m.job(scope="catalog.write")
async def rebuild(ctx: Run, day: str) -> int:
    ctx.progress(1, 2)
    assert_type(await ctx.call(create_product, NewProduct(sku="x")), Product)
    return 1


@m.edge(Product, "like", public=True)
async def like(ctx: Read, products: Sequence[Product], page: PageRequest) -> Sequence[Page[Product]]:
    return []


@m.on(Added)
async def added(ctx: Write, event: Added) -> None:
    ctx.log.info("added", product=event.product_id)


sales = View(m, Product, key=lambda p: p.id, readable=PUBLIC)


@sales.on(Added)
async def fill(ctx: Fill, event: Added) -> None:
    await sales.put(ctx, Product(id=event.product_id))
    await sales.change(ctx, event.product_id, lambda known: known)
    await sales.remove(ctx, event.product_id)


@sales.source
async def every(ctx: Read) -> AsyncIterator[Product]:
    assert_type(await sales.get(ctx, ProductId(UUID(int=1))), Product)
    yield Product(id=ProductId(UUID(int=1)))


def types() -> None:
    """Say what the declarations are."""
    a: Query[..., Product] = get_product
    b: Command[..., Product] = create_product
    c: Stream[..., Added | Removed] = watch
    d: Job[..., int] = rebuild
    e: Edge[Any, ..., Page[Product]] = like
    error = SkuTaken(sku="x", detail="why")
    assert_type(error.sku, str)
    assert_type(error.detail, str | None)
    _ = (a, b, c, d, e)


async def several() -> AsyncIterator[NewProduct]:
    """Give some."""
    yield NewProduct(sku="x")


async def far(client: Client, service: Service, ctx: Read, product: NewProduct, id: ProductId) -> None:
    """Say what comes back from another process."""
    assert_type(await client.call(get_product, id), Product)
    assert_type(await client.call(import_products, several(), dry=True), int)
    assert_type(await client.call(match_products, several()), Incoming[ProductId])
    assert_type(await client.call(list_products, PageRequest(), brand="x"), Page[Product])
    assert_type(await client.with_options(timeout=1, idempotency_key="k").call(create_product, product), Product)
    assert_type(await service.get(ctx).call(rebuild, "2026-01-01"), JobStatus)
    items = await client.within(ctx).call(watch)
    assert_type(items, Incoming[Added | Removed])
    async for item in items:
        assert_type(item, Added | Removed)
