"""Cases: the products of `benchmarks.products` once more, from PostgreSQL, beside SQLAlchemy's ORM and its Core.

All databases are on one server that this process starts, and every contender has ten connections to it. What the server
does is counted for nobody: it is the same rows for all.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from benchmarks.comparison import Case, Claim, Contender
from benchmarks.products import one, seeded, walk
from tests.postgres import server

VERSION = 17


def prepare(module: str, home: Path) -> Mapping[str, str]:
    """Let the module seed a database named after the directory; the server goes with this process, and all in it."""
    shared, name = server(VERSION), home.name.replace("-", "_")
    shared.run(f"CREATE DATABASE {name} TEMPLATE template0")
    return seeded(module, shared.url(name))


CONTENDERS = (
    Contender(
        name="trivet",
        title="Trivet",
        app="benchmarks.apps.trivet_products:app",
        prepare=partial(prepare, "benchmarks.apps.trivet_products"),
    ),
    Contender(
        name="core",
        title="FastAPI + SQLAlchemy Core",
        app="benchmarks.apps.fastapi_products_core:app",
        prepare=partial(prepare, "benchmarks.apps.sqlalchemy_products"),
    ),
    Contender(
        name="orm",
        title="FastAPI + SQLAlchemy ORM",
        app="benchmarks.apps.fastapi_products:app",
        prepare=partial(prepare, "benchmarks.apps.sqlalchemy_products"),
    ),
)

STORE = (
    f"PostgreSQL {VERSION} on a socket, the same products and statements as from SQLite, ten connections for each. The "
    "peers use SQLAlchemy's asyncio extension on asyncpg with a session or a connection per request, as its "
    "documentation shows. The time of the database server itself is not counted."
)


def claims(what: str) -> tuple[Claim, ...]:
    """Return what is claimed of both peers."""
    return tuple(
        Claim(
            contender=peer.name,
            at_least=3,
            text=f"{what} from PostgreSQL: {peer.title} costs at least 3 times Trivet",
        )
        for peer in CONTENDERS[1:]
    )


PRODUCT = Case(
    name="product-postgresql",
    title="One product by id from PostgreSQL",
    about=f"`GET /v1/products/{{id}}`. {STORE}",
    contenders=CONTENDERS,
    plan=one,
    claims=claims("A product by id"),
)

PRODUCTS = Case(
    name="products-postgresql",
    title="A page of 50 products from PostgreSQL",
    about=f"`GET /v1/products?page_size=50&page_token=…`, all 40 pages in turn, keyset order. {STORE}",
    contenders=CONTENDERS,
    plan=walk,
    claims=claims("A page of 50"),
)
