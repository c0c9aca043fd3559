"""What a call takes along to the next process: what is left of its time, its trace, and what it is known by."""

from __future__ import annotations

import hashlib

from trivet.core.call import Call
from trivet.core.operation import Operation

CONSISTENCY = "consistency-token"


class Onward:
    """What continues a call elsewhere.

    Args:
        call: The call at the root.
    """

    __slots__ = ("_call", "_seed")

    def __init__(self, call: Call) -> None:
        self._call = call
        self._seed: bytes | None = None

    def headers(self) -> dict[str, str]:
        """Return the header fields that the next process sees."""
        call, found = self._call, {"request-id": self._call.request_id}
        if call.trace is not None:
            found["traceparent"] = call.trace.traceparent
            if call.trace.state:
                found["tracestate"] = call.trace.state
        token = call.fields.get(CONSISTENCY.encode())
        if token is not None:
            found[CONSISTENCY] = token.decode("latin-1")
        return found

    def authorization(self) -> str | None:
        """Return the caller's own credentials."""
        given = self._call.fields.get(b"authorization")
        return given.decode("latin-1") if given is not None else None

    def remaining(self) -> float:
        """Return the seconds that are left of the call."""
        return self._call.deadline.remaining() if self._call.deadline is not None else float("inf")

    def key(self, operation: Operation[..., object], message: bytes) -> str:
        """Return the idempotency key of a command that this call asks for.

        It is the same whenever this call is made again, by its caller with the same key, by the delivery of its
        message, or because its transaction conflicted with another; and for nobody else's call.

        Args:
            operation: The command.
            message: What it takes.
        """
        if self._seed is None:
            call = self._call
            known = call.idempotency_key
            if known is None:  # nobody else's: the span is drawn anew for each request
                known = f"{call.request_id} {call.trace.span_id if call.trace is not None else ''}"
            asked = call.operation.id if call.operation is not None else ""
            self._seed = "\0".join((call.principal.subject, call.tenant or "", asked, known)).encode()
        return hashlib.sha256(self._seed + b"\0" + operation.id.encode() + b"\0" + message).hexdigest()
