"""The app: modules and settings become an ASGI application. Everything that is knowable is decided here, at start."""

from __future__ import annotations

import gc
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, MutableMapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trivet.contracts.describe import describe
from trivet.contracts.graphql.read import graph_of
from trivet.contracts.graphql.types import Graph
from trivet.contracts.graphql.weights import too_heavy
from trivet.contracts.lint import lint
from trivet.contracts.model import Api
from trivet.contracts.proto.package import ProtoContract, contract_of
from trivet.core.about import About
from trivet.core.call import Call
from trivet.core.clock import Clock
from trivet.core.consistency import MARKED_MAX
from trivet.core.context import Write
from trivet.core.declaration import Kind
from trivet.core.fault import Fault, FaultyApp, place_of_caller
from trivet.core.module import Module
from trivet.core.principal import Principal
from trivet.core.resource import Elsewhere, Resource
from trivet.core.wellformed import ill_formed
from trivet.policies import chain, precondition
from trivet.policies.deliver import Deliveries
from trivet.policies.eventwork import HANDLER
from trivet.policies.work import UnitOfWork
from trivet.runtime import Runtime
from trivet.settings import Settings, load
from trivet.telemetry.log import Sink

if TYPE_CHECKING:
    from trivet.data.plan import Plans

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]
Seed = Callable[["Seeding"], Awaitable[None]]


