"""The unit of work: what stands behind the contexts of one call and of its nested calls.

It opens the store at the first use, collects events and requests for later, and stores those in the same transaction
just before the commit.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar, cast
from uuid import UUID

import msgspec

from trivet.core import dataage
from trivet.core.call import Call, Handler
from trivet.core.clock import Deadline, shard_of
from trivet.core.consistency import Marks
from trivet.core.context import Log, Read, Run, Write
from trivet.core.declaration import Declaration, Kind
from trivet.core.error import DeadlineExceeded
from trivet.core.event import Event, aggregate_of
from trivet.core.job import File, JobStatus
from trivet.core.module import Module
from trivet.core.operation import Operation
from trivet.core.patch import Patch
from trivet.core.principal import Principal
from trivet.core.resource import Resource
from trivet.core.sharding import any_shard, logical_of
from trivet.data.database import Reads, Session
from trivet.messaging.jobs import queued
from trivet.messaging.message import Message, MessageKind
from trivet.runtime import Runtime

if TYPE_CHECKING:
    from trivet.data.database import Lagging
    from trivet.data.sharding.session import ShardedWrite

T = TypeVar("T")


class UnitOfWork:
    """One transaction of a command, the reads of a query, or one delivery of a message.

    Args:
        runtime: What is open in this process.
        call: The call at the root; nested calls share the work.
        declaration: Of the operation at the root: where it reads, whether it needs a snapshot.
        writes: Whether the store is opened for writing.

    Attributes:
        plans: What the app compiled for its tables.
        reads: Which node it may read from; what the store was opened with stays.
    """

    __slots__ = (
        "_call",
        "_declaration",
        "_ended",
        "_messages",
        "_nesting",
        "_now",
        "_session",
        "_shard",
        "_since",
        "_viewed",
        "plans",
        "reads",
        "runtime",
        "writes",
    )

    def __init__(self, runtime: Runtime, call: Call, declaration: Declaration, writes: bool) -> None:
        self.runtime = runtime
        self.plans = runtime.plans
        self.writes = writes
        self.reads: Reads = declaration.reads
        self._call = call
        self._declaration = declaration
        self._session: Session | None = None
        self._shard: int | None = None
        self._ended = False
        self._messages: list[Message] = []
        self._nesting: asyncio.Task[Any] | None = None
        self._now: datetime | None = None
        self._since: Marks | None = None
        self._viewed: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"UnitOfWork(request_id={self._call.request_id!r}, writes={self.writes})"

    # -- what contexts see

    @property
    def principal(self) -> Principal:
        """Who is calling."""
        return self._call.principal

    @property
    def tenant(self) -> str | None:
        """The tenant of the caller's credential."""
        return self._call.tenant

    @property
    def deadline(self) -> Deadline:
        """By when the answer must exist; far away where nothing was set."""
        deadline = self._call.deadline
        return deadline if deadline is not None else Deadline(float("inf"), self.runtime.clock)

    @property
    def now(self) -> datetime:
        """The instant at which this work was first asked for the time."""
        if self._now is None:
            self._now = self.runtime.clock.now()
        return self._now

    @property
    def root(self) -> Call:
        """The call that all of this belongs to."""
        return self._call

    @property
    def session(self) -> Session:
        """The store, opened at the first use.

        Raises:
            RuntimeError: The app has no database, or the work has ended.
        """
        if self._session is None:
            self._running()
            witness = self._call.witness
            if witness is not None:
                self._since = witness.marks
            self._session = self.runtime.open_database().session(
                write=self.writes,
                deadline=self._call.deadline,
                reads=self.reads,
                snapshot=self._declaration.snapshot,
                after=self._since,
            )
            self._session.tenant = self._call.tenant
        return self._session

    def snapshot(self) -> AbstractAsyncContextManager[Any] | None:
        """Return nothing: only a job may hold a connection for as long as it reads."""
        return None

    def new_id(self, shard: int | None = None) -> UUID:
        """Return a new identifier, of a logical shard; where tables are sharded and none is named, of this work's."""
        runtime = self.runtime
        if shard is None:
            if not runtime.sharded:
                return runtime.clock.new_id()
            shard = self._new_shard()
        return runtime.clock.new_id(shard)

    def _new_shard(self) -> int:
        """Return the logical shard of what is made now: that of this transaction, or else one for all of this work.

        A request that is repeated with its key chooses as it did before, so that it comes to where the record of the
        key is. Nothing is opened for that.
        """
        if self.writes and self._session is not None:
            there = cast("ShardedWrite", self._session).shard
            if there is not None:
                return there
        if self._shard is None or not self.writes:
            call, key = self._call, self._call.idempotency_key
            scoped = f"{call.tenant}/{call.principal.subject}/{key}"
            self._shard = any_shard() if key is None else logical_of(scoped)
        return self._shard

    def log(self, module: Module) -> Log:
        """Return the log that names the module and the request."""
        return self.runtime.log.bind(module=module.name, request_id=self._call.request_id)

    def resource(self, resource: Resource[T]) -> T:
        """Return what the resource opened."""
        opened: T = self.runtime.resource(resource)
        return opened

    def viewed(self, view: str) -> None:
        """Let the answer say how old the data of a read model may be, where that is known."""
        witness, reads = self._call.witness, self.reads
        at_primary = self.writes or reads == "primary" or (reads == "session" and witness is None)
        if at_primary or not self.runtime.replicated:
            self._say_age(view, 0.0)
        else:
            self._viewed += (view,)  # how far the copy that is read is behind, is known once it is chosen

    def _say_age(self, view: str, behind: float) -> None:
        age = self.runtime.freshness.age(view, behind)
        if age is not None:
            dataage.tell(self._call, age)

    def leave(self, resource: Resource[Any]) -> None:
        """Refuse to wait for what is outside while a transaction is open, unless the operation declares it.

        Raises:
            RuntimeError: It does not: others would wait for its locks and its connection meanwhile.
        """
        self._running()
        if self.writes and self._session is not None and resource not in self._declaration.uses:
            name = self._call.operation.id if self._call.operation is not None else "the handler"
            raise RuntimeError(
                f"{name} calls {resource.name!r} while its transaction is open: call before the first use of a table, "
                f"ctx.send a command that calls, or declare uses=[{resource.name}]"
            )

    # -- other operations

    async def invoke(
        self, caller: Read, operation: Operation[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Any:
        """Run another operation as part of this work; from a job, a command runs in its own transaction.

        Raises:
            TypeError: The caller's module does not use the other one, the arguments do not fit, a query is asked to
                write, or it is neither a query nor a command.
        """
        self._running()
        permitted(caller, operation)
        if operation.kind not in (Kind.QUERY, Kind.COMMAND):
            mend = "ctx.send asks for it" if operation.kind is Kind.JOB else "only callers from outside read it"
            raise TypeError(f"{operation.id} is a {operation.kind.value}, which ctx.call does not run: {mend}")
        alone = isinstance(caller, Run) and operation.kind is Kind.COMMAND
        if operation.kind is Kind.COMMAND and not alone and not isinstance(caller, Write):
            raise TypeError(f"{operation.id} is a command; a query can not call it: make the caller a command")
        if operation.declaration.reads == "primary" != self.reads and not self.writes:
            self._stricter(operation)
        root = self._call
        call = Call(
            operation,
            protocol="internal",
            method="",
            peer=root.peer,
            arrival=self.runtime.clock.monotonic(),
            request_id=root.request_id,
            principal=root.principal,
        )
        call.tenant, call.trace, call.deadline = root.tenant, root.trace, root.deadline
        call.arguments = operation.signature.arguments(args, dict(kwargs))
        access = operation.declaration.access
        call.unrestricted = access.acts_as == "module" or (caller._unrestricted and caller.module is operation.module)
        if alone and operation in self.runtime.handlers.root:
            clock = self.runtime.clock  # a job or a stream takes what it takes, its commands do not
            until = clock.monotonic() + operation.declaration.timeout
            if call.deadline is None or until < call.deadline.at:
                call.deadline = Deadline(until, clock)
            return (await self.runtime.handlers.root[operation](call)).value
        call.work = self
        handler = self.runtime.handlers.nested[operation]
        if operation.kind is not Kind.COMMAND:
            return (await handler(call)).value
        return await self._joined(handler, call)

    def _stricter(self, operation: Operation[..., Any]) -> None:
        """Read from the primary from now on, for a query that declares it."""
        if self._session is not None:
            raise TypeError(
                f"{operation.id} reads from the primary, and its caller has read elsewhere: all of one query is read "
                f'at one node. Declare reads="primary" for the caller, or call {operation.name} first'
            )
        self.reads = "primary"

    async def _joined(self, handler: Handler, call: Call) -> Any:
        """Run a command in this transaction; a caller that catches its error goes on without what it changed."""
        task, outer = asyncio.current_task(), self._nesting
        if outer is not None and outer is not task:
            raise RuntimeError("commands that join one transaction run one after the other: await each before the next")
        self._nesting = task
        try:
            async with self.attempt():
                return (await handler(call)).value
        finally:
            self._nesting = outer

    @asynccontextmanager
    async def attempt(self) -> AsyncIterator[None]:
        """Undo what happens inside when it raises, in the store and of what is to be sent; the work can go on."""
        stored = len(self._messages)
        try:
            async with self.session.savepoint():
                yield
        except BaseException:
            del self._messages[stored:]
            raise

    # -- what happens after the commit

    def emit(self, caller: Read, event: Event) -> None:
        """Store the event when the work commits."""
        name = self.runtime.subscribers.names.of(type(event))
        self._store(MessageKind.EVENT, name, caller.module, event, aggregate=f"{name}/{aggregate_of(event)}")

    async def send(
        self, caller: Read, operation: Operation[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> UUID:
        """Store a request for a command or a job, delivered after the work commits.

        Raises:
            TypeError: It is neither, the caller's module does not use its module, or the arguments do not fit.
        """
        permitted(caller, operation)
        if not operation.kind.writes:
            raise TypeError(f"{operation.id} is a {operation.kind.value}: only commands and jobs run later")
        if self.runtime.subscribers.request(operation.id) is None:
            raise TypeError(f"{operation.id} is a job of another process: call it there with rpc.Service.get(ctx).call")
        return self._request(operation, operation.signature.arguments(args, dict(kwargs))).id

    def enqueue(self, operation: Operation[..., Any], arguments: Mapping[str, Any]) -> JobStatus:
        """Store a request for a job on behalf of the caller and return its status."""
        return queued(self._request(operation, arguments))

    def _request(self, operation: Operation[..., Any], arguments: Mapping[str, Any]) -> Message:
        kind = MessageKind.JOB if operation.kind is Kind.JOB else MessageKind.COMMAND
        return self._store(kind, operation.id, operation.module, arguments)

    def _store(self, kind: MessageKind, type: str, module: Module, payload: Any, aggregate: str = "") -> Message:
        self._running()
        if not self.writes:
            raise RuntimeError(f"{type}: only a command can store messages")
        call = self._call
        message = Message(
            id=self.new_id(),
            kind=kind,
            type=type,
            major=module.major,
            module=module.name,
            aggregate=aggregate,
            payload=msgspec.json.encode(payload, enc_hook=_patches),
            create_time=self.now,
            principal=call.principal,
            tenant=call.tenant,
            trace=call.trace.traceparent if call.trace is not None else None,
            request_id=call.request_id,
        )
        self._messages.append(message)
        return message

    async def follow(self, caller: Read, events: tuple[type[Event], ...]) -> AsyncIterator[Any]:
        """Yield committed events of these types as they come; the call knows where its reader stands.

        Raises:
            RuntimeError: The stream follows already: there would be two places to come back to.
        """
        call = self._call
        if call.position is not None:
            raise RuntimeError("a stream follows once: name all types of events in one ctx.follow")
        async with self.runtime.open_feed().follow(events, call.resume_after) as reader:
            call.position = reader
            async for event in reader:
                yield event

    def progress(self, done: int, total: int | None) -> None:
        """Record how far a job is; the runner of jobs has its own."""
        raise RuntimeError("only a job has progress")

    async def export(self, rows: AsyncIterable[Any], name: str, total: int | None, shape: type[Any] | None) -> File:
        """Refuse; the runner of jobs has its own."""
        raise RuntimeError("only a job has a file")

    # -- its end

    @property
    def idle(self) -> bool:
        """Whether there is nothing to commit and nothing to give back: the store was not used, nothing was emitted."""
        return self._session is None and not self._messages

    @property
    def asked(self) -> bool:
        """Whether the caller wants to be told what it has seen."""
        witness = self._call.witness
        return witness is not None and witness.keeps

    async def commit(self) -> None:
        """Store what was emitted and sent, make everything durable, then wake whoever waits for messages.

        Raises:
            Contention: Other writers are in the way; nothing is kept.
        """
        if self._messages:
            messages = of_its_shard(self.runtime, self.session, self._messages)
            await self.runtime.open_outbox().store(self.session, messages)
        if self._session is not None:
            await self._decide(self._session)

    async def _decide(self, session: Session) -> None:
        """Commit in time or not at all: once it has begun, the deadline does not end it, so that nothing durable is
        reported as late.
        """
        call, alarms = self._call, self.runtime.alarms
        if call.deadline is not None and call.deadline.remaining() <= 0:
            raise DeadlineExceeded
        if call.alarm is not None:
            alarms.disarm(call.alarm)
        try:
            await session.commit()
        except Exception:
            if call.alarm is not None:
                alarms.rearm(call.alarm)  # the handler may run again
            raise
        finally:
            if self._messages:
                self.runtime.wake()  # also where a cancellation is raised after the commit
        if call.witness is not None:
            await self.account()

    async def account(self) -> None:
        """Note what the caller has seen by now; account is kept of that where there are replicas."""
        witness = self._call.witness
        if witness is not None and self._session is not None:
            witness.see(await self._session.seen(), self._since, self.writes)

    async def close(self) -> None:
        """Return what is borrowed; what was not committed is rolled back. From now on its contexts reach nothing."""
        session = self._session
        for view in self._viewed if session is not None else ():
            self._say_age(view, cast("Lagging", session).behind)
        self.end()
        if session is not None:
            await session.close()

    def end(self) -> None:
        """Let its contexts reach nothing from now on; enough for work that is idle."""
        self._session, self._ended = None, True
        self._call.work = None  # call and work refer to each other: without this, each request leaves garbage behind

    def _running(self) -> None:
        if self._ended:
            raise RuntimeError(
                "this context's operation has ended: a task that outlives its handler can not use it; "
                "await it in the handler, or ctx.send a command"
            )


def of_its_shard(runtime: Runtime, session: Session, messages: list[Message]) -> list[Message]:
    """Return the messages of a transaction; where it is on a shard, the ids of its events carry that.

    By them they are told from those of other shards when it moves (`trivet.messaging.handover`).
    """
    shard = cast("ShardedWrite", session).shard if runtime.sharded else None
    if shard is None:
        return messages
    return [
        msgspec.structs.replace(message, id=runtime.clock.new_id(shard))
        if message.kind is MessageKind.EVENT and shard_of(message.id) != shard
        else message
        for message in messages
    ]


def _patches(value: Any) -> Any:
    """Encode what msgspec does not know: a patch is the document that it came from."""
    if isinstance(value, Patch):
        return value.to_builtins()
    raise NotImplementedError(f"{type(value).__name__} can not be stored in a message")


def permitted(caller: Read, operation: Operation[..., Any]) -> None:
    """Refuse a call to a module that the caller's module does not use.

    Raises:
        TypeError: With the line to write.
    """
    if operation.module is not caller.module and operation.module not in caller.module.uses:
        raise TypeError(
            f"{caller.module.name} calls {operation.id} but does not use {operation.module.name}: "
            f'write Module("{caller.module.name}", uses=[{operation.module.name}])'
        )
