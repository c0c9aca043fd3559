"""The statuses of jobs: written where a job is asked for, and in short transactions of their own while it runs."""

from __future__ import annotations

from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING
from uuid import UUID

import msgspec

from trivet.core.checks import MAX_VIOLATIONS
from trivet.core.error import SERVER_FAULTS, Code, Error, InvalidArgument, Unimplemented, Violation
from trivet.core.job import JobError, JobProgress, JobState, JobStatus, code_name
from trivet.core.shape import Struct
from trivet.data.database import Row, Session
from trivet.data.sharding.reads import ShardedRead
from trivet.data.sharding.session import ShardedWrite
from trivet.messaging.message import Message
from trivet.messaging.tables import instant, micros, tables

if TYPE_CHECKING:
    from trivet.data.statement import Statement

JOB_COLUMNS = (
    "id",
    "operation",
    "creator",
    "tenant",
    "state",
    "done",
    "total",
    "result",
    "code",
    "reason",
    "message",
    "errors",
    "create_time",
    "start_time",
    "end_time",
)


class JobAbandoned(Unimplemented):
    """Nobody ran the job for days: no running version of the service has an operation of its name."""


class JobRecord(Struct):
    """A job with what decides who may see it.

    Attributes:
        status: The job as its caller sees it.
        creator: The subject of the caller who asked for it; empty for a caller without credentials.
        tenant: The tenant of that caller's credential.
    """

    status: JobStatus
    creator: str
    tenant: str | None


def queued(message: Message) -> JobStatus:
    """Return the status of a job that was just asked for."""
    return JobStatus(id=message.id, operation=message.type, create_time=message.create_time)


async def create(session: Session, message: Message) -> None:
    """Add the status of a job in the transaction that stores its message."""
    creator = message.principal.subject if message.principal else ""
    values = (str(message.id), message.type, creator, message.tenant, micros(message.create_time))
    await session.execute(_statements().create, values)


async def get(session: Session, id: UUID) -> JobRecord | None:
    """Return a job, ``None`` when there is none of that id or it ended too long ago.

    A transaction that has reached nothing yet is on the node that has the job from then on.
    """
    fetch = session.fetch_anywhere if isinstance(session, ShardedRead | ShardedWrite) else session.fetch
    rows = await fetch(_statements().get, (str(id),))
    return record_of(rows[0]) if rows else None


async def start(session: Session, id: UUID, now: datetime) -> None:
    """Record that the job runs."""
    await session.execute(_statements().start, (micros(now), str(id)))


async def report(session: Session, id: UUID, progress: JobProgress) -> None:
    """Record how far the job is."""
    await session.execute(_statements().report, (progress.done, progress.total, str(id)))


async def release(session: Session, id: UUID) -> None:
    """Record that the job waits to run again."""
    await session.execute(_statements().release, (str(id),))


async def reopen(session: Session, message: Message) -> None:
    """Let a job that ended wait again, as if it had just been asked for; where its status was removed, add it."""
    if await session.execute(_statements().reopen, (str(message.id),)) != 1:
        await create(session, message)


async def succeed(session: Session, id: UUID, result: bytes, now: datetime) -> None:
    """Record the result, as JSON."""
    await session.execute(_statements().succeed, (result, micros(now), str(id)))


async def fail(session: Session, id: UUID, error: BaseException, now: datetime) -> None:
    """Record why the job failed, as far as that is safe to show."""
    shown = shown_error(error)
    errors = msgspec.json.encode(shown.errors) if shown.errors else None
    values = (shown.code, shown.reason, shown.message, errors, micros(now), str(id))
    await session.execute(_statements().fail, values)


async def cancel(session: Session, status: JobStatus, now: datetime) -> None:
    """End a job that has not ended: nobody runs it from now on, and who runs it finds the lease lost.

    Whoever removes the delivery first, this or the end of the job, decides how it ended.
    """
    if await session.execute(_statements().withdraw, (status.operation, str(status.id))):
        await session.execute(_statements().cancel, (micros(now), str(status.id)))


async def prune(session: Session, before: datetime) -> int:
    """Remove jobs that ended before the instant and return how many."""
    return await session.execute(_statements().prune, (micros(before),))