class App:
    """Modules and settings as one ASGI application (HTTP and lifespan).

    Mounted inside another application, whose lifespan does not reach it, it is run with ``async with app:`` there.

    Args:
        name: Names the app in documents, logs and metrics.
        modules: The modules that it is made of.
        resources: What the team brings of its own; opened in this order, closed in reverse.
        mounts: ASGI applications by path prefix, served beside the operations.
        seed: Fills an empty database, once, in development.
        about: What the contract and the pages say about the app.
        settings: What the process is told; read from flags, environment and ``trivet.toml`` when absent.
    """

    def __init__(
        self,
        name: str,
        *,
        modules: Iterable[Module],
        resources: Iterable[Resource[Any]] = (),
        mounts: Mapping[str, Asgi] | None = None,
        seed: Seed | None = None,
        about: About | None = None,
        settings: Settings | None = None,
    ) -> None:
        self.name = name
        listed, brought = tuple(modules), tuple(resources)
        self.modules = tuple(dict.fromkeys(module for module in listed if isinstance(module, Module)))
        self.resources = tuple(resource for resource in brought if isinstance(resource, Resource))
        self._misplaced = [repr(thing) for thing in listed if not isinstance(thing, Module)]
        self._twice = sorted({module.name for module in self.modules if listed.count(module) > 1})
        self._misplaced += [repr(thing) for thing in brought if not isinstance(thing, Resource)]
        self.mounts = dict(mounts or {})
        self.seed = seed
        self.about = about or About()
        self.place = place_of_caller()
        self._settings = settings
        self._service: Service | None = None

    def __repr__(self) -> str:
        return f"App({self.name!r}, modules=[{', '.join(m.name for m in self.modules)}])"

    @property
    def services(self) -> tuple[Elsewhere[Any], ...]:
        """Where modules run that are called from here."""
        return tuple(resource for resource in self.resources if isinstance(resource, Elsewhere))

    @property
    def settings(self) -> Settings:
        """What the process is told; read at the first use where nothing was given.

        Raises:
            SettingsError: With everything that is wrong with them.
        """
        if self._settings is None:
            self._settings, _ = load(os.environ)
        return self._settings

    def describe(self) -> tuple[Api, list[Fault]]:
        """Return the model of the API and everything that keeps the app from starting."""
        api, _, _, _, faults = self._decide()
        return api, faults

    def contract(self) -> tuple[ProtoContract, list[Fault]]:
        """Return the RPC contract and everything that keeps the app from starting."""
        _, contract, _, _, faults = self._decide()
        return contract, faults

    def graph(self) -> tuple[Graph | None, list[Fault]]:
        """Return the GraphQL types, ``None`` where none are served, and everything that keeps the app from starting."""
        _, _, graph, _, faults = self._decide()
        return graph, faults

    def _decide(self) -> tuple[Api, ProtoContract, Graph | None, Plans, list[Fault]]:
        """Read the modules, compile their tables, and collect what is wrong on every floor."""
        from trivet.data.catalog import bind, dialect_of
        from trivet.messaging.subscribers import check

        settings = self.settings
        api, faults = describe(self.name, self.modules, settings.rest.custom_methods, self.about)
        dialect = dialect_of(settings.database.url.reveal())
        plans, tables = bind(self.modules, dialect, settings.secret_key.reveal().encode())
        plain = [*check(self.modules), *ill_formed(self.modules), *precondition.check(self.modules, plans)]
        plain += self._shards()
        own = [fault for module in self.modules for fault in module.faults]
        found = [*own, *self._faults(), *faults, *tables, *plain]
        contract, unfit = (ProtoContract(), []) if found else contract_of(api, self.place)
        graph: Graph | None = None
        if settings.graphql.enabled and api.operations:
            compared = precondition.comparing((op.operation for op in api.operations), plans) if not found else ()
            graph, clashing = graph_of(api, compared)
            found += [*clashing, *self._documents(settings.graphql.documents), *too_heavy(api, settings.graphql.cost)]
        return api, contract, graph, plans, found + unfit

    def lint(self) -> list[Fault]:
        """Return what does not keep the app from starting but should be better."""
        return lint(self.describe()[0])

    def build(self, *, clock: Clock | None = None, sink: Sink | None = None) -> Service:
        """Decide everything that is knowable and return the service, which is not open yet.

        Args:
            clock: Time and identifiers; the machine's by default.
            sink: Where log lines go; standard output by default.

        Raises:
            FaultyApp: With everything that is wrong.
        """
        with collector_paused():
            api, contract, graph, plans, faults = self._decide()
            if faults:
                raise FaultyApp(self.name, faults)
            return Service(self, api, contract, graph, plans, clock=clock, sink=sink)

    def _faults(self) -> list[Fault]:
        found: list[Fault] = []

        def fault(rule: str, problem: str, mend: str) -> None:
            found.append(Fault(rule=rule, place=self.place, problem=problem, mend=mend))

        for thing in self._misplaced:
            fault("app", f"{thing} is neither a module nor a resource", "Write modules=[Module], resources=[Resource].")
        for name in self._twice:
            fault("app", f"module {name} is listed twice", "List it once.")
        if not (self.modules or self.mounts or self._misplaced):
            fault("app", f"{self.name} has no modules: it would serve nothing", "Write App(..., modules=[...]).")
        elsewhere = [module for service in self.services for module in service.modules]
        for name in sorted({module.name for module in elsewhere if module in self.modules}):
            fault("module-elsewhere", f"module {name} runs here and elsewhere", "List it, or the service, not both.")
        by_name: dict[str, Module] = {}
        for module in self.modules:
            other = by_name.setdefault(module.name, module)
            if other is not module:
                fault(
                    "module-name",
                    f"two modules are called {module.name!r}: {other.place} and {module.place}",
                    "Rename one.",
                )
            for used in module.uses:
                if used not in self.modules and used not in elsewhere:
                    mend = f"Write App(..., modules=[..., {used.name}]), or list the rpc.Service where it runs."
                    fault("module-uses", f"{module.name} uses {used.name}, which is not part of the app", mend)
        for prefix, mounted in self.mounts.items():
            if not callable(mounted):
                fault("mount", f"mount {prefix!r}: {mounted!r}", "Mount an ASGI application.")
            if not prefix.startswith("/") or prefix.endswith("/") or len(prefix) < 2:
                fault("mount", f"mount {prefix!r}", "A prefix starts with a slash and does not end in one.")
        names = [resource.name for resource in self.resources]
        for name in sorted({name for name in names if names.count(name) > 1}):
            fault("resource-name", f"two resources are called {name!r}", "Rename one.")
        return found

    def _documents(self, directory: str | None) -> list[Fault]:
        if directory is None or Path(directory).is_dir():
            return []
        problem = f"graphql.documents is {directory!r}, which is no directory"
        mend = "Create it, or leave the setting out."
        return [Fault(rule="graphql-documents", place=self.place, problem=problem, mend=mend)]

    def _shards(self) -> list[Fault]:
        """Find what is wrong with where shards are to be, and what does not go together with sharded tables."""
        from trivet.data.catalog import dialect_of
        from trivet.messaging.positions import NODES_MAX

        found: list[Fault] = []
        try:
            nodes, replicas = self.settings.database.nodes, self.settings.database.node_replicas
            urls = [*nodes.values(), *(url for each in replicas.values() for url in each)]
            dialects = {dialect_of(url.reveal()) for url in urls}
        except ValueError as wrong:
            mend = 'Write shards = "b=postgresql://... c=postgresql://...".'
            return [Fault(rule="shard-nodes", place=self.place, problem=str(wrong), mend=mend)]
        if len(urls) > 1 and dialects != {"postgresql"}:
            problem = "database.shards or its replicas name several databases, and they are not all PostgreSQL"
            mend = "Leave the setting out: SQLite has all shards in its one file."
            found.append(Fault(rule="shard-nodes", place=self.place, problem=problem, mend=mend))
        sharded = next((t for module in self.modules for t in module.tables if t.shard_by is not None), None)
        if sharded is None:
            return found
        if len(nodes) > MARKED_MAX and any(replicas.values()):
            problem = f"there are replicas, and {len(nodes)} databases: a Consistency-Token has room for {MARKED_MAX}"
            mend = "Leave the replicas out, or have fewer and larger databases."
            found.append(Fault(rule="shard-replicas", place=self.place, problem=problem, mend=mend))
        operations = [operation for module in self.modules for operation in module.operations]
        streams = [operation for operation in operations if operation.kind is Kind.STREAM and not operation.takes]
        for operation in streams if len(nodes) > NODES_MAX else ():
            problem = f"{operation.id} is a stream of {len(nodes)} databases: its position has room for {NODES_MAX}"
            mend = "Have fewer and larger databases, or serve the stream from another app."
            found.append(Fault(rule="shard-stream", place=operation.place, problem=problem, mend=mend))
        return found

    # -- running

    async def start(self, *, clock: Clock | None = None, sink: Sink | None = None) -> Service:
        """Build the app and open what it needs.

        Raises:
            FaultyApp: The app is wrong.
            DatabaseUnavailable: The database can not be used.
        """
        service = self.build(clock=clock, sink=sink)
        await service.open()
        self._service = service
        return service

    async def stop(self) -> None:
        """Close what is open; calling it twice is harmless."""
        service, self._service = self._service, None
        if service is not None:
            await service.close()

    async def __aenter__(self) -> App:
        await self.start()
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self.stop()

    @property
    def service(self) -> Service:
        """What is running.

        Raises:
            RuntimeError: Nothing is.
        """
        if self._service is None:
            raise RuntimeError(f"{self.name} is not running: serve it with a lifespan, or use `async with app:`")
        return self._service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        else:
            service = self._service or self.service  # which says what to do when nothing runs
            await service.front(scope, receive, send)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                try:
                    await self.start()
                except Exception as failed:
                    await send({"type": "lifespan.startup.failed", "message": str(failed)})
                    raise  # the message is for people; the server shows where it comes from
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                try:
                    await self.stop()
                except Exception as failed:
                    await send({"type": "lifespan.shutdown.failed", "message": str(failed)})
                    raise
                await send({"type": "lifespan.shutdown.complete"})
                return


