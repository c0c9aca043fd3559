"""A store of three nodes, each a database on a server of its own where that is asked for, and what is kept in it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager

from tests.data.conftest import KEY, Store
from tests.postgres import empty_database
from trivet.core.module import Module
from trivet.core.shape import Struct
from trivet.data import PUBLIC, Table
from trivet.data import keys as keys_of
from trivet.data.catalog import bind, open_sharded, schema
from trivet.data.sharding.database import ShardedDatabase
from trivet.data.sharding.move import Moved, moved
from trivet.data.sharding.tables import tables
from trivet.settings import DatabaseSettings, Url


class Account(Struct):
    owner: str
    number: int
    log: str
    version: int


class Bank:
    """A module with one sharded table."""

    def __init__(self) -> None:
        self.module = Module("bank")
        self.accounts = Table(
            self.module,
            Account,
            key=lambda a: (a.owner, a.number),
            shard_by=lambda a: a.owner,
            scatter=8,
            readable=PUBLIC,
            writable=PUBLIC,
        )


@contextmanager
def three(majors: Sequence[int] = (17, 17, 17)) -> Iterator[DatabaseSettings]:
    """Give settings with three nodes that are empty."""
    with ExitStack() as stack:
        home, b, c = (stack.enter_context(empty_database(major)) for major in majors)
        yield settings_of(home, b, c)


def settings_of(home: str, b: str, c: str) -> DatabaseSettings:
    """Return settings with these nodes."""
    return DatabaseSettings(url=Url(home), shards=Url(f"b={b} c={c}"))


@asynccontextmanager
async def opened(settings: DatabaseSettings, *modules: Module) -> AsyncIterator[Store]:
    """Open the nodes with the tables of modules, as one process does."""
    database = open_sharded(settings)
    await database.open()
    try:
        plans, faults = bind(modules, database.dialect, KEY)
        assert not faults, "\n".join(map(str, faults))
        await database.create([*tables().all, keys_of.table(), *schema(modules, database.dialect)])
        yield Store(database, modules[0], plans)
    finally:
        await database.close()


def nodes_of(store: Store) -> ShardedDatabase:
    """Return the nodes of a store."""
    assert isinstance(store.database, ShardedDatabase)
    return store.database


def what_moves(*modules: Module) -> list[Moved]:
    """Return what moves with a shard."""
    return moved([*schema(modules, "postgresql"), keys_of.table(), tables().inbox])
