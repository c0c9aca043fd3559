"""The data layer alone, beside the driver it stands on: a row by its key, a page of fifty, and events handled.

``python -m benchmarks.data ENGINE URL ROUNDS COUNT EVENTS`` measures one engine, in an interpreter of its own, and
prints `Figures`. Both sides run there, by turns, on one connection each, and only that process's time is counted: what
the database itself does is the same for both. The driver's side is what a team writes that uses nothing else: a
statement that was written by hand, fetched on a connection that is open and nobody else's, which the driver prepares at
the first time, and rows as the driver gives them, of which nothing is made.
"""

from __future__ import annotations

import gc
import sqlite3
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from benchmarks import subject
from benchmarks.apps import trivet_data, trivet_products
from benchmarks.comparison import DifferentAnswers, as_series
from benchmarks.effort import Effort
from benchmarks.figures import ratio, spread
from benchmarks.products import PAGE_SIZE, rows
from benchmarks.progress import Progress
from benchmarks.report import Chart, Section, Target
from tests.postgres import empty_database
from trivet import PageRequest, Read
from trivet.core.shape import Struct
from trivet.settings import DatabaseSettings, Url
from trivet.testing import Client, settings_for_tests

ENGINES = {"postgresql": "PostgreSQL 17, asyncpg", "sqlite": "SQLite, sqlite3"}
QUESTIONS = {"get": "a row by its key", "page": f"a page of {PAGE_SIZE}"}
AT_MOST = {"get": 1.4, "page": 1.5}
PER_SECOND = 500
"""How many calls of one side stand for a second of effort; of pages a tenth."""
EVENTS_PER_SECOND = 1_000
AT_ONCE = 100
"""Events of one transaction."""
ENOUGH = 5_000.0

COLUMNS = (
    "id, sku, name, description, brand, price_amount, price_currency, stock, tags, version, create_time, update_time"
)
STATEMENTS = {
    "postgresql": {
        "get": f"SELECT {COLUMNS} FROM catalog.products WHERE id = $1",
        "page": f"SELECT {COLUMNS} FROM catalog.products WHERE (create_time, id) < ($1, $2) "
        f"ORDER BY create_time DESC, id DESC LIMIT {PAGE_SIZE + 1}",
        "places": "SELECT id, create_time FROM catalog.products ORDER BY create_time DESC, id DESC",
    },
    "sqlite": {
        "get": f"SELECT {COLUMNS} FROM catalog_products WHERE id = ?",
        "page": f"SELECT {COLUMNS} FROM catalog_products WHERE (create_time, id) < (?, ?) "
        f"ORDER BY create_time DESC, id DESC LIMIT {PAGE_SIZE + 1}",
        "places": "SELECT id, create_time FROM catalog_products ORDER BY create_time DESC, id DESC",
    },
}

Ask = Callable[[int], Awaitable[Any]]


class Figures(Struct):
    """What one engine costs, in each round.

    Attributes:
        driver: Processor seconds of a call of the driver, for each question.
        trivet: The same of Trivet's.
        event_cpu: Processor seconds of an event, from the command that emits it to the end of its handler.
        event_rate: Events a second, from the first command to the last handler, on the clock.
    """

    driver: dict[str, list[float]]
    trivet: dict[str, list[float]]
    event_cpu: list[float]
    event_rate: list[float]


class Driver:
    """The driver by hand, on one connection.

    Args:
        fetch: Runs a statement and returns its rows.
        statements: What it runs.
    """

    def __init__(self, fetch: Callable[..., Any], statements: Mapping[str, str]) -> None:
        self._fetch = fetch
        self._statements = statements
        self.places: list[tuple[Any, Any]] = []

    async def open(self) -> None:
        """Learn where the pages begin."""
        self.places = [tuple(row) for row in await self._fetch(self._statements["places"])]

    async def get(self, number: int) -> Any:
        """Return a row, as the driver gives it."""
        (row,) = await self._fetch(self._statements["get"], self.places[number][0])
        return row

    async def page(self, number: int) -> Any:
        """Return the rows after one, as the driver gives them, and the one that says whether there are more."""
        id, create_time = self.places[number]
        return await self._fetch(self._statements["page"], create_time, id)


