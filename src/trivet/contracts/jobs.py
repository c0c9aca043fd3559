"""The platform's own operation: how far a job is. It is served like any other, so that every policy holds for it."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from trivet.core.context import Read
from trivet.core.declaration import Http, Kind
from trivet.core.error import NotFound
from trivet.core.job import File, JobStatus
from trivet.core.module import Module

jobs = Module("jobs", owner="the platform")

STATUS_PATH = "/v1/jobs/"
"""Where the status of a job is found, by its id."""

FILE_PATH = "/v1/jobs/{id}/file"
"""Where the file of a job is found, if it wrote one."""


class JobNotFound(NotFound):
    """There is no such job, or another caller started it."""


@jobs.query(public=True, raises=[JobNotFound], http=Http(path="/jobs/{id}"), graphql="job", rpc="GetJob")
async def get_job(ctx: Read, id: UUID) -> JobStatus:
    """Return how far a job is; only who started it may ask."""
    from trivet.messaging.jobs import get

    record = await get(ctx._work.session, id)
    if record is None or record.creator != ctx.principal.subject or record.tenant != ctx.tenant:
        raise JobNotFound
    return record.status


def writes_files(modules: Iterable[Module]) -> bool:
    """Whether a job of these modules writes files: then it returns one."""
    return any(o.kind is Kind.JOB and o.signature.result is File for module in modules for o in module.operations)
