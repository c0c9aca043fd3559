"""A small application with a sharded table and read models that its events keep: on SQLite or on three nodes."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Annotated

import asyncpg

from tests.data.sharding.nodes import three
from trivet import (
    PUBLIC,
    App,
    Event,
    Fill,
    Meta,
    Module,
    Page,
    PageRequest,
    Read,
    Struct,
    Table,
    Unavailable,
    View,
    Write,
)
from trivet.data.database import Contention
from trivet.settings import DatabaseSettings, Url
from trivet.testing import Client
from trivet.testing.app import settings_for_tests

Name = Annotated[str, Meta(min_length=1, max_length=40)]


@contextmanager
def empty_nodes(engine: str, directory: Path) -> Iterator[DatabaseSettings]:
    """Give the settings of an empty store: one file, or three nodes."""
    if engine == "sqlite":
        yield DatabaseSettings(url=Url(f"sqlite:///{directory}/sales.db"), create=True)
    else:
        with three() as found:
            yield DatabaseSettings(url=found.url, shards=found.shards, create=True)


class Sale(Struct):
    """Something that was sold."""

    customer: Name
    number: int
    product: Name


class BestSeller(Struct):
    """How often a product was sold."""

    product: Name
    sold: int


class Basket(Struct):
    """The numbers of what a customer bought, in the order of the events."""

    customer: Name
    numbers: str


class Sold(Event):
    """Something was sold."""

    customer: Name
    number: int
    product: Name


async def at_once() -> None:
    """Return without waiting for anybody."""


class Selling:
    """The module, its views, and what can be broken about them.

    Args:
        inside: What the handler of the baskets does before it is through.
    """

    def __init__(self, inside: Callable[[], Awaitable[None]] = at_once) -> None:
        self.module = module = Module("sales")
        self.broken = False
        self.stuck: set[int] = set()
        self.arrived = asyncio.Event()
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.sales = sales = Table(
            module,
            Sale,
            key=lambda s: (s.customer, s.number),
            shard_by=lambda s: s.customer,
            scatter=3,
            readable=PUBLIC,
            writable=PUBLIC,
        )
        self.best = best = View(module, BestSeller, key=lambda b: b.product, readable=PUBLIC)
        self.baskets = baskets = View(module, Basket, key=lambda b: b.customer, readable=PUBLIC)
        self.products = products = View(
            module, BestSeller, key=lambda b: b.product, name="products", readable=PUBLIC, every=timedelta(hours=1)
        )

        @sales.listing(order=("customer", "number"))
        def every(s: Sale) -> bool:
            return s.number == s.number

        @best.listing(order=("-sold", "product"))
        def by_sold(b: BestSeller) -> bool:
            return b.sold > 0

        @baskets.listing(order="customer")
        def by_customer(b: Basket) -> bool:
            return b.customer == b.customer

        @best.on(Sold)
        async def count_sale(ctx: Fill, sold: Sold) -> None:
            if self.broken:
                raise Unavailable
            await best.change(ctx, sold.product, partial(one_more, sold.product))

        @baskets.on(Sold)
        async def fill_basket(ctx: Fill, sold: Sold) -> None:
            if sold.number in self.stuck:
                raise Contention
            await baskets.change(ctx, sold.customer, partial(with_number, sold))
            await inside()

        @best.source
        async def all_sales(ctx: Read) -> AsyncIterator[BestSeller]:
            found = Counter([sale.product async for sale in sales.stream(ctx, every)])
            self.arrived.set()
            await self.go_on.wait()
            for product, times in found.items():
                yield BestSeller(product=product, sold=times)

        @products.source
        async def all_products(ctx: Read) -> AsyncIterator[BestSeller]:
            found = Counter([sale.product async for sale in sales.stream(ctx, every)])
            for product, times in found.items():
                yield BestSeller(product=product, sold=times)

        @module.command(public=True)
        async def sell(ctx: Write, customer: Name, number: int, product: Name) -> None:
            """Sell something; the event is there before it is known on which shard that is."""
            ctx.emit(Sold(customer=customer, number=number, product=product))
            await sales.insert(ctx, Sale(customer=customer, number=number, product=product))

        @module.command(public=True)
        async def give_away(ctx: Write, customer: Name, number: int, product: Name) -> None:
            """Sell something of which no event tells."""
            await sales.insert(ctx, Sale(customer=customer, number=number, product=product))

        @module.query(public=True)
        async def list_best_sellers(ctx: Read, page: PageRequest) -> Page[BestSeller]:
            """List what sells best."""
            return await best.page(ctx, by_sold, page)

        @module.query(public=True)
        async def list_baskets(ctx: Read, page: PageRequest) -> Page[Basket]:
            """List what customers bought."""
            return await baskets.page(ctx, by_customer, page)

        self.sell, self.give_away = sell, give_away

    def app(self, database: DatabaseSettings) -> App:
        return App("sales", modules=[self.module], settings=settings_for_tests(database=database))

    async def sold(self, client: Client) -> Mapping[str, int]:
        """Return how often each product was sold, as callers see it."""
        items = (await client.get("/v1/best-sellers?page_size=100")).json()["items"]
        return {each["product"]: each["sold"] for each in items}

    async def bought(self, client: Client) -> Mapping[str, Sequence[int]]:
        """Return the numbers of what each customer bought, as callers see it."""
        items = (await client.get("/v1/baskets?page_size=100")).json()["items"]
        return {each["customer"]: [int(number) for number in each["numbers"].split()] for each in items}


def one_more(product: str, known: BestSeller | None) -> BestSeller:
    return BestSeller(product=product, sold=1 + (known.sold if known else 0))


def with_number(sold: Sold, known: Basket | None) -> Basket:
    numbers = "" if known is None else f"{known.numbers} "
    return Basket(customer=sold.customer, numbers=f"{numbers}{sold.number}")


async def deliveries_on(url: str) -> int:
    """Return how many deliveries wait on a PostgreSQL database, dead letters included."""
    connection = await asyncpg.connect(url)
    try:
        return int(await connection.fetchval("SELECT count(*) FROM trivet.trivet_delivery"))
    finally:
        await connection.close()