class Layer:
    """Trivet's tables, in one unit of work.

    Args:
        ctx: That unit.
        ids: Of all products, in the order of the pages.
    """

    def __init__(self, ctx: Read, ids: Sequence[UUID]) -> None:
        self._ctx = ctx
        self._ids = ids
        self.tokens: dict[int, str] = {}

    async def open(self) -> None:
        """Learn where the pages begin."""
        at, token = -1, None
        while True:
            page = await trivet_products.products.page(
                self._ctx, trivet_products.newest, PageRequest(page_size=PAGE_SIZE, page_token=token)
            )
            at, token = at + len(page.items), page.next_page_token
            if token is None:
                return
            self.tokens[at] = token

    async def get(self, number: int) -> Any:
        """Return a product."""
        return await trivet_products.products.get(self._ctx, self._ids[number])

    async def page(self, number: int) -> Any:
        """Return the products after one."""
        return await trivet_products.products.page(
            self._ctx, trivet_products.newest, PageRequest(page_size=PAGE_SIZE, page_token=self.tokens[number])
        )


async def driver_of(engine: str, url: str, stack: AsyncExitStack) -> Driver:
    """Return the driver, connected."""
    if engine == "postgresql":
        postgres = await asyncpg.connect(url)
        stack.push_async_callback(postgres.close)
        return Driver(postgres.fetch, STATEMENTS[engine])
    lite = sqlite3.connect(url.removeprefix("sqlite:///"))
    stack.callback(lite.close)

    async def fetch(sql: str, *values: Any) -> list[Any]:
        return lite.execute(sql, values).fetchall()

    return Driver(fetch, STATEMENTS[engine])


async def costs(ask: Ask, numbers: Sequence[int], count: int) -> float:
    """Return the processor seconds of one call."""
    gc.collect()
    gc.disable()
    before = time.process_time()
    for turn in range(count):
        await ask(numbers[turn % len(numbers)])
    spent = time.process_time() - before
    gc.enable()
    return spent / count


async def handled(client: Client, count: int) -> tuple[float, float]:
    """Emit so many events, a hundred in a transaction, and return the processor time of one and how many a second."""
    enough = trivet_data.tally.expect(count)
    cpu, began = time.process_time(), time.perf_counter()
    for first in range(0, count, AT_ONCE):
        async with client.context(trivet_data.happenings) as ctx:
            for number in range(first, min(first + AT_ONCE, count)):
                ctx.emit(trivet_data.Happened(number=number))
    await enough
    return (time.process_time() - cpu) / count, count / (time.perf_counter() - began)


