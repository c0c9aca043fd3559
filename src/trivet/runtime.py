"""The runtime: what is open while the process runs. It opens what settings name, and closes it in reverse."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from trivet.blobs.prune import pruned
from trivet.blobs.store import Blobs
from trivet.contracts.jobs import writes_files
from trivet.core.call import Handler
from trivet.core.clock import Clock, SystemClock
from trivet.core.module import Module
from trivet.core.operation import Operation
from trivet.core.principal import ANONYMOUS, DEVELOPER, Principal
from trivet.core.resource import Elsewhere, Resource
from trivet.data.database import Accounting, Database
from trivet.data.record import MemoryRecord
from trivet.messaging.backlog import Counter
from trivet.messaging.dispatcher import Dispatcher, DispatcherOptions
from trivet.messaging.feed import Feed
from trivet.messaging.freshness import Freshness
from trivet.messaging.hands import Sharing
from trivet.messaging.merged import MergedFeed
from trivet.messaging.metrics import BacklogMetrics, DeliveryMetrics, ViewMetrics
from trivet.messaging.outbox import Outbox
from trivet.messaging.prune import Pruner
from trivet.messaging.runner import Runner
from trivet.messaging.subscribers import Subscribers
from trivet.resilience.alarm import Alarms
from trivet.settings import Settings
from trivet.telemetry.database import DatabaseMetrics
from trivet.telemetry.log import Logger, Sink
from trivet.telemetry.metrics import Registry
from trivet.telemetry.pools import PoolMetrics

if TYPE_CHECKING:
    from trivet.data.sharding.database import ShardedDatabase

T = TypeVar("T")

AGE_TICK_SECONDS = 1.0

LATE_SECONDS = 10.0
"""How long ago it may have been that a replica was seen to be near enough, when the read from it is answered."""

LOOPBACK = ("127.0.0.1", "::1", "localhost")


class Handlers:
    """The bound chains of every operation: as the root of a unit of work, and nested in another's."""

    def __init__(self) -> None:
        self.root: dict[Operation[..., Any], Handler] = {}
        self.nested: dict[Operation[..., Any], Handler] = {}