@contextmanager
def collector_paused() -> Iterator[None]:
    """Let the collector rest: what is made while an app is built stays, and it would be walked again and again.

    Afterwards all of it is old, unless the process froze something itself: the collector, back at work, would otherwise
    begin by walking it.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        if not gc.get_freeze_count():
            gc.freeze()
            gc.unfreeze()  # to the oldest generation
        gc.enable()


class Service:
    """An app that is built: its chains are bound, its routes compiled.

    Args:
        app: The app.
        api: The model of its API.
        contract: Its RPC contract.
        graph: Its GraphQL types, where GraphQL is served.
        plans: What was compiled for its tables.
        clock: Time and identifiers.
        sink: Where log lines go.
    """

    def __init__(
        self,
        app: App,
        api: Api,
        contract: ProtoContract,
        graph: Graph | None,
        plans: Plans,
        *,
        clock: Clock | None = None,
        sink: Sink | None = None,
    ) -> None:
        from trivet.policies.refresh import Refresher
        from trivet.transports.front import Front

        self.app = app
        self.api = api
        self.contract = contract
        self.runtime = Runtime(app.name, app.settings, app.modules, app.resources, plans=plans, clock=clock, sink=sink)
        modules = {*app.modules, *(op.module for op in api.operations)}
        chain.bind_all((operation for module in modules for operation in module.operations), self.runtime)
        for service in app.services:
            chain.bind_elsewhere(service, self.runtime)
        self.deliveries = Deliveries(self.runtime)
        self.refresher = Refresher(self.runtime)
        self.front = Front(api, contract, self.runtime, app.mounts, graph)

    async def open(self) -> None:
        """Open what the app needs, and fill an empty database in development.

        Raises:
            DatabaseUnavailable: The database can not be used.
        """
        await self.runtime.open(self.deliveries)
        if self.app.seed is not None and self.runtime.settings.development:
            try:
                await Seeding(self.runtime).run(self.app.seed)
            except BaseException:
                await self.close()
                raise
        self.refresher.start()

    async def close(self) -> None:
        """Close what is open."""
        await self.refresher.stop()
        await self.runtime.close()


class Seeding:
    """Fills an empty database, all of it in one transaction: of several workers that start, one does it.

    Where tables are sharded, each `write` is a transaction of its own, on one shard.

    Args:
        runtime: What is open in this process.
    """

    def __init__(self, runtime: Runtime) -> None:
        clock = runtime.clock
        call = Call(
            None,
            protocol="internal",
            method="seed",
            peer=None,
            arrival=clock.monotonic(),
            request_id=str(clock.new_id()),
            principal=Principal(subject="seed"),
        )
        self._runtime = runtime
        self._call = call
        self._work = UnitOfWork(runtime, call, HANDLER, True)

    @asynccontextmanager
    async def write(self, module: Module) -> AsyncIterator[Write]:
        """Give a context that acts as the module.

        Args:
            module: Whose tables are filled.
        """
        if not self._runtime.sharded:
            yield Write(self._work, module, unrestricted=True)
            return
        work = UnitOfWork(self._runtime, self._call, HANDLER, True)
        try:
            yield Write(work, module, unrestricted=True)
            await work.commit()
        finally:
            await work.close()

    async def run(self, seed: Seed) -> bool:
        """Run the seed where no table of the app has a row, and return whether it was run."""
        from trivet.policies.rebuild import rebuild

        seeded = await (self._run_sharded(seed) if self._runtime.sharded else self._run(seed))
        if seeded:
            for view in (each for module in self._runtime.modules for each in module.views if each.sourced):
                await rebuild(self._runtime, view)  # rows that no event told of
        return seeded

    async def _run(self, seed: Seed) -> bool:
        from trivet.data.catalog import any_rows

        try:
            if await any_rows(self._work.session, self._runtime.modules, self._runtime.open_database().dialect):
                return False
            await seed(self)
            await self._work.commit()
        finally:
            await self._work.close()
        return True

    async def _run_sharded(self, seed: Seed) -> bool:
        from trivet.data.catalog import any_rows
        from trivet.data.database import DatabaseUnavailable

        runtime = self._runtime
        home = runtime.stores[0]
        lock = home.session(write=home.dialect == "postgresql")
        gone: DatabaseUnavailable | None = None
        try:
            for store in runtime.stores:
                session = lock if store is home else store.session(write=False)
                try:
                    if await any_rows(session, runtime.modules, store.dialect):
                        return False
                except DatabaseUnavailable as absent:  # rows may be elsewhere
                    gone = absent
                finally:
                    if session is not lock:
                        await session.close()
            if gone is not None:
                raise gone
            await seed(self)
        finally:
            await lock.close()
        return True
