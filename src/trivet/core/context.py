"""Contexts: what a handler can see and do. A query reads, a command writes, a job works through many commands."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar, overload
from uuid import UUID

from trivet.core.clock import Deadline
from trivet.core.event import Event
from trivet.core.principal import Principal
from trivet.core.sharding import logical_of

if TYPE_CHECKING:
    from trivet.core.call import Call
    from trivet.core.job import File
    from trivet.core.module import Module
    from trivet.core.operation import Command, Job, Operation, Query
    from trivet.core.resource import Resource
    from trivet.core.shape import Struct

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
E1 = TypeVar("E1", bound=Event)
E2 = TypeVar("E2", bound=Event)
E3 = TypeVar("E3", bound=Event)


class Log(Protocol):
    """Writes structured lines: a fixed message and fields beside it."""

    def debug(self, message: str, **fields: Any) -> None:
        """Write a line for whoever looks closely."""

    def info(self, message: str, **fields: Any) -> None:
        """Write a line about what happened."""

    def warning(self, message: str, **fields: Any) -> None:
        """Write a line about what may need care."""

    def error(self, message: str, **fields: Any) -> None:
        """Write a line about what failed."""


class Work(Protocol):
    """One unit of work of this process: what stands behind the contexts of a call and of its nested calls."""

    @property
    def principal(self) -> Principal:
        """Who is calling."""
        ...

    @property
    def tenant(self) -> str | None:
        """The tenant of the caller's credential."""
        ...

    @property
    def deadline(self) -> Deadline:
        """By when the answer must exist."""
        ...

    @property
    def now(self) -> datetime:
        """The instant of the work."""
        ...

    @property
    def root(self) -> Call:
        """The call that all of this belongs to; what it asks of other processes continues it."""
        ...

    @property
    def session(self) -> Any:
        """The open store of the floor above; only that floor knows its type."""
        ...

    def snapshot(self) -> AbstractAsyncContextManager[Any] | None:
        """Return the store as of one instant, to be held for as long as somebody reads; ``None``: hold nothing."""
        ...

    @property
    def plans(self) -> Mapping[Any, Any]:
        """What that floor compiled for the app, by table."""
        ...

    def new_id(self, shard: int | None = None) -> UUID:
        """Return a new identifier, of a logical shard where one is named."""
        ...

    def log(self, module: Module) -> Log:
        """Return the log that names the module and the request."""
        ...

    def resource(self, resource: Resource[T]) -> T:
        """Return what the resource opened."""
        ...

    def viewed(self, view: str) -> None:
        """Note that a read model was read: the answer says how old it may be."""
        ...

    def leave(self, resource: Resource[Any]) -> None:
        """Refuse to wait for what is outside while a transaction is open, unless the operation declares it."""

    async def invoke(
        self, caller: Read, operation: Operation[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Any:
        """Run another operation as part of this work."""
        ...

    def emit(self, caller: Read, event: Event) -> None:
        """Store the event when the work commits."""
        ...

    async def send(
        self, caller: Read, operation: Operation[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> UUID:
        """Store a request for another operation, delivered after the work commits."""
        ...

    def follow(self, caller: Read, events: tuple[type[Event], ...]) -> AsyncIterator[Any]:
        """Return committed events of these types as they come."""
        ...

    def progress(self, done: int, total: int | None) -> None:
        """Record how far a job is."""
        ...

    async def export(self, rows: AsyncIterable[Any], name: str, total: int | None, shape: type[Any] | None) -> File:
        """Write the file of a job."""
        ...


class Read:
    """What a query can see: the caller, the time, other queries."""

    __slots__ = ("_unrestricted", "_work", "module")

    def __init__(self, work: Work, module: Module, unrestricted: bool = False) -> None:
        self._work = work
        self._unrestricted = unrestricted
        self.module = module

    def __repr__(self) -> str:
        return f"{type(self).__name__}(module={self.module.name!r}, principal={self.principal.subject!r})"

    @property
    def principal(self) -> Principal:
        """Who is calling."""
        return self._work.principal

    @property
    def tenant(self) -> str | None:
        """The tenant that the caller's credential belongs to."""
        return self._work.tenant

    @property
    def deadline(self) -> Deadline:
        """By when the answer must exist."""
        return self._work.deadline

    @property
    def now(self) -> datetime:
        """The instant of this call, in UTC; the same however often it is asked for."""
        return self._work.now

    @property
    def log(self) -> Log:
        """The structured log, with module and request id already on each line."""
        return self._work.log(self.module)

    def new_id(self, *, beside: UUID | str | int | None = None) -> UUID:
        """Return a new identifier, ordered by time (UUIDv7).

        Args:
            beside: The shard key of what the new thing belongs to; its id carries the same shard. When absent, that of
                what the command has reached already.
        """
        return self._work.new_id() if beside is None else self._work.new_id(logical_of(beside))

    async def call(self, operation: Query[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a query of this or of a used module and return its result.

        Raises:
            Error: What the query raised.
        """
        result: R = await self._work.invoke(self, operation, args, kwargs)
        return result

    @overload
    def follow(self, first: type[E1], /) -> AsyncIterator[E1]: ...
    @overload
    def follow(self, first: type[E1], second: type[E2], /) -> AsyncIterator[E1 | E2]: ...
    @overload
    def follow(self, first: type[E1], second: type[E2], third: type[E3], /) -> AsyncIterator[E1 | E2 | E3]: ...
    def follow(self, *events: type[Event]) -> AsyncIterator[Any]:
        """Yield events of these types, each after its commit, in commit order, from the start of the stream on.

        Only a stream may follow, and once. A reader that reconnects with the last position that it saw misses nothing
        and gets nothing twice, as long as the stream makes the same items of an event each time.
        """
        return self._work.follow(self, events)


class Write(Read):
    """What a command can do besides: change rows, emit events, run commands in the same transaction, send others."""

    __slots__ = ()

    @overload
    async def call(self, operation: Query[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    async def call(self, operation: Command[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    async def call(self, operation: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Run a query, or a command that joins this transaction, and return its result.

        Raises:
            Error: What the operation raised.
        """
        return await self._work.invoke(self, operation, args, kwargs)

    def emit(self, event: Event) -> None:
        """Store the event in this transaction; it is delivered after the commit, at least once."""
        self._work.emit(self, event)

    @overload
    async def send(self, operation: Command[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> UUID: ...
    @overload
    async def send(self, operation: Job[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> UUID: ...
    async def send(self, operation: Any, /, *args: Any, **kwargs: Any) -> UUID:
        """Ask for a command or a job to run after this transaction commits, at least once.

        Returns:
            The id of the request; for a job, the id under which its status is found.
        """
        return await self._work.send(self, operation, args, kwargs)


class Run(Read):
    """What a job can do: read, and run commands, each in a transaction of its own."""

    __slots__ = ()

    @overload
    async def call(self, operation: Query[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    async def call(self, operation: Command[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    async def call(self, operation: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Run a query, or a command in its own transaction, and return its result.

        Raises:
            Error: What the operation raised.
        """
        return await self._work.invoke(self, operation, args, kwargs)

    def progress(self, done: int, total: int | None = None) -> None:
        """Say how far the job is; readers of its status see it."""
        self._work.progress(done, total)

    async def export(
        self,
        rows: AsyncIterable[Struct],
        /,
        *,
        name: str,
        total: int | None = None,
        shape: type[Struct] | None = None,
    ) -> File:
        """Write rows into a file that whoever asked for the job can fetch, and say how many are written meanwhile.

        A job that is to have a file returns it: ``-> File``. It has one. It is there when the last row is in it; a job
        that runs again writes it anew. Some hundreds of rows are in memory at a time.

        Args:
            rows: Of one shape, such as a table's ``stream``.
            name: Under which the file is saved. ``.csv`` is for spreadsheets, ``.ndjson`` has a line of JSON for each
                row.
            total: How many rows there will be, where that is known.
            shape: Of the rows. A ``.csv`` has a header also where there are none, so it has to be said there, unless
                they are a table's ``stream``, which says so itself.

        Raises:
            TypeError: The shape has to be said.
            Unavailable: The store of files can not be used; the job is tried again.
            InvalidArgument: The file is larger than what is kept.
        """
        return await self._work.export(rows, name, total, shape)
