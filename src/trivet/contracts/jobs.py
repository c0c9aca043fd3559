"""The platform's own operations: how far a job is, and its cancellation.

They are served like any others, so that every policy holds for them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING
from uuid import UUID

from trivet.core.context import Read, Write
from trivet.core.declaration import Http, Kind
from trivet.core.error import FailedPrecondition, NotFound
from trivet.core.job import File, JobState, JobStatus
from trivet.core.module import Module

if TYPE_CHECKING:
    from trivet.messaging.jobs import JobRecord

jobs = Module("jobs", owner="the platform")

STATUS_PATH = "/v1/jobs/"
"""Where the status of a job is found, by its id."""

FILE_PATH = "/v1/jobs/{id}/file"
"""Where the file of a job is found, if it wrote one."""


CANCEL_SCOPE = "jobs.cancel"
"""Whoever has this may cancel the jobs of others in the same tenant."""


class JobNotFound(NotFound):
    """There is no such job, or another caller started it."""


class JobEnded(FailedPrecondition, status=409):
    """The job has ended already."""

    state: JobState


@jobs.query(public=True, raises=[JobNotFound], http=Http(path="/jobs/{id}"), graphql="job", rpc="GetJob")
async def get_job(ctx: Read, id: UUID) -> JobStatus:
    """Return how far a job is; only who started it may ask."""
    from trivet.messaging.jobs import get

    record = await get(ctx._work.session, id)
    if record is None or not _owns(ctx, record):
        raise JobNotFound
    return record.status


@jobs.command(public=True, raises=[JobNotFound, JobEnded], http=Http(path="/jobs/{id}:cancel"))
async def cancel_job(ctx: Write, id: UUID) -> JobStatus:
    """Cancel a job; only who started it may, and who has the scope `jobs.cancel` in the same tenant.

    One that waits never runs. One that runs is told within about a second, wherever it runs: what it is doing just then
    is undone, its file is removed, and what its commands have committed stays. One that is cancelled may be cancelled
    again.
    """
    from trivet.messaging import jobs as stored

    session = ctx._work.session
    record = await stored.get(session, id)
    if record is None or not (_owns(ctx, record) or _may_cancel(ctx, record)):
        raise JobNotFound
    await stored.cancel(session, record.status, ctx.now)
    record = await stored.get(session, id)
    if record is None:
        raise JobNotFound
    if record.status.state is not JobState.CANCELLED:
        raise JobEnded(state=record.status.state)
    return record.status


def _owns(ctx: Read, record: JobRecord) -> bool:
    return record.creator == ctx.principal.subject and record.tenant == ctx.tenant


def _may_cancel(ctx: Read, record: JobRecord) -> bool:
    return ctx.principal.may(CANCEL_SCOPE) and record.tenant == ctx.tenant


def writes_files(modules: Iterable[Module]) -> bool:
    """Whether a job of these modules writes files: then it returns one."""
    return any(o.kind is Kind.JOB and o.signature.result is File for module in modules for o in module.operations)
