"""A unit of work without an app, and the engines that the contract suite runs on."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import pytest
import sqlalchemy as sa

from tests.postgres import empty_database
from trivet.core.call import Call
from trivet.core.clock import Deadline, SystemClock
from trivet.core.context import Log, Read, Write
from trivet.core.event import Event
from trivet.core.job import File
from trivet.core.module import Module
from trivet.core.operation import Operation
from trivet.core.principal import ANONYMOUS, Principal
from trivet.core.resource import Resource
from trivet.data.catalog import bind, open_database, schema
from trivet.data.database import ALL_TENANTS, Database, Session
from trivet.data.plan import Plans
from trivet.data.statement import Statement
from trivet.settings import DatabaseSettings

V = TypeVar("V")

KEY = b"k" * 32
ENGINES = ["sqlite", "postgresql"]
"""Every engine runs the contract suite."""

GUARDED = [*ENGINES, "row security"]
"""What is about tenants runs once more where PostgreSQL keeps them apart as well."""

OWNER = "keeper"
"""Who owns tables that row-level security guards: a role without any rights beyond that."""


@contextmanager
def empty(engine: str, directory: Path) -> Iterator[str]:
    """Give the URL of an empty database of an engine."""
    if engine == "sqlite":
        yield f"sqlite:///{directory}/data.db"
    else:
        with empty_database(17, OWNER if engine == "row security" else "postgres") as url:
            yield url


def settings_for(url: str) -> DatabaseSettings:
    """Return how a database of the suite is used: the owner without rights is held to row-level security."""
    return DatabaseSettings(row_security="on" if f"//{OWNER}@" in url else "off")


class FakeWork:
    """What stands behind a context, without an app: data needs a caller, a time and a session."""

    def __init__(self, session: Session, plans: Plans, principal: Principal) -> None:
        self.plans: Mapping[Any, Any] = plans
        self.principal = principal
        self.tenant = principal.tenant
        self.deadline = Deadline(float("inf"), SystemClock())
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.session: Any = session
        self.views: list[str] = []
        self._ids = itertools.count(1)

    def snapshot(self) -> AbstractAsyncContextManager[Any] | None:
        return None

    def new_id(self, shard: int | None = None) -> UUID:
        return UUID(int=next(self._ids)) if shard is None else SystemClock().new_id(shard)

    def log(self, module: Module) -> Log:
        raise NotImplementedError

    def resource(self, resource: Resource[Any]) -> Any:
        raise NotImplementedError

    @property
    def root(self) -> Call:
        raise NotImplementedError

    def viewed(self, view: str) -> None:
        self.views.append(view)

    def leave(self, resource: Resource[Any]) -> None:
        raise NotImplementedError

    async def invoke(
        self, caller: Read, operation: Operation[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Any:
        raise NotImplementedError

    def emit(self, caller: Read, event: Event) -> None:
        raise NotImplementedError

    async def send(
        self, caller: Read, operation: Operation[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> UUID:
        raise NotImplementedError

    def follow(self, caller: Read, events: tuple[type[Event], ...]) -> AsyncIterator[Any]:
        raise NotImplementedError

    def progress(self, done: int, total: int | None) -> None:
        raise NotImplementedError

    async def export(self, rows: AsyncIterable[Any], name: str, total: int | None, shape: type[Any] | None) -> File:
        raise NotImplementedError


class Store:
    """A database and the contexts of one module on it."""

    def __init__(self, database: Database, module: Module, plans: Plans) -> None:
        self.database = database
        self.plans = plans
        self.module = module

    @asynccontextmanager
    async def reading(self, principal: Principal = ANONYMOUS, *, unrestricted: bool = False) -> AsyncIterator[Read]:
        session = self.database.session(write=False)
        session.tenant = principal.tenant
        try:
            yield Read(FakeWork(session, self.plans, principal), self.module, unrestricted)
        finally:
            await session.close()

    @asynccontextmanager
    async def writing(self, principal: Principal = ANONYMOUS, *, unrestricted: bool = False) -> AsyncIterator[Write]:
        session = self.database.session(write=True)
        session.tenant = principal.tenant
        try:
            yield Write(FakeWork(session, self.plans, principal), self.module, unrestricted)
            await session.commit()
        finally:
            await session.close()


@pytest.fixture(params=ENGINES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Where an empty database of the engine is."""
    with empty(request.param, tmp_path) as url:
        yield url


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    """An open, empty database."""
    database = open_database(url, settings_for(url))
    await database.open()
    yield database
    await database.close()


Opener = Callable[[Module], Awaitable[Store]]


@pytest.fixture
def store(database: Database) -> Opener:
    """Bind a module and create its tables."""

    async def prepare(module: Module) -> Store:
        plans, faults = bind([module], database.dialect, KEY)
        assert not faults, "\n".join(map(str, faults))
        await database.create(schema([module], database.dialect))
        return Store(database, module, plans)

    return prepare


class Engine:
    """An open database and a loop, for properties: Hypothesis runs many examples on one of them."""

    def __init__(self, url: str) -> None:
        self.runner = asyncio.Runner()
        self.database = open_database(url, settings_for(url))
        self.runner.run(self.database.open())

    def run(self, coroutine: Coroutine[Any, Any, V]) -> V:
        return self.runner.run(coroutine)

    async def empty(self, module: Module) -> Store:
        """Bind a module, and make its tables empty."""
        plans, faults = bind([module], self.database.dialect, KEY)
        assert not faults, "\n".join(map(str, faults))
        tables = schema([module], self.database.dialect)
        await self.database.create(tables)
        session = self.database.session(write=True)
        session.tenant = ALL_TENANTS
        for table in tables:
            await session.execute(Statement(sa.delete(table)), ())
        await session.commit()
        return Store(self.database, module, plans)

    def close(self) -> None:
        self.runner.run(self.database.close())
        self.runner.close()


@pytest.fixture(scope="module", params=ENGINES)
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """An engine that the whole module shares."""
    with empty(request.param, tmp_path_factory.mktemp("data")) as url:
        engine = Engine(url)
        yield engine
        engine.close()