class Runtime:
    """What policies and transports find open.

    Args:
        name: The app's.
        settings: What the process was told.
        modules: The app's modules.
        resources: What the team brings.
        plans: What was compiled for each table.
        clock: Time and identifiers; the machine's by default.
        sink: Where log lines go; standard output by default.

    Attributes:
        ready: Whether everything is open.
        sharded: Whether any table is sharded.
        stores: The databases, the home database first.
        snapshots: As many as jobs may hold at a time.
        alarms: End what is late, to the hundredth of a second.
        ages: End what is idle or old, to the second.
        draining: Whether the process was told to end; it still answers, but wants no new work.
        record: What callers wrote lately that keep no account themselves, where that is remembered.
        freshness: How old the rows of read models may be.
        default_principal: Who callers without credentials are.
    """

    def __init__(
        self,
        name: str,
        settings: Settings,
        modules: Sequence[Module],
        resources: Sequence[Resource[Any]] = (),
        *,
        plans: Mapping[Any, Any] | None = None,
        clock: Clock | None = None,
        sink: Sink | None = None,
    ) -> None:
        self.name = name
        self.settings = settings
        self.modules = tuple(modules)
        self.clock: Clock = clock or SystemClock()
        self.sink = sink or Sink(format=settings.log.format, level=settings.log.level, colour=sys.stdout.isatty())
        self.log = Logger(self.sink)
        self.metrics = Registry()
        self.alarms = Alarms(self.clock)
        self.ages = Alarms(self.clock, tick=AGE_TICK_SECONDS)
        self.handlers = Handlers()
        self.sharded = any(table.shard_by is not None for module in self.modules for table in module.tables)
        elsewhere = [module for service in resources if isinstance(service, Elsewhere) for module in service.modules]
        self.subscribers = Subscribers(self.modules, elsewhere)
        views = {view.id: [each.id for each in view.subscriptions] for m in self.modules for view in m.views}
        scheduled = [view.id for m in self.modules for view in m.views if view.every is not None]
        keep = settings.database.replica_lag + LATE_SECONDS if self.replicated else 0.0
        troubled = partial(self.log.failure, "how old views are can not be looked at, trying again")
        self.freshness = Freshness(views, scheduled, self.clock, ViewMetrics(self.metrics), keep, troubled)
        self.default_principal: Principal = default_principal(settings)
        kept = settings.database.session_record == "memory"
        self.record = MemoryRecord(settings.database.replica_lag, self.clock.monotonic) if kept else None
        self.database: Database | None = None
        self.outbox: Outbox | None = None
        self.feed: Feed | MergedFeed | None = None
        self.blobs: Blobs | None = None
        self.ready = False
        self.draining = False
        self.plans: Mapping[Any, Any] = plans or {}
        self.stores: tuple[Database, ...] = ()
        self.dispatchers: list[Dispatcher] = []
        self.snapshots = asyncio.Semaphore(0)
        self._resources = tuple(resources)
        self._opened: dict[int, Any] = {}
        self._at_end: list[Callable[[], None]] = []
        self._stack = AsyncExitStack()

    def __repr__(self) -> str:
        return f"Runtime({self.name!r}, ready={self.ready}, draining={self.draining})"

    # -- opening and closing

    async def open(self, runner: Runner | None) -> None:
        """Open everything that the app needs, in the order in which it is needed.

        Args:
            runner: Handles stored messages in units of work; where there is none, nothing is delivered.

        Raises:
            DatabaseUnavailable: With what to do about it.
        """
        try:
            if writes_files(self.modules):
                await self._open_blobs()
            if self.needs_database:
                await self._open_database()
            for resource in self._resources:
                self._opened[id(resource)] = await self._stack.enter_async_context(resource.open())
            if self.database is not None and runner is not None:
                await self._open_messaging(self.database, runner)
        except BaseException:
            await self.close()
            raise
        self.ready = True

    async def close(self) -> None:
        """Close everything in reverse; what is handled just now gets a moment to finish."""
        self.ready = False
        await self._stack.aclose()
        self._opened.clear()
        self.database = self.outbox = self.feed = self.blobs = None
        self.stores = ()
        self.dispatchers = []
        self.sink.flush()

    def at_end(self, end: Callable[[], None]) -> None:
        """Call something when what has no end of its own is to end."""
        self._at_end.append(end)

    def end_streams(self) -> None:
        """End what has no end of its own, such as streams: nothing new is accepted any more."""
        for end in self._at_end:
            end()

    @property
    def replicated(self) -> bool:
        """Whether a database of the app has replicas, so that account is kept of what callers have seen."""
        database = self.settings.database
        return bool(database.replicas or (self.sharded and database.shard_replicas))

    @property
    def needs_database(self) -> bool:
        """Whether the app keeps anything: rows, events or requests for later."""
        return any(m.tables or m.subscriptions or any(o.kind.writes for o in m.operations) for m in self.modules)

    async def _open_blobs(self) -> None:
        from trivet.blobs.files import FileBlobs

        settings = self.settings
        folder = None if settings.database.private else Path(settings.blobs.folder)
        blobs = self.blobs = FileBlobs(folder, settings.blobs.size)
        await blobs.open()
        self._stack.push_async_callback(blobs.close)
        pruning = asyncio.create_task(
            pruned(blobs, self.clock, partial(self.log.failure, "old files could not be removed, trying again later")),
            name="trivet-blobs",
        )
        self._stack.push_async_callback(_cancelled, pruning)

    async def _open_database(self) -> None:
        from trivet.data.catalog import open_database, open_sharded, schema
        from trivet.messaging.tables import platform_tables

        settings = self.settings.database
        observer = DatabaseMetrics(self.metrics, self.log)
        database: Database
        if self.sharded:
            database = sharded = open_sharded(settings, self.name, observer, whole=False)
            self.stores = tuple(sharded.nodes.values())
        else:
            database = open_database(settings.url.reveal(), settings, self.name, observer)
            self.stores = (database,)
        await database.open()
        self._stack.push_async_callback(database.close)
        create = self.settings.development if settings.create is None else settings.create
        wanted = [*schema(self.modules, database.dialect), *platform_tables(database.dialect)]
        await (database.create(wanted) if create else database.check(wanted))
        database.watch(PoolMetrics(self.metrics))
        self.database = database
        self.snapshots = asyncio.Semaphore(database.snapshots)
        if self.record is not None and self.replicated:
            self.record.begin(await cast(Accounting, database).position(everything=True))

    async def _open_messaging(self, database: Database, runner: Runner) -> None:
        observer = DeliveryMetrics(self.metrics, self.log)
        self.outbox = Outbox(self.subscribers, database.dialect)
        self.feed = self._made_feed()
        watcher = BacklogMetrics(self.metrics, self.subscribers.ids)
        troubled = partial(self.log.failure, "the backlog can not be counted, trying again")
        counter = Counter(self.stores, self.clock, watcher, troubled)
        counting = asyncio.create_task(counter.run(), name="trivet-backlog")
        self._stack.push_async_callback(_cancelled, counting)
        self._stack.push_async_callback(self.feed.close)
        if self.freshness.views:
            looking = asyncio.create_task(self.freshness.run(self.stores), name="trivet-freshness")
            self._stack.push_async_callback(_cancelled, looking)
        told = self.settings.events
        options = DispatcherOptions(concurrency=told.concurrency, sharing=Sharing(most=told.together))
        for store in self.stores:
            pruner = Pruner(
                store,
                self.subscribers.ids,
                self.clock,
                inbox=self.sharded,
                warn=self.log.warning,
                troubled=partial(self.log.failure, "what is old could not be removed, trying again later"),
            )
            pruning = asyncio.create_task(pruner.run(), name="trivet-pruner")
            self._stack.push_async_callback(_cancelled, pruning)
            dispatcher = Dispatcher(
                store,
                self.subscribers,
                runner,
                clock=self.clock,
                observer=observer,
                options=options,
                inbox=self.sharded,
                nodes=self._nodes,
            )
            self._stack.push_async_callback(dispatcher.stop, self.settings.server.close_timeout)
            self.dispatchers.append(dispatcher)
            dispatcher.start()
        database.listen(self._wake)

    @property
    def _nodes(self) -> Mapping[str, Database]:
        """The databases between which shards change, by name."""
        return cast("ShardedDatabase", self.database).nodes if self.sharded else {}

    def _made_feed(self) -> Feed | MergedFeed:
        names = self.subscribers.names
        if len(self.stores) == 1:
            return Feed(self.stores[0], names, clock=self.clock)
        return MergedFeed(self._nodes, names, self.settings.secret_key.reveal().encode(), clock=self.clock)

    # -- what is open

    def open_database(self) -> Database:
        """Return the store.

        Raises:
            RuntimeError: It is not open.
        """
        return _opened(self.database, "the database")

    def open_outbox(self) -> Outbox:
        """Return the outbox.

        Raises:
            RuntimeError: It is not open.
        """
        return _opened(self.outbox, "the outbox")

    def open_feed(self) -> Feed | MergedFeed:
        """Return the feed of committed events.

        Raises:
            RuntimeError: It is not open.
        """
        feed = self.feed
        return feed if feed is not None else _opened(feed, "the feed of events")

    def resource(self, resource: Resource[T]) -> T:
        """Return what a resource opened.

        Raises:
            LookupError: The app does not list it, or it is not open.
        """
        try:
            opened: T = self._opened[id(resource)]
        except KeyError:
            raise LookupError(
                f"{resource!r} (at {resource.place}) is not open: list it in App(resources=[...])"
            ) from None
        return opened

    def wake(self) -> None:
        """Say that messages were committed, here and to other processes."""
        self._wake()
        if self.database is not None:
            self.database.tell()

    def _wake(self) -> None:
        for dispatcher in self.dispatchers:
            dispatcher.wake()
        if self.feed is not None:
            self.feed.wake()


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _opened(thing: T | None, name: str) -> T:
    if thing is None:
        raise RuntimeError(f"{name} is not open: run the app's lifespan, or `async with app:` around its use")
    return thing


def default_principal(settings: Settings) -> Principal:
    """Return who callers without credentials are: the developer on a developer's own machine, else nobody."""
    trusted = settings.development and settings.identity.developer and settings.server.host in LOOPBACK
    return DEVELOPER if trusted else ANONYMOUS
