"""Read your writes where there are replicas: what a caller has seen goes with it from request to request.

Every answer to a change has a `Consistency-Token`; a caller that sends it with a later request reads nothing older, and
is told a new one. For callers that send none, what they wrote lately is remembered here, if the settings say that this
is where all of their requests come to; otherwise their reads are on the primary.

Without replicas this policy is in no chain.
"""

from __future__ import annotations

import re
from typing import Any, cast

import msgspec

from trivet.core.call import Call, Handler, Outcome
from trivet.core.consistency import Marks, Witness
from trivet.core.declaration import Kind
from trivet.core.error import InvalidArgument, Violation
from trivet.core.operation import Operation
from trivet.data.database import Accounting
from trivet.data.signed import NotOurs, seal, unseal
from trivet.runtime import Runtime

FIELD = b"consistency-token"
PURPOSE = b"trivet.consistency.1\0"
"""Keeps these signatures apart from any other use of the key."""

TOKEN = re.compile(rb"[A-Za-z0-9_-]{22,4096}")


def consistency(operation: Operation[..., Any] | None, runtime: Runtime, next: Handler) -> Handler:
    """Let the call know what its caller has seen, and the caller what it has seen after it."""
    if operation is None or operation.kind is Kind.STREAM or not runtime.replicated:
        return next
    key = runtime.settings.secret_key.reveal().encode()
    record = runtime.record
    kept = operation.declaration.cache is not None  # the token of one caller, out of a cache, would set back another's

    async def consistent(call: Call) -> Outcome:
        token = call.fields.get(FIELD)
        who = (call.tenant, call.principal.subject)
        if token is not None:
            marks, database = read(token, key), runtime.database
            if marks is not None and database is not None:
                marks = cast(Accounting, database).known(marks)  # none of another app with the same key
            call.witness = witness = Witness(marks, keeps=True)
        else:
            call.witness = witness = Witness(record.of(who) if record is not None else None, keeps=False)
        try:
            return await next(call)
        finally:
            said = None if kept and not witness.wrote else told(witness, key)
            if said is not None:
                call.note(FIELD, said)
            if witness.wrote and record is not None and witness.marks is not None:
                record.note(who, witness.marks)

    return consistent


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(Marks)


def told(witness: Witness | None, key: bytes) -> bytes | None:
    """Return the token that a caller gets: one that wrote, and one that sent one."""
    if witness is None or witness.marks is None or not (witness.wrote or witness.keeps):
        return None
    return write(witness.marks, key)


def write(marks: Marks, key: bytes) -> bytes:
    """Return the token of what a caller has seen."""
    return seal(_ENCODER.encode(marks), PURPOSE, key).encode()


def read(token: bytes, key: bytes) -> Marks | None:
    """Return what the bearer of a token has seen; ``None`` where it is not one of ours, and only the primary will do.

    A token outlives the key that signed it, the database and this program. Whoever sends an old one gets what is right
    for everybody, and a new one.

    Raises:
        InvalidArgument: It has not the form of a token.
    """
    if TOKEN.fullmatch(token) is None:
        raise InvalidArgument(
            violations=(
                Violation(detail="is not a token; send the last one you were given", pointer="#/consistency-token"),
            )
        )
    try:
        return _DECODER.decode(unseal(token.decode(), PURPOSE, key))
    except (NotOurs, msgspec.DecodeError):
        return None
