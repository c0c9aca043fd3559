"""Cases: one product by its id, and a page of fifty, from SQLite.

Every contender has a database file of its own with the same 2,000 products, laid out as its own mapper does it, in WAL
mode. Lists are in keyset order everywhere, newest first, and are walked from the first page to the last.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any
from uuid import UUID

from benchmarks.comparison import Ask, Case, Claim, Contender
from benchmarks.effort import Effort
from benchmarks.server import Request
from trivet.core.shape import Struct

SEED = 20_260_102
COUNT = 2_000
PAGE_SIZE = 50
FIRST = datetime(2026, 1, 1, tzinfo=UTC)
WORDS = ("steel", "oak", "linen", "copper", "folding", "compact", "garden", "desk", "lamp", "chair", "kettle", "shelf")


class Row(Struct):
    """A product as it is seeded, whatever stores it."""

    id: UUID
    sku: str
    name: str
    description: str
    brand: str
    amount: Decimal
    currency: str
    stock: int
    tags: list[str]
    version: int
    create_time: datetime
    update_time: datetime


def rows() -> list[Row]:
    """Return the same products every time."""
    chance = random.Random(SEED)
    result = []
    for number in range(COUNT):
        created = FIRST + timedelta(
            seconds=number * 60 + chance.randrange(60), microseconds=chance.randrange(1_000_000)
        )
        result.append(
            Row(
                id=UUID(int=chance.getrandbits(128), version=4),
                sku=f"SKU-{number:05}",
                name=" ".join(chance.sample(WORDS, 3)).capitalize(),
                description=" ".join(chance.choices(WORDS, k=24)).capitalize() + ".",
                brand=f"brand-{chance.randrange(40):02}",
                amount=Decimal(chance.randrange(100, 100_000)) / 100,
                currency="EUR",
                stock=chance.randrange(1_000),
                tags=sorted(chance.sample(WORDS, 3)),
                version=1,
                create_time=created,
                update_time=created + timedelta(days=chance.randrange(30)),
            )
        )
    return result


def prepare(module: str, home: Path) -> Mapping[str, str]:
    """Let the module seed a database in the directory; it returns the variables by which its application finds it."""
    return seeded(module, f"sqlite:///{home}/products.db")


def seeded(module: str, url: str) -> Mapping[str, str]:
    """Let the module seed an empty database; it returns the variables by which its application finds it."""
    seed: Callable[[str, list[Row]], Mapping[str, str]] = import_module(module).seed
    return seed(url, rows())


def one(ask: Ask, effort: Effort) -> list[tuple[Request, Any]]:
    """Return requests for single products, spread over the table."""
    chosen = random.Random(SEED + 1).sample(rows(), effort.requests)
    requests = [Request(method="GET", target=f"/v1/products/{row.id}") for row in chosen]
    return [(request, canonical(ask(request))) for request in requests]


def walk(ask: Ask, effort: Effort) -> list[tuple[Request, Any]]:
    """Return the pages from the first to the last; the tokens are the server's own, so only items must be equal."""
    plan: list[tuple[Request, Any]] = []
    token = None
    while True:
        target = f"/v1/products?page_size={PAGE_SIZE}" + (f"&page_token={token}" if token else "")
        request = Request(method="GET", target=target)
        answer = ask(request)
        plan.append((request, [canonical(item) for item in answer["items"]]))
        token = answer.get("next_page_token")
        if not token or len(plan) > COUNT:
            return plan


def canonical(product: dict[str, Any]) -> dict[str, Any]:
    """Return a product with its amount and instants as values: ``12.5`` is ``12.50``, ``Z`` is ``+00:00``."""
    return {
        **product,
        "price": {**product["price"], "amount": Decimal(product["price"]["amount"]).normalize()},
        "create_time": datetime.fromisoformat(product["create_time"]),
        "update_time": datetime.fromisoformat(product["update_time"]),
    }


CONTENDERS = (
    Contender(
        name="trivet",
        title="Trivet",
        app="benchmarks.apps.trivet_products:app",
        prepare=partial(prepare, "benchmarks.apps.trivet_products"),
    ),
    Contender(
        name="litestar",
        title="Litestar + SQLAlchemy async",
        app="benchmarks.apps.litestar_products:app",
        prepare=partial(prepare, "benchmarks.apps.sqlalchemy_products"),
    ),
    Contender(
        name="fastapi",
        title="FastAPI + SQLAlchemy async",
        app="benchmarks.apps.fastapi_products:app",
        prepare=partial(prepare, "benchmarks.apps.sqlalchemy_products"),
    ),
)

STORE = (
    "SQLite in WAL mode with 2,000 products of twelve fields, exact decimals, instants, tags as JSON. The peers use "
    "SQLAlchemy's async ORM on aiosqlite with a session per request, as their documentation shows."
)

PRODUCT = Case(
    name="product",
    title="One product by id from SQLite",
    about=f"`GET /v1/products/{{id}}`. {STORE}",
    contenders=CONTENDERS,
    plan=one,
    claims=(
        Claim(
            contender="fastapi", at_least=5, text="A product by id: FastAPI + SQLAlchemy costs at least 5 times Trivet"
        ),
    ),
)

PRODUCTS = Case(
    name="products",
    title="A page of 50 products from SQLite",
    about=f"`GET /v1/products?page_size=50&page_token=…`, all 40 pages in turn, keyset order. {STORE}",
    contenders=CONTENDERS,
    plan=walk,
    claims=(
        Claim(contender="fastapi", at_least=5, text="A page of 50: FastAPI + SQLAlchemy costs at least 5 times Trivet"),
    ),
)
