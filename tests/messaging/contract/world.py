"""A small application around the broker: events, a table of effects, the simplest runner that keeps the rules."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa

from tests.postgres import empty_database
from tests.waiting import until
from trivet.core.clock import SystemClock
from trivet.core.event import Event, aggregate_of
from trivet.core.module import Module, Subscription
from trivet.core.operation import Operation
from trivet.core.principal import Principal
from trivet.data import keys
from trivet.data.database import Database, Session
from trivet.data.savepoint import Savepoint
from trivet.data.statement import Statement
from trivet.messaging.dispatcher import Dispatcher, DispatcherOptions
from trivet.messaging.feed import Feed
from trivet.messaging.message import Message, MessageKind
from trivet.messaging.outbox import Outbox
from trivet.messaging.retry import RetryPolicy
from trivet.messaging.runner import Check, Progress, Settle
from trivet.messaging.subscribers import Subscribers
from trivet.messaging.tables import tables

ENGINES = ("postgresql", "sqlite")
"""Every engine that passes this suite."""


@contextmanager
def empty_store(engine: str, directory: Path) -> Iterator[str]:
    """Give the URL of an empty store of an engine."""
    if engine == "sqlite":
        yield f"sqlite:///{directory}/test.db"
    else:
        with empty_database(18) as url:
            yield url


effect = sa.Table(
    "effect",
    sa.MetaData(),
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("subscriber", sa.Text),
    sa.Column("thing", sa.Text),
    sa.Column("number", sa.Integer),
)
INSERT = Statement(
    sa.insert(effect).values({name: sa.bindparam(name) for name in ("subscriber", "thing", "number")}),
    ("subscriber", "thing", "number"),
)
SELECT = Statement(sa.select(effect.c.subscriber, effect.c.thing, effect.c.number).order_by(effect.c.id), ())
PENDING = Statement(sa.select(sa.func.count()).select_from(tables().delivery), ())

shop = Module("shop")


class Happened(Event):
    """Something happened to a thing; the number is unique."""

    thing: str
    number: int = 0


class Other(Event):
    """Something else happened."""

    thing: str


class Shifted(SystemClock):
    """The machine's clock, put forward."""

    __slots__ = ("ahead",)

    def __init__(self, ahead: timedelta = timedelta()) -> None:
        super().__init__()
        self.ahead = ahead

    def now(self) -> datetime:
        return super().now() + self.ahead


class Faulty(Shifted):
    """A clock that fails a number of times."""

    __slots__ = ("failures",)

    def __init__(self, failures: int, ahead: timedelta = timedelta()) -> None:
        super().__init__(ahead)
        self.failures = failures

    def now(self) -> datetime:
        if self.failures:
            self.failures -= 1
            raise OverflowError("out of time")
        return super().now()


class Unit:
    """What a handler of this suite can do: record an effect in the transaction that settles its delivery."""

    def __init__(self, session: Callable[[], Session], subscriber: str) -> None:
        self._session = session
        self._subscriber = subscriber

    @property
    def session(self) -> Session:
        return self._session()

    async def record(self, thing: str, number: int = 0) -> None:
        await self.session.execute(INSERT, (self._subscriber, thing, number))


class SimpleTransaction:
    """Handlers with a `Unit` each, in one transaction, and each on a savepoint where there may be several."""

    def __init__(self, database: Database, shared: bool) -> None:
        self.outward = False
        self._database = database
        self._shared = shared
        self._session: Session | None = None

    @property
    def session(self) -> Session:
        if self._session is None:
            self._session = self._database.session(write=True)
        return self._session

    async def begin(self, check: Check) -> None:
        await check(self.session)

    async def handle(self, subscription: Subscription, event: Event, message: Message) -> None:
        if not self._shared:
            await subscription.handler(Unit(lambda: self.session, subscription.id), event)
            return
        savepoint = Savepoint(self.session)
        try:
            await subscription.handler(Unit(lambda: savepoint, subscription.id), event)
        except BaseException as error:
            await savepoint.leave(error)
            raise
        await savepoint.leave(None)

    async def commit(self, settle: Settle) -> None:
        await settle(self.session)
        await self.session.commit()

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()


