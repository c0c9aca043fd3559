"""The last step of every answer, whatever made it: is it still what the caller has, in which coding does it go out.

Operations, the contract, pages and problems all pass here, so that they can not differ in their validators, their
codings or what ``HEAD`` says about them.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache

import msgspec

from trivet.core.precondition import ANY, Current, Precondition, PreconditionFailed, Verdict, decide
from trivet.transports.rest import httpdate
from trivet.transports.rest.coding import Choice, Codings
from trivet.transports.rest.validator import State

Fields = list[tuple[bytes, bytes]]

NOSNIFF = (b"x-content-type-options", b"nosniff")
NO_RANGES = (b"accept-ranges", b"none")
NOT_MODIFIED = 304
SECOND = timedelta(seconds=1)


class Reply(msgspec.Struct, eq=False):
    """An answer on its way out.

    Attributes:
        status: The HTTP status.
        kept: Header fields that a 304 has as well: ``Cache-Control``, ``Content-Location`` and ``Vary`` (RFC 9110
            section 15.4.5).
        fields: The others, those that depend on the bytes left out.
        body: What is sent, not yet in any coding.
        state: Which state of its resource it shows, where that can be told.
        known: The body in codings that it was sent in before; ``None`` where it is made anew each time.
    """

    status: int
    kept: Fields
    fields: Fields
    body: bytes
    state: State | None = None
    known: dict[str, bytes] | None = None


def tag_of(state: State, coding: str | None) -> str:
    """Return the entity tag of a state in a coding."""
    return f'"{state.tag}-{coding}"' if coding else f'"{state.tag}"'


def current_of(state: State, choice: Choice) -> Current:
    """Return what a request that reads is compared with: the tags of every form that it would take."""
    return Current(
        marks=frozenset(tag_of(state, coding) for coding in choice.acceptable),
        modified=state.modified.replace(microsecond=0) if state.modified is not None else None,
    )


def held(state: State, choice: Choice, given: Precondition) -> str | None:
    """Return the tag by which the caller says that it has this state, in a coding that it takes."""
    marks = given.none_match
    if marks is None or ANY in marks:
        return None
    return next((tag for coding in choice.acceptable if (tag := tag_of(state, coding)) in marks), None)


class Finished(msgspec.Struct, eq=False):
    """An answer but for its last transformation.

    Attributes:
        status: The HTTP status.
        fields: Header fields; ``Content-Length`` is still to come, where there is content.
        body: What is to be put into `coding`.
        coding: The content-coding, if any.
        known: The body in codings that are made already, where they are kept.
    """

    status: int
    fields: Fields
    body: bytes
    coding: str | None = None
    known: dict[str, bytes] | None = None


def finished(
    reply: Reply, given: Precondition | None, choice: Choice, codings: Codings, now: Callable[[], datetime]
) -> Finished:
    """Decide what an answer becomes.

    Args:
        reply: The answer.
        given: What a request that reads takes for granted.
        choice: The codings that the caller takes.
        codings: What can be sent.
        now: Tells the instant of the answer.

    Raises:
        PreconditionFailed: What is read is not what the caller took it for.
    """
    state, body = reply.state, reply.body
    verdict = Verdict.HOLDS
    if given is not None and state is not None:
        verdict = decide(given, current_of(state, choice), reads=True)
        if verdict is Verdict.FAILS:
            raise PreconditionFailed
        if verdict is Verdict.UNCHANGED and (tag := held(state, choice, given)) is not None:
            return Finished(NOT_MODIFIED, [(b"etag", tag.encode()), *reply.kept], b"")
    coding = codings.coding_for(len(body), choice) if body and choice.coding is not None else None
    fields = [*reply.fields, *reply.kept]
    if state is not None:
        tag = tag_of(state, coding)
        if verdict is Verdict.UNCHANGED:
            return Finished(NOT_MODIFIED, [(b"etag", tag.encode()), *reply.kept], b"")
        fields.append((b"etag", tag.encode()))
        if state.modified is not None and (stamp := stamped(state.modified, now())) is not None:
            fields.append((b"last-modified", stamp))
    if coding is not None:
        fields.append((b"content-encoding", coding.encode()))
    return Finished(reply.status, fields, body, coding, reply.known)


def stamped(modified: datetime, now: datetime) -> bytes | None:
    """Return ``Last-Modified``; ``None`` in the first second after the change.

    A date has whole seconds, so that one given out while its second lasts could stand for two states. Given out later
    it is as strong as a tag (RFC 9110 section 8.8.2.2), and ``If-Unmodified-Since`` loses no update.
    """
    return _written(int(modified.timestamp())) if now - modified >= SECOND else None


@lru_cache(maxsize=4096)
def _written(second: int) -> bytes:
    return httpdate.written(datetime.fromtimestamp(second, UTC))
