"""The file of a job, as whoever asked for the job fetches it: whole, or a range of it (RFC 9110 section 14).

Who may have it is decided as for the job's status, by the same operation behind the same policies. Its bytes are sent
as they are read, no faster than they are taken; they are never compressed, so that a download that broke off goes on
with a range where it ended.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import aclosing
from typing import Any, NamedTuple

import msgspec

from trivet.blobs.store import BlobsUnavailable, Reading
from trivet.contracts.fields import RANGE_MAX
from trivet.contracts.jobs import JobNotFound
from trivet.contracts.model import ApiOperation
from trivet.contracts.problem import NotAcceptable, RangeNotSatisfiable
from trivet.core.call import Call, Outcome
from trivet.core.error import InvalidArgument, Violation
from trivet.core.job import File, JobStatus
from trivet.core.precondition import Current, Precondition, PreconditionFailed, Verdict, decide
from trivet.policies import chain
from trivet.runtime import Runtime
from trivet.transports.rest import body
from trivet.transports.rest.bind import Binder
from trivet.transports.rest.caching import PRIVATE
from trivet.transports.rest.coding import NO_CODING, Codings
from trivet.transports.rest.conditions import for_reading
from trivet.transports.rest.exchange import RestCall, Send
from trivet.transports.rest.media import accepts
from trivet.transports.rest.reply import NOSNIFF, NOT_MODIFIED, Fields

RANGE = re.compile(rb"bytes[ \t]*=[ \t]*([0-9]*)[ \t]*-[ \t]*([0-9]*)")
"""One range; several are answered with the whole, as a server may (section 14.2)."""

HAS_RANGES = (b"accept-ranges", b"bytes")

Finish = Callable[[RestCall, Fields], Fields]
"""Adds the header fields that every answer has."""


class Part(NamedTuple):
    """What of a file is sent: the bytes from `start` up to and without `end`."""

    start: int
    end: int


class Download:
    """Serves ``GET`` of the files of jobs.

    Args:
        op: The operation that answers the status of a job.
        runtime: What is open while the process runs.
        codings: What answers can be sent in.

    Attributes:
        handler: The gate, then the status of the job.
    """

    def __init__(self, op: ApiOperation, runtime: Runtime, codings: Codings) -> None:
        self.operation = op.operation
        self._runtime = runtime
        self._codings = codings
        self._binder = Binder(op, [])
        inner = runtime.handlers.root[self.operation]

        async def answer(call: Call) -> Outcome:
            assert isinstance(call, RestCall)
            body.refuse_content(call)
            call.arguments = self._binder.head(call)
            call.given = for_reading(call.fields, runtime.clock.now())
            refuse_too_long(call.fields.get(b"range"))
            return await inner(call)

        self.handler = chain.gate(self.operation, runtime, answer)

    def __str__(self) -> str:
        return f"the file of {self.operation.id}"

    async def send(self, call: RestCall, status: JobStatus, finish: Finish, send: Send) -> None:
        """Send the file of a job, or the part of it that is asked for.

        Args:
            call: The request.
            status: The job's.
            finish: Completes the header fields.
            send: Where the bytes go.

        Raises:
            JobNotFound: The job has no file, not yet or not any more.
            NotAcceptable: The caller does not take what it is.
            PreconditionFailed: It is not what the caller took it for.
            RangeNotSatisfiable: The range is beyond its end.
        """
        blobs = self._runtime.blobs
        if blobs is None or not is_file(status.result):
            raise JobNotFound(detail="The job has no file.")
        async with blobs.read(status.id, self._runtime.clock.now()) as found:
            if found is None:
                raise JobNotFound(detail="The file of the job has expired.")
            self._negotiate(call, found)
            tag = f'"{found.about.tag}"'
            kept: Fields = [(b"etag", tag.encode()), *PRIVATE]
            given = call.given or Precondition()
            verdict = decide(given, Current(marks=frozenset((tag,))), reads=True)
            if verdict is Verdict.FAILS:
                raise PreconditionFailed
            if verdict is Verdict.UNCHANGED:
                await send({"type": "http.response.start", "status": NOT_MODIFIED, "headers": finish(call, kept)})
                await send({"type": "http.response.body", "body": b""})
                call.finish(NOT_MODIFIED, 0)
                return
            asked = call.fields.get(b"range") if call.verb == "GET" else None
            condition = call.fields.get(b"if-range")
            if condition is not None and condition != tag.encode():  # it has a part of something else
                asked = None
            part = part_of(asked, found.size)
            await self._send(call, found, part, kept, finish, send)

    def _negotiate(self, call: RestCall, found: Reading) -> None:
        kind = found.about.media_type.partition(";")[0]
        accept = call.fields.get(b"accept")
        if accept is not None and not accepts(accept, kind):
            raise NotAcceptable(available=(kind,))
        choice = self._codings.choose(call.fields.get(b"accept-encoding"))
        if choice is None or not choice.identity:
            raise NotAcceptable(detail=NO_CODING, available=(kind,))

    async def _send(
        self, call: RestCall, found: Reading, part: Part | None, kept: Fields, finish: Finish, send: Send
    ) -> None:
        about, size = found.about, found.size
        start, end = part or (0, size)
        fields: Fields = [
            (b"content-type", about.media_type.encode()),
            (b"content-disposition", f'attachment; filename="{about.name}"'.encode()),
            (b"content-length", b"%d" % (end - start)),
            HAS_RANGES,
            NOSNIFF,
            *kept,
        ]
        if part is not None:
            fields.append((b"content-range", f"bytes {start}-{end - 1}/{size}".encode()))
        status = 200 if part is None else 206
        await send({"type": "http.response.start", "status": status, "headers": finish(call, fields)})
        sent = 0
        if call.verb == "GET":
            try:
                async with aclosing(found.read(start, end)) as pieces:
                    async for piece in pieces:
                        await send({"type": "http.response.body", "body": piece, "more_body": True})
                        sent += len(piece)
            except BlobsUnavailable as broken:  # the head is out: the connection ends before its length is reached
                self._runtime.log.failure("a file can not be read", broken, request_id=call.request_id)
                return
        await send({"type": "http.response.body", "body": b""})
        call.finish(status, sent)


def is_file(result: Any) -> bool:
    """Whether the result of a job, as plain JSON values, is a file."""
    try:
        msgspec.convert(result, File)
    except msgspec.ValidationError:
        return False
    return True


def refuse_too_long(asked: bytes | None) -> None:
    """Refuse a ``Range`` that no client has a reason to send, as a server may (section 14.2).

    Raises:
        InvalidArgument: It is longer than `RANGE_MAX`.
    """
    if asked is not None and len(asked) > RANGE_MAX:
        detail = f"Range: more than {RANGE_MAX} characters; ask for one range, such as bytes=1000-"
        raise InvalidArgument(violations=(Violation(detail=detail, pointer="#/range"),))


def part_of(asked: bytes | None, size: int) -> Part | None:
    """Return which part of so many bytes a ``Range`` asks for, ``None`` for all: also where it is no single range.

    Raises:
        RangeNotSatisfiable: There is nothing of it.
    """
    wanted = RANGE.fullmatch(asked.strip()) if asked is not None else None
    if wanted is None or not (wanted[1] or wanted[2]) or max(len(wanted[1]), len(wanted[2])) > 18:
        return None
    if not wanted[1]:
        last = int(wanted[2])
        if not last or not size:
            raise RangeNotSatisfiable(size=size)
        return Part(max(0, size - last), size)
    start = int(wanted[1])
    end = int(wanted[2]) + 1 if wanted[2] else size
    if end <= start and wanted[2]:
        return None  # it is no range at all (section 14.1.1)
    if start >= size:
        raise RangeNotSatisfiable(size=size)
    return Part(start, min(end, size))