async def measure(engine: str, url: str, rounds: int, count: int, events: int) -> Figures:
    """Measure one engine, whose database is empty.

    Raises:
        DifferentAnswers: The two sides do not answer the same.
    """
    figures = Figures(driver={}, trivet={}, event_cpu=[], event_rate=[])
    told = settings_for_tests(database=DatabaseSettings(url=Url(url), create=True))
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(Client(trivet_data.app, settings=told))
        products = [trivet_products.product(row) for row in rows()]
        async with client.context(trivet_products.catalog, as_module=True) as ctx:
            await trivet_products.products.insert_many(ctx, products)
        driver = await driver_of(engine, url, stack)
        await driver.open()
        ids = [UUID(str(id)) for id, _ in driver.places]
        reading = await stack.enter_async_context(client.context(trivet_products.catalog, write=False))
        layer = Layer(reading, ids)
        await layer.open()
        numbers = {"get": list(range(0, len(ids), 7)), "page": list(layer.tokens)}
        await agree(driver, layer, numbers)
        for number in range(rounds + 1):
            for question in QUESTIONS:
                often = max(10, count // (10 if question == "page" else 1))
                sides = [("driver", driver), ("trivet", layer)]
                for name, side in sides if number % 2 else reversed(sides):
                    cost = await costs(getattr(side, question), numbers[question], often)
                    if number:  # the first round is for warmth
                        getattr(figures, name).setdefault(question, []).append(cost)
            cpu, rate = await handled(client, events)
            if number:
                figures.event_cpu.append(cpu)
                figures.event_rate.append(rate)
    return figures


async def agree(driver: Driver, layer: Layer, numbers: Mapping[str, Sequence[int]]) -> None:
    """Verify that both sides answer with the same rows.

    Raises:
        DifferentAnswers: They do not.
    """
    for number in numbers["get"]:
        row, product = await driver.get(number), await layer.get(number)
        if (str(row[0]), row[1]) != (str(product.id), product.sku):
            raise DifferentAnswers(f"data: row {number} is {row[1]} to the driver, {product.sku} to Trivet")
    for number in numbers["page"]:
        found, page = await driver.page(number), await layer.page(number)
        if [row[1] for row in found[:PAGE_SIZE]] != [product.sku for product in page.items]:
            raise DifferentAnswers(f"data: the page after row {number} is not the same")


class Data:
    """Processor time of Trivet's tables as a multiple of the driver's, and of events from command to handler."""

    name = "data"
    title = "The data layer alone"

    def steps(self, effort: Effort) -> int:
        """Return how many steps of progress a run takes."""
        return len(ENGINES)

    def run(self, effort: Effort, workplace: Path, progress: Progress) -> Section:
        """Measure every engine.

        Raises:
            SubjectFailed: An engine could not be measured, or answered differently.
        """
        told = [
            str(effort.rounds),
            str(max(20, int(PER_SECOND * effort.seconds))),
            str(max(AT_ONCE, int(EVENTS_PER_SECOND * effort.seconds))),
        ]
        found: dict[str, Figures] = {}
        for engine, title in ENGINES.items():
            progress.doing(f"data: {title}")
            with ExitStack() as stack:
                if engine == "postgresql":
                    url = stack.enter_context(empty_database(17))
                else:
                    url = f"sqlite:///{workplace}/data.db"
                found[engine] = subject.run(["-m", "benchmarks.data", engine, url, *told], Figures)
            progress.step()
        return self._section(found)

    def _section(self, found: Mapping[str, Figures]) -> Section:
        table: list[list[str]] = []
        targets: list[Target] = []
        for engine, figures in found.items():
            for question, text in QUESTIONS.items():
                driver, trivet = figures.driver[question], figures.trivet[question]
                times = ratio(trivet, driver)
                table.append(
                    [
                        f"{ENGINES[engine]}: {text}",
                        f"{spread(driver).median * 1e6:,.0f}",
                        f"{spread(trivet).median * 1e6:,.0f}",
                        f"{times.median:.2f}",
                        f"{times.low:.2f} to {times.high:.2f}",
                        "-",
                    ]
                )
                targets.append(
                    Target(
                        claim=f"{ENGINES[engine]}: {text} takes at most {AT_MOST[question]:g} times the driver",
                        found=f"{times.median:.2f} ({times.low:.2f} to {times.high:.2f})",
                        met=times.median <= AT_MOST[question],
                    )
                )
            rate = spread(figures.event_rate)
            table.append(
                [
                    f"{ENGINES[engine]}: an event, from command to handler",
                    "-",
                    f"{spread(figures.event_cpu).median * 1e6:,.0f}",
                    "-",
                    "-",
                    f"{rate.median:,.0f}",
                ]
            )
            targets.append(
                Target(
                    claim=f"{ENGINES[engine]}: {ENOUGH:,.0f} events a second from command to handler, in one process",
                    found=f"{rate.median:,.0f} ({rate.low:,.0f} to {rate.high:,.0f})",
                    met=rate.median >= ENOUGH,
                )
            )
        labels = [f"{question}, {engine}" for engine in found for question in QUESTIONS]
        beside = [
            ratio(figures.trivet[question], figures.driver[question])
            for figures in found.values()
            for question in QUESTIONS
        ]
        return Section(
            name=self.name,
            title=self.title,
            about=(
                "The 2,000 products of the cases above, called in process without a transport, one call after the "
                "other. The driver runs a statement written by hand on an open connection of its own and its rows are "
                "left as they are; Trivet checks who may read, borrows a connection for each statement and makes "
                "typed, validated products. Counted is the processor time of the calling process only. Events are "
                f"emitted {AT_ONCE} in a transaction, and handled in transactions that also take them off the outbox; "
                "the database runs on the same machine, PostgreSQL as in the tests, without fsync."
            ),
            columns=["what", "driver, CPU µs", "Trivet, CPU µs", "driver = 1", "range", "events/s"],
            rows=table,
            chart=Chart(
                kind="bars",
                unit="CPU, the driver's own = 1",
                labels=labels,
                series=[as_series("CPU per call", beside)],
            ),
            targets=targets,
            data={engine: msgspec.to_builtins(figures) for engine, figures in found.items()},
        )


def main() -> None:
    """Be the interpreter under measurement."""
    engine, url, rounds, count, events = sys.argv[1:]
    subject.answer(lambda: measure(engine, url, int(rounds), int(count), int(events)))


if __name__ == "__main__":
    main()
