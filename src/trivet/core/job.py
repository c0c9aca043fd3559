"""The status of a job: what a caller sees of work that goes on after the answer."""

from __future__ import annotations

import enum
import re
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from msgspec import Meta

from trivet.core.checks import MAX_VIOLATIONS
from trivet.core.error import Code, Violation
from trivet.core.shape import Struct

Count = Annotated[int, Meta(ge=0)]
Name = Annotated[str, Meta(max_length=200)]


class JobState(enum.Enum):
    """How far a job is; `SUCCEEDED`, `FAILED` and `CANCELLED` are final."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Whether the state will never change again."""
        return self not in (JobState.QUEUED, JobState.RUNNING)


class JobProgress(Struct):
    """How much of a job is done, in units of its own choosing.

    Attributes:
        done: Units that are done.
        total: Units in all, where the job knows.
    """

    done: Count
    total: Count | None = None


class JobError(Struct):
    """Why a job failed, safe to show.

    Attributes:
        code: The lower-case name of the :class:`~trivet.core.error.Code`, such as ``not_found``.
        reason: The error's reason, such as ``SKU_TAKEN``.
        message: What was wrong.
        errors: Everything that was wrong with an input, and where.
    """

    code: Name
    reason: Name
    message: Annotated[str, Meta(max_length=2**21)]
    errors: Annotated[tuple[Violation, ...], Meta(max_length=MAX_VIOLATIONS)] = ()


class File(Struct):
    """A file that a job wrote and that its caller can fetch.

    Attributes:
        name: Under which it is saved.
        media_type: What it is.
        size: Its bytes.
        rows: How many rows are in it.
        path: Where it is found, below the root of the app.
        expire_time: From when on it is not there any more.
    """

    name: Name
    media_type: Name
    size: Count
    rows: Count
    path: Name
    expire_time: datetime


FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,93}\.(csv|ndjson)")
"""The name of a file that a job writes: fit for every file system and every header field."""


class JobStatus(Struct):
    """A job as its caller sees it.

    Attributes:
        id: Names the job; the caller got it as the answer.
        operation: The job's operation, as ``module.name``.
        state: How far it is.
        progress: What the job last said about itself.
        result: What it returned, as plain JSON values, once it succeeded.
        error: Why it failed, once it failed.
        create_time: When it was asked for.
        start_time: When it last began to run.
        end_time: When it ended.
    """

    id: UUID
    operation: Name
    state: JobState = JobState.QUEUED
    progress: JobProgress | None = None
    result: Any = None
    error: JobError | None = None
    create_time: datetime
    start_time: datetime | None = None
    end_time: datetime | None = None


def code_name(code: Code) -> str:
    """Return the code as job errors and problem documents spell it."""
    return code.name.lower()
