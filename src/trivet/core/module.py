"""Modules: bounded contexts that own their data and say what can be done with it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Literal, TypeVar, Unpack, overload

import msgspec

from trivet.core.context import Read, Write
from trivet.core.declaration import (
    Access,
    CommandOptions,
    Declaration,
    JobOptions,
    QueryOptions,
    StreamOptions,
)
from trivet.core.edge import Edge, EdgeDecorator
from trivet.core.event import Event
from trivet.core.fault import Fault, Place, place_of, place_of_caller
from trivet.core.operation import (
    Command,
    CommandDecorator,
    Intake,
    Job,
    JobDecorator,
    Operation,
    Query,
    QueryDecorator,
    Stream,
    StreamDecorator,
)
from trivet.core.options import checked, problems_with
from trivet.core.shape import Struct

E = TypeVar("E", bound=Event)
S = TypeVar("S", bound=Struct)
Scope = str | Sequence[str]

SEMANTIC_VERSION = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)")
NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")
"""One scope (RFC 6749 section 3.3)."""

ACCESS = ("scope", "public", "internal", "acts_as")
"""Keywords of every decorator that say who may call."""


class Subscription(Struct):
    """A handler that gets every event of one type, after its commit, at least once.

    Attributes:
        module: Whose rights it has.
        event: The type.
        handler: Takes a context and the event.
        place: Where it is written.
        context: What its author is given as the context.
    """

    module: Any
    event: Any
    handler: Any
    place: Place
    context: type[Read] = Write

    @property
    def id(self) -> str:
        """Names the subscription in the store; stable as long as the function keeps its name."""
        return f"{self.module.name}.{self.handler.__name__}"


class Module:
    """A bounded context: operations, shapes, tables, events, edges and jobs under one contract version.

    Args:
        name: Lower snake case; unique in the app.
        version: Semantic version of its contract; the major is in every path.
        owner: The team that answers for it.
        uses: Modules whose operations it may call.
        prefix: Put before its collections where two modules would clash.
    """

    def __init__(
        self, name: str, *, version: str = "1.0.0", owner: str = "", uses: Iterable[Module] = (), prefix: str = ""
    ) -> None:
        self.name = name = str(name)
        self.version = version = str(version)
        self.owner = owner
        used = tuple(uses) if isinstance(uses, Iterable) else (uses,)
        self.uses = tuple(module for module in used if isinstance(module, Module))
        self.prefix = prefix
        self.place = place_of_caller()
        self.operations: list[Operation[..., Any]] = []
        self.edges: list[Edge[Any, ..., Any]] = []
        self.subscriptions: list[Subscription] = []
        self.tables: list[Any] = []
        self.views: list[Any] = []
        self.faults: list[Fault] = []
        if not NAME.fullmatch(name):
            self._fault("module-name", self.place, f"module name {name!r}", "Use lower_snake_case.")
        if not SEMANTIC_VERSION.fullmatch(version):
            self._fault("module-version", self.place, f"module {name}: version {version!r}", "Use MAJOR.MINOR.PATCH.")
        if len(self.uses) < len(used) or not isinstance(uses, Iterable):
            self._fault("module-uses", self.place, f"module {name}: uses={uses!r}", "Write uses=[module, ...].")

    def __repr__(self) -> str:
        return f"Module({self.name!r}, version={self.version!r})"

    @property
    def major(self) -> int:
        """The contract major, 1 where the version can not be read."""
        match = SEMANTIC_VERSION.fullmatch(self.version)
        return int(match[1]) if match else 1

    # -- operations

    @overload
    def query(self, *, scope: Scope, **options: Unpack[QueryOptions]) -> QueryDecorator: ...
    @overload
    def query(self, *, public: Literal[True], **options: Unpack[QueryOptions]) -> QueryDecorator: ...
    @overload
    def query(
        self, *, internal: Literal[True], acts_as: Literal["caller", "module"] = ..., **options: Unpack[QueryOptions]
    ) -> QueryDecorator: ...
    def query(self, **options: Any) -> Any:
        """Declare a query; exactly one of `scope`, `public` and `internal` says who may call it.

        Args:
            **options: See :class:`Declaration`.
        """
        return self._declare(Query, options)

    @overload
    def command(self, *, scope: Scope, **options: Unpack[CommandOptions]) -> CommandDecorator: ...
    @overload
    def command(self, *, public: Literal[True], **options: Unpack[CommandOptions]) -> CommandDecorator: ...
    @overload
    def command(
        self, *, internal: Literal[True], acts_as: Literal["caller", "module"] = ..., **options: Unpack[CommandOptions]
    ) -> CommandDecorator: ...
    def command(self, **options: Any) -> Any:
        """Declare a command; exactly one of `scope`, `public` and `internal` says who may call it.

        Args:
            **options: See :class:`Declaration`.
        """
        return self._declare(Command, options)

    @overload
    def stream(self, *, scope: Scope, **options: Unpack[StreamOptions]) -> StreamDecorator: ...
    @overload
    def stream(self, *, public: Literal[True], **options: Unpack[StreamOptions]) -> StreamDecorator: ...
    @overload
    def stream(self, *, internal: Literal[True], **options: Unpack[StreamOptions]) -> StreamDecorator: ...
    def stream(self, **options: Any) -> Any:
        """Declare a stream; exactly one of `scope`, `public` and `internal` says who may call it.

        Where the first parameter after the context is an ``AsyncIterator``, its items come in from the caller, and the
        context is `Run`. A function without ``yield`` answers once, after the last of them.

        Args:
            **options: See :class:`Declaration`.
        """
        return self._declare(Stream, options)

    @overload
    def job(self, *, scope: Scope, **options: Unpack[JobOptions]) -> JobDecorator: ...
    @overload
    def job(self, *, public: Literal[True], **options: Unpack[JobOptions]) -> JobDecorator: ...
    @overload
    def job(
        self, *, internal: Literal[True], acts_as: Literal["caller", "module"] = ..., **options: Unpack[JobOptions]
    ) -> JobDecorator: ...
    def job(self, **options: Any) -> Any:
        """Declare a job; exactly one of `scope`, `public` and `internal` says who may start it.

        Args:
            **options: See :class:`Declaration`.
        """
        return self._declare(Job, options)

    # -- relations and events

    @overload
    def edge(self, source: type[S], name: str, *, scope: Scope, weight: int = ...) -> EdgeDecorator[S]: ...
    @overload
    def edge(self, source: type[S], name: str, *, public: Literal[True], weight: int = ...) -> EdgeDecorator[S]: ...
    def edge(self, source: type[S], name: str, **options: Any) -> Any:
        """Declare a relation of `source`, resolved in batches.

        Args:
            source: The shape it starts from.
            name: The field under which it appears.
            **options: ``scope`` or ``public=True`` says who may follow it; ``weight`` what one value costs, compared
                with that of an ordinary edge.
        """

        def declare(resolver: Callable[..., Awaitable[Any]]) -> Edge[Any, ..., Any]:
            place = place_of(resolver)
            if not (isinstance(source, type) and issubclass(source, msgspec.Struct)):
                self._fault(
                    "edge", place, f"edge {name}: {source!r} is no shape", "Begin at a subclass of trivet.Struct."
                )
                return Edge(self, source, name, Access(), resolver)
            title = f"edge {source.__name__}.{name}"
            access = self._access(options, place, title)
            if access.internal:
                self._fault("access", place, f"{title}: nobody can follow it", 'Say scope="..." or public=True.')
            weight = options.get("weight", 1)
            for problem, mend in problems_with("weight", weight):
                self._fault("declaration", place, f"{title}: {problem}", mend)
                weight = 1
            edge: Edge[Any, ..., Any] = Edge(self, source, name, access, resolver, weight)
            self.edges.append(edge)
            return edge

        return declare

    def on(
        self, event: type[E]
    ) -> Callable[[Callable[[Write, E], Awaitable[None]]], Callable[[Write, E], Awaitable[None]]]:
        """Declare a handler of an event: it runs after the commit, at least once, in a transaction of its own.

        The handler acts as the module. What it changes in the database happens once per event, because the delivery
        is recorded in the same transaction.

        Args:
            event: The type of the event, this module's or another's.
        """

        def declare(handler: Callable[[Write, E], Awaitable[None]]) -> Callable[[Write, E], Awaitable[None]]:
            self.subscriptions.append(Subscription(module=self, event=event, handler=handler, place=place_of(handler)))
            return handler

        return declare

    # -- collecting

    def _declare(self, kind: type[Operation[..., Any]], options: dict[str, Any]) -> Callable[..., Operation[..., Any]]:
        def declare(handler: Callable[..., Any]) -> Operation[..., Any]:
            place = place_of(handler)
            declared = Intake if kind is Stream and not inspect.isasyncgenfunction(handler) else kind
            title = f"{declared.kind.decorator} {self.name}.{getattr(handler, '__name__', 'operation')}"
            access = self._access(options, place, title)
            rest, problems = checked(declared.kind, {k: v for k, v in options.items() if k not in ACCESS})
            for problem, mend in problems:
                self._fault("declaration", place, f"{title}: {problem}", mend)
            operation = declared(self, handler, Declaration(access=access, **rest))
            self.operations.append(operation)
            return operation

        return declare

    def _access(self, options: dict[str, Any], place: Place, title: str) -> Access:
        scope, acts_as = options.get("scope", ()), options.get("acts_as", "caller")
        scopes = (scope,) if isinstance(scope, str) or not isinstance(scope, Sequence) else tuple(scope)
        if not all(isinstance(one, str) and SCOPE.fullmatch(one) for one in scopes):
            mend = 'A scope is one word, such as "catalog.read"; several are a list.'
            self._fault("access", place, f"{title}: scope={scope!r}", mend)
        if acts_as not in ("caller", "module"):
            self._fault("acts-as", place, f"{title}: acts_as={acts_as!r}", 'Say acts_as="caller" or acts_as="module".')
            acts_as = "caller"
        access = Access(
            scopes=tuple(map(str, scopes)),
            public=options.get("public") is True,
            internal=options.get("internal") is True,
            acts_as=acts_as,
        )
        said = [
            name for name, yes in (("scope", scopes), ("public", access.public), ("internal", access.internal)) if yes
        ]
        if len(said) != 1:
            self._fault(
                "access",
                place,
                f"{title}: {' and '.join(said) or 'nothing'} says who may call it",
                'Say exactly one: scope="...", public=True or internal=True.',
            )
        if access.acts_as == "module" and not access.internal:
            self._fault("acts-as", place, f'{title}: acts_as="module" without internal=True', "Make it internal.")
        return access

    def _fault(self, rule: str, place: Place, problem: str, mend: str) -> None:
        self.faults.append(Fault(rule=rule, place=place, problem=problem, mend=mend))
