"""A call: one invocation of an operation on its way through the policies, whatever transport it came by."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from trivet.core.clock import Deadline
from trivet.core.error import Code
from trivet.core.principal import ANONYMOUS, Principal

if TYPE_CHECKING:
    from trivet.core.consistency import Witness
    from trivet.core.declaration import Priority
    from trivet.core.operation import Operation
    from trivet.core.precondition import Precondition

Fields = Mapping[bytes, bytes]
"""Header fields by lower-case name; what came several times is joined by commas (RFC 9110 section 5.3)."""

NO_FIELDS: Fields = {}


class Trace(msgspec.Struct, frozen=True, gc=False):
    """Where a call stands in a distributed trace (W3C Trace Context)."""

    trace_id: str
    span_id: str
    parent_id: str | None
    sampled: bool
    state: str = ""
    random: bool = True

    @property
    def traceparent(self) -> str:
        """The header field for whatever is called next."""
        return f"00-{self.trace_id}-{self.span_id}-0{self.sampled + 2 * self.random}"


class Place(Protocol):
    """Where the reader of a stream stands; its text, at any time, is the position after which the reader continues."""

    def give(self) -> bool:
        """Count an item that the stream makes of the present event; `False` if its reader has had this one."""
        ...


class Call:
    """One invocation on its way through the policies.

    The transport fills what the head of the request says; the gate decides on that alone. `arguments` exist once the
    transport has read and decoded the body.

    Attributes:
        operation: What is to be run; ``None`` for a request that leads to no operation.
        protocol: ``rest``, ``graphql``, ``grpc``, ``grpc-web``, ``connect``, ``internal``.
        method: The method and target as logs show them, without query values.
        fields: The request's header fields.
        peer: The address of the other end of the connection.
        arrival: When the request arrived, on the monotonic clock.
        request_id: Answered on every response.
        trace: The trace that it belongs to.
        principal: Who is calling.
        tenant: The tenant of the credential.
        deadline: By when the answer must exist.
        alarm: What ends the call at its deadline, until its outcome is decided; one that belongs to a request begins
            with that of the request, if nothing else runs for it.
        priority: Who goes first; the operation's unless the caller lowered it.
        arguments: Arguments by parameter name.
        idempotency_key: What the caller calls this command by, so that it takes effect once however often it is sent.
        precondition: What the caller takes for granted about what it changes; marks are versions.
        expand: Adds to the result what the caller asked for besides, while the unit of work is open.
        encode: Turns the (expanded) result into the transport's bytes; runs before the commit.
        unrestricted: Whether the operation acts with its module's own rights: row rules do not apply.
        task: The task that answers it, once a policy looked for it.
        work: The unit of work, while one is open.
        code: How it ended; ``None`` for success.
        error: The domain error it ended with, or the exception behind an internal one.
        notes: Response header fields that policies add, rendered by each transport in its own way.
        resume_after: The stream position after which a reader continues.
        position: Where the reader of a stream stands, once the stream follows events.
        witness: What its caller has seen of databases with replicas; ``None`` where nobody keeps account.
        cut: Whether a stream was ended by a policy, before it came to its own end.
        observer: Told by `finish` how it ended.
    """

    __slots__ = (
        "alarm",
        "arguments",
        "arrival",
        "code",
        "cut",
        "deadline",
        "encode",
        "error",
        "expand",
        "fields",
        "idempotency_key",
        "method",
        "notes",
        "observer",
        "operation",
        "peer",
        "position",
        "precondition",
        "principal",
        "priority",
        "protocol",
        "request_id",
        "resume_after",
        "task",
        "tenant",
        "trace",
        "unrestricted",
        "witness",
        "work",
    )

    def __init__(
        self,
        operation: Operation[..., Any] | None,
        protocol: str,
        method: str,
        peer: str | None,
        arrival: float,
        request_id: str,
        fields: Fields = NO_FIELDS,
        principal: Principal = ANONYMOUS,
    ) -> None:
        self.operation = operation
        self.protocol = protocol
        self.method = method
        self.fields = fields
        self.peer = peer
        self.arrival = arrival
        self.request_id = request_id
        self.principal = principal
        self.tenant: str | None = principal.tenant
        self.trace: Trace | None = None
        self.deadline: Deadline | None = None
        self.alarm: Any = None
        self.priority: Priority | None = None
        self.arguments: Mapping[str, Any] = NO_ARGUMENTS
        self.idempotency_key: str | None = None
        self.precondition: Precondition | None = None
        self.expand: Callable[[Any], Awaitable[Any]] | None = None
        self.encode: Callable[[Any], bytes] | None = None
        self.unrestricted = False
        self.task: Any = None
        self.work: Any = None
        self.witness: Witness | None = None
        self.code: Code | None = None
        self.error: BaseException | None = None
        self.notes: list[tuple[bytes, bytes]] | None = None
        self.resume_after: str | None = None
        self.position: Place | None = None
        self.cut = False
        self.observer: Observer | None = None

    def finish(self, status: int, size: int) -> None:
        """Tell the observer that the last byte is sent; only the first call counts.

        Args:
            status: The HTTP status.
            size: The bytes of the body.
        """
        observer, self.observer = self.observer, None
        if observer is not None:
            observer(self, status, size)

    def note(self, name: bytes, value: bytes) -> None:
        """Add a response header field."""
        if self.notes is None:
            self.notes = []
        self.notes.append((name, value))


Observer = Callable[[Call, int, int], None]
"""Takes a call whose last byte is sent, the HTTP status and the bytes of the body."""

NO_ARGUMENTS: Mapping[str, Any] = {}


class Outcome(msgspec.Struct, eq=False):
    """A result that is not yet rendered for any transport; a domain error is raised instead.

    Attributes:
        value: What the handler returned; for a stream, the iterator over its items.
        body: The result as `Call.encode` made it, before the commit; ``None`` where nothing encoded it yet.
    """

    value: Any
    body: bytes | None = None


Handler = Callable[[Call], Awaitable[Outcome]]
"""What every policy takes and gives. One that only looks at the call is a plain function, and gives what comes next."""
