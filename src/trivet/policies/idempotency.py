"""Idempotency: a command that is sent again with the same key takes effect once, and is answered the same.

The record of the key is the first thing that is written in the command's own transaction, the outcome the last, so a
commit makes the effect and the outcome durable together, and a crash leaves neither. Stored is the outcome, not the
bytes of one transport: it is rendered again for whoever asks.

What is stored is decided by the outcome: a result, or an error of the domain that would be the same again; that error
undoes what the handler did and keeps the record. What a retry may well end differently (the service was busy, late or
broken, somebody else was first, a precondition did not hold) is not stored, and the retry executes.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

import msgspec

from trivet.core.call import Call, Handler, Outcome
from trivet.core.declaration import Kind
from trivet.core.error import Code, Error
from trivet.core.idempotency import IdempotencyKeyReused
from trivet.core.job import JobStatus
from trivet.core.operation import Operation
from trivet.core.patch import Patch
from trivet.core.precondition import PreconditionFailed, PreconditionRequired
from trivet.core.shape import Struct
from trivet.core.tolerant import tolerant
from trivet.data import keys
from trivet.data.database import Session
from trivet.messaging.brief import briefly
from trivet.runtime import Runtime

if TYPE_CHECKING:
    from trivet.data.sharding.session import ShardedWrite

DETERMINISTIC = frozenset(
    {
        Code.INVALID_ARGUMENT,
        Code.FAILED_PRECONDITION,
        Code.OUT_OF_RANGE,
        Code.PERMISSION_DENIED,
        Code.NOT_FOUND,
        Code.ALREADY_EXISTS,
    }
)
"""Codes of errors that the same request would end with again."""

REFUSALS = (IdempotencyKeyReused, PreconditionFailed, PreconditionRequired)
"""Decided before the handler runs: a retry is decided anew."""

MARGIN = timedelta(seconds=10)
"""How much longer a lease lasts than its command may take."""

REPLAYED = (b"idempotent-replayed", b"true")


class KeptBefore(Exception):
    """The request was answered before; ends the handler that runs for it again."""

    def __init__(self, kept: keys.Kept) -> None:
        super().__init__("the idempotency key was used before")
        self.kept = kept


class Stored(Struct):
    """An outcome as it is kept.

    Attributes:
        result: The result as JSON, where it succeeded.
        reason: Of the error, where it failed.
        fields: Of the error.
    """

    result: msgspec.Raw = msgspec.Raw(b"null")
    reason: str | None = None
    fields: dict[str, Any] = {}


def idempotency(operation: Operation[..., Any] | None, runtime: Runtime, next: Handler) -> Handler:
    """Answer a repeated command with what came of it before; inside of its transaction."""
    if operation is None or not operation.kind.writes or not operation.declaration.transaction:
        return next
    records = Records(operation)

    def keyed(call: Call) -> Awaitable[Outcome]:
        return next(call) if call.idempotency_key is None else once(call)

    async def once_on_its_shard(call: Call) -> Outcome:
        """Take the key where the transaction turns out to be: before the handler reaches a row nobody knows."""
        use, session, now = records.use(call), cast("ShardedWrite", call.work.session), runtime.clock.now()

        async def take(inner: Session, shard: int | None) -> None:
            kept = await keys.take(inner, use, now, shard)
            if kept is not None:
                raise KeptBefore(kept)

        session.first(take)
        try:
            async with call.work.attempt():
                outcome = await next(call)
                await session.begin()  # also where the handler did not, or caught what this raises
        except KeptBefore as before:
            return await records.replay(call, use, before.kept)
        except Error as error:
            if session.place is None or not deterministic(error):
                raise  # what was decided without the store is decided again
            await keys.keep(session, use, stored_error(error))
            await call.work.commit()
            raise
        await keys.keep(session, use, stored_result(outcome.value))
        return outcome

    async def once(call: Call) -> Outcome:
        if runtime.sharded:
            return await once_on_its_shard(call)
        use = records.use(call)
        session: Session = call.work.session
        kept = await keys.take(session, use, runtime.clock.now())
        if kept is not None:
            return await records.replay(call, use, kept)
        try:
            async with call.work.attempt():
                outcome = await next(call)
        except Error as error:
            if not deterministic(error):
                raise
            await keys.keep(session, use, stored_error(error))
            await call.work.commit()
            raise
        await keys.keep(session, use, stored_result(outcome.value))
        return outcome

    return keyed


def leased_idempotency(operation: Operation[..., Any] | None, runtime: Runtime, next: Handler) -> Handler:
    """Do the same for a command without a transaction of its own: the key is held by a lease; around everything."""
    if operation is None or not operation.kind.writes or operation.declaration.transaction:
        return next
    records = Records(operation)
    declared = operation.declaration
    longest = timedelta(seconds=declared.timeout_max or declared.timeout) + MARGIN

    def keyed(call: Call) -> Awaitable[Outcome]:
        return next(call) if call.idempotency_key is None else once(call)

    async def once(call: Call) -> Outcome:
        use, token, database = records.use(call), str(runtime.clock.new_id()), runtime.open_database()

        async def take(session: Session) -> keys.Kept | None:
            now = runtime.clock.now()
            return await keys.lease(session, use, now, token, now + longest)

        kept = await briefly(database, take)
        if kept is not None:
            return await records.replay(call, use, kept)
        free: Callable[[Session], Awaitable[None]] = lambda session: keys.free(session, use, token)  # noqa: E731 - one of two
        end = free
        try:
            outcome = await next(call)
            value = stored_result(outcome.value)
            end = lambda session: keys.keep_leased(session, use, token, value)  # noqa: E731 - the other
        except Error as error:
            if deterministic(error):
                failed = stored_error(error)
                end = lambda session: keys.keep_leased(session, use, token, failed)  # noqa: E731 - the other
            raise
        finally:
            await briefly(database, end)
        return outcome

    return keyed


class Records:
    """How one operation's requests and outcomes are kept.

    Args:
        operation: The operation.
    """

    def __init__(self, operation: Operation[..., Any]) -> None:
        self._operation = operation
        self._name = f"{operation.id}@{operation.module.major}"

    @functools.cached_property
    def _decode(self) -> Callable[[bytes], Any]:
        return tolerant(JobStatus if self._operation.kind is Kind.JOB else self._operation.signature.result)

    def use(self, call: Call) -> keys.Use:
        """Return what the key of a call is used for."""
        scope = (call.tenant or "", call.principal.subject, call.idempotency_key or "")
        return keys.use_of(scope, self._name, ENCODER.encode(call.arguments))

    async def replay(self, call: Call, use: keys.Use, kept: keys.Kept) -> Outcome:
        """Return or raise what came of the same request before, rendered for whoever asks now.

        Raises:
            IdempotencyKeyReused: It was another request.
            Error: What it ended with.
        """
        if kept.fingerprint != use.fingerprint:
            raise IdempotencyKeyReused
        call.note(*REPLAYED)
        stored = msgspec.json.decode(kept.outcome, type=Stored)
        if stored.reason is not None:
            raise error_of(stored, self._operation)
        value = self._decode(bytes(stored.result))
        encode, expand = call.encode, call.expand
        if encode is None:
            return Outcome(value)
        return Outcome(value, encode(value if expand is None else await expand(value)))


def deterministic(error: Error) -> bool:
    """Return whether the same request would end with this error again."""
    return error.code in DETERMINISTIC and not isinstance(error, REFUSALS)


def stored_result(value: Any) -> bytes:
    """Return a result as it is kept."""
    return ENCODER.encode(Stored(result=msgspec.Raw(ENCODER.encode(value))))


def stored_error(error: Error) -> bytes:
    """Return an error as it is kept."""
    fields = {name: getattr(error, name) for name in error.shape.__struct_fields__}
    return ENCODER.encode(Stored(reason=error.reason, fields=fields))


def error_of(stored: Stored, operation: Operation[..., Any]) -> Error:
    """Return the error that was kept: of the class that the operation declares, or of any other of that name."""
    kinds = (*operation.declaration.raises, *_all_errors(Error))
    kind = next((each for each in kinds if each.reason == stored.reason), None)
    if kind is None:  # its class is gone: another version of the program kept it
        raise IdempotencyKeyReused(detail="What came of this request can not be told any more; use a new key.")
    values = msgspec.convert(stored.fields, kind.shape, strict=False)
    return kind(**{name: getattr(values, name) for name in kind.shape.__struct_fields__})


def _all_errors(kind: type[Error]) -> Iterator[type[Error]]:
    yield kind
    for below in kind.__subclasses__():
        yield from _all_errors(below)


def _plain(value: Any) -> Any:
    if isinstance(value, Patch):
        return value.to_builtins()
    raise NotImplementedError(f"{type(value).__name__} can not be kept as JSON")


ENCODER = msgspec.json.Encoder(enc_hook=_plain, order="deterministic")