class SimpleRunner:
    """Runs handlers with a `Unit`, and settles in its transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def transaction(self, *, shared: bool) -> SimpleTransaction:
        return SimpleTransaction(self._database, shared)

    async def command(self, operation: Operation[..., Any], message: Message, settle: Settle) -> None:
        transaction = SimpleTransaction(self._database, shared=False)
        unit = Unit(lambda: transaction.session, operation.id)
        try:
            await operation.handler(unit, **msgspec.json.decode(message.payload))
            await transaction.commit(settle)
        finally:
            await transaction.close()

    async def job(self, operation: Operation[..., Any], message: Message, progress: Progress) -> bytes:
        return msgspec.json.encode(await operation.handler(progress, **msgspec.json.decode(message.payload)))

    async def discard(self, message: Message) -> None:
        """Keep nothing that could be removed."""


class Counting:
    """Counts what a dispatcher says."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.errors: list[BaseException] = []

    def delivered(self, subscriber: str, seconds: float) -> None:
        self.counts["delivered"] += 1

    def committed(self, subscriber: str, count: int) -> None:
        self.counts["committed"] += 1

    def parted(self, subscriber: str, error: BaseException | None) -> None:
        self.counts["parted"] += 1

    def retried(self, subscriber: str, attempts: int, error: BaseException) -> None:
        self.counts["retried"] += 1
        self.errors.append(error)

    def buried(self, subscriber: str, attempts: int, error: BaseException) -> None:
        self.counts["buried"] += 1
        self.errors.append(error)

    def cancelled(self, subscriber: str) -> None:
        self.counts["cancelled"] += 1

    def lost(self, subscriber: str) -> None:
        self.counts["lost"] += 1

    def lag(self, seconds: float) -> None:
        self.counts["looked"] += 1

    def troubled(self, error: BaseException) -> None:
        self.errors.append(error)


OPTIONS: dict[str, Any] = {"poll": 0.05, "retry": RetryPolicy(first=0.01, longest=0.05, contended=0.01)}


class World:
    """One process's view of the broker, with subscribers of a test's choosing."""

    def __init__(self, database: Database, *modules: Module) -> None:
        self.database = database
        self.subscribers = Subscribers(modules)
        self.outbox = Outbox(self.subscribers, database.dialect)
        self.clock = Shifted()
        self.observer = Counting()

    async def create(self) -> None:
        await self.database.create([*tables(self.database.dialect).all, keys.table(), effect])

    def event(self, event: Event) -> Message:
        name = self.subscribers.names.of(type(event))
        return self._message(MessageKind.EVENT, name, msgspec.json.encode(event), aggregate_of(event))

    def request(self, kind: MessageKind, operation: str, **arguments: Any) -> Message:
        return self._message(kind, operation, msgspec.json.encode(arguments))

    def _message(self, kind: MessageKind, type: str, payload: bytes, aggregate: str = "") -> Message:
        return Message(
            id=self.clock.new_id(),
            kind=kind,
            type=type,
            major=1,
            module="shop",
            aggregate=aggregate,
            payload=payload,
            create_time=self.clock.now(),
            principal=Principal(subject="ann", tenant="acme"),
            tenant="acme",
        )

    async def store(self, *messages: Message, commit: bool = True) -> None:
        async with self.writing() as session:
            await self.outbox.store(session, messages)
            if not commit:
                await session.rollback()

    async def emit(self, *events: Event) -> None:
        await self.store(*(self.event(event) for event in events))

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[Session]:
        session = self.database.session(write=True)
        try:
            yield session
            await session.commit()
        finally:
            await session.close()

    async def fetch(self, statement: Statement) -> Sequence[Any]:
        return await self.database.session(write=False).fetch(statement, ())

    async def effects(self) -> list[tuple[str, str, int]]:
        return list(await self.fetch(SELECT))

    async def pending(self) -> int:
        [(count,)] = await self.fetch(PENDING)
        return int(count)

    def dispatcher(self, runner: Any = None, **options: Any) -> Dispatcher:
        return Dispatcher(
            self.database,
            self.subscribers,
            runner or SimpleRunner(self.database),
            clock=self.clock,
            observer=self.observer,
            options=DispatcherOptions(**OPTIONS | options),
        )

    @asynccontextmanager
    async def dispatching(self, runner: Any = None, **options: Any) -> AsyncIterator[Dispatcher]:
        dispatcher = self.dispatcher(runner, **options)
        dispatcher.start()
        try:
            yield dispatcher
        finally:
            await dispatcher.stop()

    def feed(self, **options: Any) -> Feed:
        return Feed(self.database, self.subscribers.names, clock=self.clock, **options)


async def drained(world: World) -> None:
    """Return once nothing is left to deliver."""

    async def none_pending() -> bool:
        return await world.pending() == 0

    await until(none_pending)
