"""A module with tenants under row-level security, and statements that forget them."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from tests.data.conftest import KEY, Store
from trivet.core.module import Module
from trivet.core.principal import Principal
from trivet.core.shape import Struct
from trivet.data import PUBLIC, Table
from trivet.data.catalog import bind, open_database, schema
from trivet.data.database import Session, Tenancy
from trivet.data.statement import Statement
from trivet.settings import DatabaseSettings


class Note(Struct):
    id: int
    org: str
    name: str


class Plain(Struct):
    id: int


class Book:
    """A module with a table that is kept per tenant, and one that is not."""

    def __init__(self) -> None:
        self.module = Module("book")
        self.notes = Table(
            self.module, Note, key=lambda n: n.id, tenant=lambda n: n.org, readable=PUBLIC, writable=PUBLIC
        )
        self.plain = Table(self.module, Plain, key=lambda p: p.id, readable=PUBLIC, writable=PUBLIC)

        @self.notes.listing(order="name")
        def by_name(note: Note, name: str | None = None) -> bool:
            return note.name == name

        self.by_name = by_name


BOOK = Book()
RED, BLUE = Principal(subject="r", tenant="red"), Principal(subject="b", tenant="blue")

# What forgets the tenant: statements as no plan of a table has them.
EVERY = Statement(sa.text("SELECT id, org FROM book.notes ORDER BY id"), tenanted=True)
UNMARKED = Statement(sa.text("SELECT id, org FROM book.notes ORDER BY id"))
RENAME = Statement(sa.text("UPDATE book.notes SET name = 'mine'"))
STEAL = Statement(sa.text("UPDATE book.notes SET org = 'blue'"))
REMOVE = Statement(sa.text("DELETE FROM book.notes"))
TOLD = "SELECT current_setting('trivet.tenant', true), current_setting('trivet.all_tenants', true)"
SLEEP = Statement(sa.text("SELECT pg_sleep(60) FROM book.notes"), tenanted=True)


async def opened(url: str, **more: Any) -> Store:
    database = open_database(url, DatabaseSettings(**{"row_security": "on", **more}))
    await database.open()
    plans, faults = bind([BOOK.module], "postgresql", KEY)
    assert not faults
    try:
        await database.create(schema([BOOK.module], "postgresql"))
    except BaseException:
        await database.close()
        raise
    return Store(database, BOOK.module, plans)


def name_of(url: str) -> str:
    """Return the name of the database that a test has."""
    return url.partition("@/")[2].partition("?")[0]


async def fill(store: Store) -> None:
    """Keep two notes of each of two tenants: those of red have even numbers."""
    for who in (RED, BLUE):
        async with store.writing(who) as ctx:
            for number in range(4):
                if number % 2 == (who is BLUE):
                    await BOOK.notes.insert(ctx, Note(id=number, org=str(who.tenant), name=f"n{number}"))


def session_for(store: Store, tenant: Tenancy, *, write: bool = False, snapshot: bool = False, **more: Any) -> Session:
    session = store.database.session(write=write, snapshot=snapshot, **more)
    session.tenant = tenant
    return session
