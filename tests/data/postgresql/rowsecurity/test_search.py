"""Search under row-level security: what another tenant has is neither found nor felt, also on one connection of all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
import sqlalchemy as sa

from tests.data.conftest import KEY, OWNER, Store
from tests.data.postgresql.rowsecurity.book import BLUE, RED, session_for
from tests.pgbouncer import Bouncer, bouncer
from tests.postgres import server
from trivet.core.module import Module
from trivet.core.page import PageRequest
from trivet.core.principal import Principal
from trivet.core.shape import Struct
from trivet.data import PUBLIC, Search, Table
from trivet.data.catalog import bind, open_database, schema
from trivet.data.search.index import search_of
from trivet.data.statement import Statement
from trivet.settings import DatabaseSettings

pytestmark = pytest.mark.integration

KINDS = [
    pytest.param({"write": False}, id="read"),
    pytest.param({"snapshot": True}, id="snapshot"),
    pytest.param({"write": True}, id="write"),
]
STRANGER = Principal(subject="s", tenant="none such")


class Note(Struct):
    id: int
    org: str
    text: str


module = Module("book")
notes = Table(
    module, Note, key=lambda n: n.id, tenant=lambda n: n.org, search=Search("text"), readable=PUBLIC, writable=PUBLIC
)


@notes.listing(order="id")
def every(note: Note) -> bool:
    return note.id >= 0


@pytest.fixture(scope="module")
def before() -> Iterator[Bouncer]:
    with bouncer(server(), 1) as started:
        yield started


@pytest.fixture(params=["pool", "pgbouncer"])
async def store(request: pytest.FixtureRequest, before: Bouncer) -> AsyncIterator[Store]:
    """A store whose callers come one after the other to the same connection of the server."""
    behind = request.param == "pgbouncer"
    place = before if behind else before.server
    with before.server.database(OWNER) as name:
        settings = DatabaseSettings(row_security="on", pgbouncer=behind, pool_size=10 if behind else 1)
        database = open_database(place.url(name, OWNER), settings)
        await database.open()
        plans, faults = bind([module], "postgresql", KEY)
        assert not faults
        await database.create(schema([module], "postgresql"))
        yield Store(database, module, plans)
        await database.close()
        before.admin(f"KILL {name}")


async def keep(store: Store, who: Principal, texts: dict[int, str]) -> None:
    async with store.writing(who) as ctx:
        await notes.insert_many(ctx, [Note(id=id, org=str(who.tenant), text=text) for id, text in texts.items()])


async def found(store: Store, who: Principal, query: str = "oak") -> tuple[list[int], str | None]:
    """Return the first two keys that are found, and the token, which has the rank of the second."""
    async with store.reading(who) as ctx:
        page = await notes.search(ctx, every, query, PageRequest(page_size=2))
        return [note.id for note in page.items], page.next_page_token


async def test_callers_of_one_connection_find_what_their_tenant_has(store: Store) -> None:
    await keep(store, RED, {1: "oak", 2: "an oak chair", 3: "oak, oak and oak"})
    await keep(store, BLUE, {11: "a blue oak", 12: "pine"})
    asked = [RED, BLUE, STRANGER] * 10
    seen = await asyncio.gather(*(found(store, who) for who in asked))
    assert [ids for ids, _ in seen] == [[3, 1], [11], []] * 10


async def test_nothing_that_another_tenant_has_changes_what_is_found(store: Store) -> None:
    """Neither rows, nor their ranks, which are in the token, nor how many there are."""
    await keep(store, RED, {1: "oak", 2: "an oak chair", 3: "oak, oak and oak"})
    before = await found(store, RED)
    await keep(store, BLUE, dict.fromkeys(range(100, 400), "oak oak chair"))
    assert await found(store, RED) == before
    async with store.reading(RED) as ctx:
        page = await notes.search(ctx, every, "oak", PageRequest(page_size=100))
        assert (len(page.items), page.next_page_token) == (3, None)


@pytest.mark.parametrize(
    "kind", [{"write": False}, {"snapshot": True}, {"write": True}], ids=["read", "snapshot", "write"]
)
async def test_a_search_that_forgets_the_tenant_finds_ranks_and_counts_its_rows_only(
    store: Store, kind: dict[str, bool]
) -> None:
    await keep(store, RED, {1: "oak", 2: "pine"})
    await keep(store, BLUE, dict.fromkeys(range(10, 20), "oak"))
    index = search_of(store.plans[notes].table)
    assert index is not None
    table, asked = store.plans[notes].table, sa.literal("oak", sa.Text())
    forgetful = sa.select(sa.func.count(), sa.func.sum(index.rank(table, asked))).where(index.matches(table, asked))
    counting = Statement(forgetful, tenanted=True)
    sums = {}
    for tenant in ("red", "blue", "none such"):
        session = session_for(store, tenant, **kind)
        [(count, ranks)] = await session.fetch(counting, ())
        await session.close()
        sums[tenant] = (count, ranks)
    one = sums["red"][1]
    assert sums == {"red": (1, one), "blue": (10, pytest.approx(10 * one)), "none such": (0, None)}
