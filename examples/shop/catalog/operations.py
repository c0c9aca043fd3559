"""What can be done with the catalog."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from decimal import Decimal
from typing import Annotated

from shop.catalog.model import (
    MAX_BATCH,
    Brand,
    NewProduct,
    OutOfStock,
    Product,
    ProductId,
    ProductsImported,
    ProductUnknown,
    SkuTaken,
    StockLine,
    released,
    reserved,
)
from shop.catalog.module import catalog
from shop.catalog.tables import by_filter, products
from shop.price import check_price
from trivet import Cache, Example, Meta, Page, PageRequest, Patch, Read, Run, Write, digits

PriceBound = Annotated[Decimal, Meta(extra=digits(18, 4))]
SearchText = Annotated[str, Meta(min_length=1, max_length=100, description="Part of the name")]
Words = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=200,
        description='Words that a product has, "phrases", beginnings* of words, and -words that it does not have',
    ),
]
ProductIds = Annotated[list[ProductId], Meta(min_length=1, max_length=MAX_BATCH)]
NewProducts = Annotated[list[NewProduct], Meta(min_length=1, max_length=MAX_BATCH)]
StockLines = Annotated[list[StockLine], Meta(min_length=1, max_length=MAX_BATCH)]


@catalog.query(public=True, cache=Cache(ttl=60, tags=("product:{id}",)))
async def get_product(ctx: Read, id: ProductId) -> Product:
    """Return one product."""
    return await products.get(ctx, id)


@catalog.query(public=True)
async def get_products(ctx: Read, ids: ProductIds) -> list[Product | None]:
    """Return several products, in the order of their ids; null where there is none."""
    return await products.get_many(ctx, ids)


@catalog.query(
    public=True,
    examples=[Example(arguments={"page": {"page_size": 10}, "text": "chair", "max_price": "200"})],
)
async def list_products(
    ctx: Read,
    page: PageRequest,
    brand: Brand | None = None,
    min_price: PriceBound | None = None,
    max_price: PriceBound | None = None,
    text: SearchText | None = None,
) -> Page[Product]:
    """List products, newest first, of one brand, within a range of prices, or with a text in their name."""
    return await products.page(ctx, by_filter, page, brand=brand, min_price=min_price, max_price=max_price, text=text)


@catalog.query(
    public=True,
    examples=[
        Example(arguments={"page": {"page_size": 10}, "query": 'oak "dining table" -leather', "max_price": "900"})
    ],
)
async def search_products(
    ctx: Read,
    page: PageRequest,
    query: Words,
    brand: Brand | None = None,
    min_price: PriceBound | None = None,
    max_price: PriceBound | None = None,
) -> Page[Product]:
    """Find products by words in their names, brands and descriptions, the most relevant first."""
    return await products.search(ctx, by_filter, query, page, brand=brand, min_price=min_price, max_price=max_price)


@catalog.command(
    scope="catalog.products.write",
    raises=[SkuTaken],
    examples=[
        Example(
            arguments={
                "product": {
                    "sku": "CHR-OAK-01",
                    "name": "Oak chair",
                    "brand": "Nordwald",
                    "price": {"amount": "149.00", "currency": "EUR"},
                    "stock": 12,
                    "tags": ["oak", "dining"],
                }
            }
        )
    ],
)
async def create_product(ctx: Write, product: NewProduct) -> Product:
    """Add a product to the catalog."""
    check_price(product.price, "#/price")
    created = Product(
        id=ProductId(ctx.new_id()),
        sku=product.sku,
        name=product.name,
        description=product.description,
        brand=product.brand,
        price=product.price,
        stock=product.stock,
        tags=product.tags,
        version=1,
        create_time=ctx.now,
        update_time=ctx.now,
    )
    await products.insert(ctx, created)
    return created


@catalog.stream(scope="catalog.products.write")
async def import_products(ctx: Run, products: AsyncIterator[NewProduct]) -> ProductsImported:
    """Add products as they come, a hundred at a time.

    What the catalog has already is passed over: an import that was interrupted is sent again.
    """
    added = place = 0
    batch: list[NewProduct] = []
    async for product in products:
        check_price(product.price, f"#/products/{place}/price")
        place += 1
        batch.append(product)
        if len(batch) == MAX_BATCH:
            added += await ctx.call(add_products, batch)
            batch = []
    if batch:
        added += await ctx.call(add_products, batch)
    return ProductsImported(added=added, known=place - added)


@catalog.command(internal=True)
async def add_products(ctx: Write, batch: NewProducts) -> int:
    """Add those products whose SKU is new, and return how many they are."""
    added = 0
    for product in batch:
        with suppress(SkuTaken):
            await ctx.call(create_product, product)
            added += 1
    return added


@catalog.command(scope="catalog.products.write", raises=[SkuTaken])
async def update_product(ctx: Write, id: ProductId, changes: Patch[NewProduct]) -> Product:
    """Change some fields of a product."""
    product = await products.lock(ctx, id)
    changed = changes.apply(product, update_time=ctx.now)
    check_price(changed.price, "#/price")
    return await products.update(ctx, changed)


@catalog.command(scope="catalog.products.write")
async def delete_product(ctx: Write, id: ProductId) -> None:
    """Take a product out of the catalog; orders keep what they say about it."""
    await products.delete(ctx, id)


@catalog.command(internal=True, acts_as="module", raises=[ProductUnknown, OutOfStock])
async def reserve_stock(ctx: Write, lines: StockLines) -> None:
    """Take the lines from the stock: all of them or none."""
    for product in reserved(await _stock(ctx, lines), lines, ctx.now):
        await products.update(ctx, product)


@catalog.command(internal=True, acts_as="module")
async def release_stock(ctx: Write, lines: StockLines) -> None:
    """Put the lines back into the stock; a product that is no longer sold is passed over."""
    for product in released(await _stock(ctx, lines), lines, ctx.now):
        await products.update(ctx, product)


async def _stock(ctx: Write, lines: list[StockLine]) -> dict[ProductId, Product]:
    found = await products.lock_many(ctx, [line.product_id for line in lines])
    return {product.id: product for product in found if product is not None}