def shown_error(error: BaseException) -> JobError:
    """Return what a caller may know: a domain error as itself, anything else as an internal one without detail."""
    if isinstance(error, Error) and error.code not in SERVER_FAULTS:
        return JobError(
            code=code_name(error.code),
            reason=error.reason,
            message=error.detail or error.message,
            errors=error.violations[:MAX_VIOLATIONS] if isinstance(error, InvalidArgument) else (),
        )
    return JobError(code=code_name(Code.INTERNAL), reason="INTERNAL", message="Something went wrong on our side.")


def record_of(row: Row) -> JobRecord:
    """Return the job in the values of `JOB_COLUMNS`."""
    id, operation, creator, tenant, state, done, total, result, *why, created, started, ended = row
    status = JobStatus(
        id=UUID(id),
        operation=operation,
        state=JobState(state),
        progress=None if done is None else JobProgress(done=done, total=total),
        result=None if result is None else msgspec.json.decode(result),
        error=_error_of(*why),
        create_time=instant(created),
        start_time=None if started is None else instant(started),
        end_time=None if ended is None else instant(ended),
    )
    return JobRecord(status=status, creator=creator, tenant=tenant)


def _error_of(code: str | None, reason: str, message: str, errors: bytes | None) -> JobError | None:
    if code is None:
        return None
    found = [] if errors is None else msgspec.json.decode(errors)
    violations = tuple(Violation(detail=each["detail"], pointer=each["pointer"]) for each in found)
    return JobError(code=code, reason=reason, message=message, errors=violations)


class _Statements(Struct):
    create: Statement
    get: Statement
    start: Statement
    report: Statement
    release: Statement
    reopen: Statement
    succeed: Statement
    fail: Statement
    withdraw: Statement
    cancel: Statement
    prune: Statement


@cache
def _statements() -> _Statements:
    import sqlalchemy as sa

    from trivet.data.statement import Statement

    job, delivery = tables().job, tables().delivery
    bind = sa.bindparam
    this = job.c.id == bind("of")

    def state(value: JobState) -> sa.ColumnElement[str]:
        return sa.literal_column(f"'{value.value}'")

    return _Statements(
        create=Statement(
            sa.insert(job).values(
                id=bind("id"),
                operation=bind("operation"),
                creator=bind("creator"),
                tenant=bind("tenant"),
                create_time=bind("create_time"),
                state=state(JobState.QUEUED),
            ),
            ("id", "operation", "creator", "tenant", "create_time"),
        ),
        get=Statement(sa.select(*(job.c[name] for name in JOB_COLUMNS)).where(this), ("of",)),
        start=Statement(
            sa.update(job).values(state=state(JobState.RUNNING), start_time=bind("now")).where(this), ("now", "of")
        ),
        report=Statement(
            sa.update(job).values(done=bind("so_far"), total=bind("in_all")).where(this), ("so_far", "in_all", "of")
        ),
        release=Statement(sa.update(job).values(state=state(JobState.QUEUED)).where(this), ("of",)),
        reopen=Statement(
            sa.update(job)
            .values(
                {"state": state(JobState.QUEUED)}
                | dict.fromkeys(("done", "total", "code", "reason", "message", "errors", "start_time", "end_time"))
            )
            .where(this),
            ("of",),
        ),
        succeed=Statement(
            sa.update(job)
            .values(state=state(JobState.SUCCEEDED), result=bind("value"), end_time=bind("now"))
            .where(this),
            ("value", "now", "of"),
        ),
        fail=Statement(
            sa.update(job)
            .values(
                state=state(JobState.FAILED),
                code=bind("why"),
                reason=bind("why_exactly"),
                message=bind("text"),
                errors=bind("wrong"),
                end_time=bind("now"),
            )
            .where(this),
            ("why", "why_exactly", "text", "wrong", "now", "of"),
        ),
        withdraw=Statement(
            sa.delete(delivery).where(
                delivery.c.subscriber == bind("operation"),
                delivery.c.aggregate == bind("of"),
                delivery.c.dead_time.is_(None),
            ),
            ("operation", "of"),
        ),
        cancel=Statement(
            sa.update(job).values(state=state(JobState.CANCELLED), end_time=bind("now")).where(this), ("now", "of")
        ),
        prune=Statement(sa.delete(job).where(job.c.end_time < bind("before")), ("before",)),
    )
