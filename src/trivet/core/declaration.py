"""What an operation declares besides its function: who may call it, how long it may take, how it is cached."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Annotated, Any, Literal, TypedDict

from msgspec import Meta

from trivet.core.error import Error
from trivet.core.resource import Resource
from trivet.core.shape import Struct, field

Seconds = Annotated[float, Meta(gt=0)]
Weight = Annotated[int, Meta(ge=1, le=1_000_000)]


class Kind(enum.Enum):
    """What an operation is; an intake is declared as a stream whose items come in and which answers once."""

    QUERY = "query"
    COMMAND = "command"
    STREAM = "stream"
    INTAKE = "intake"
    JOB = "job"

    @property
    def decorator(self) -> str:
        """The name of the decorator that declares it."""
        return "stream" if self is Kind.INTAKE else self.value

    @property
    def writes(self) -> bool:
        """Whether running it stores something: a command its changes, a job its request."""
        return self in (Kind.COMMAND, Kind.JOB)


class Priority(enum.IntEnum):
    """Who goes first when there is not enough for everybody; a caller may lower it, never raise it."""

    CRITICAL = 0
    DEFAULT = 1
    SHEDDABLE = 2


class Access(Struct):
    """Who may call an operation: callers with all of `scopes`, everybody, or only other modules.

    Attributes:
        acts_as: ``"module"`` runs an internal operation with the module's own rights instead of the caller's.
    """

    scopes: tuple[str, ...] = ()
    public: bool = False
    internal: bool = False
    acts_as: Literal["caller", "module"] = "caller"


class Cache(Struct):
    """How long the answer of a query may be kept and served again.

    Attributes:
        ttl: Seconds for which an answer is fresh.
        stale: Further seconds in which a stale answer may be served while a new one is made.
        negative: Seconds for which "not found" is remembered.
        tags: Templates over the arguments, such as ``product:{id}``, by which commands invalidate answers. One that
            names anything but a parameter is refused when the app is built.
    """

    ttl: Seconds
    stale: Annotated[float, Meta(ge=0)] = 0
    negative: Annotated[float, Meta(ge=0)] = 0
    tags: tuple[str, ...] = ()


class Limit(Struct):
    """A rate limit: `quota` calls in `window` seconds for each distinct value of `per`."""

    quota: Annotated[int, Meta(ge=1)]
    window: Seconds = 60
    per: Literal["key", "principal", "tenant", "address", "operation"] = "principal"
    cost: Annotated[int, Meta(ge=1)] = 1
    name: str = "default"


class Deprecated(Struct):
    """The operation will go away (RFC 9745, RFC 8594).

    Attributes:
        since: The day from which it is deprecated.
        sunset: The day on which it stops answering.
        use: What to use instead.
        link: Where that is explained.
    """

    since: date
    sunset: date | None = None
    use: str | None = None
    link: str | None = None


class Http(Struct):
    """Overrides how an operation is served over REST; what is absent follows from its name.

    Attributes:
        method: The HTTP method.
        path: Below the version, such as ``/products/{id}``; every name in braces is a parameter.
        status: Status of a success.
    """

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] | None = None
    path: str | None = None
    status: Annotated[int, Meta(ge=200, le=299)] | None = None


class Example(Struct):
    """A call that works: shown in the contract and the portal."""

    arguments: Mapping[str, Any] = field(default_factory=dict)
    result: Any = None
    summary: str = ""


class Declaration(Struct):
    """Everything an operation declares, with the defaults filled in.

    Attributes:
        access: Who may call it.
        raises: The domain errors it may answer with.
        timeout: Seconds from arrival within which it answers by default.
        timeout_max: Seconds that a caller can not exceed; the same as `timeout` when absent.
        priority: Who goes first under load.
        idempotent: Whether running it twice changes nothing more; only then may the platform retry it by itself.
        transaction: Whether a command runs in a transaction.
        precondition: Whether an update or delete demands ``If-Match``.
        cache: How a query's answer is kept.
        reads: Where a query reads: from any replica, from one that has the caller's own writes, or from the primary.
        snapshot: Whether a query reads everything as of one instant.
        limits: Rate limits of its own.
        weight: What a call costs, compared with an ordinary one; GraphQL refuses documents that cost too much.
        deprecated: Since when it should not be used.
        http: Overrides of its REST face.
        graphql: Its name in GraphQL; ``None`` derives it from the operation's name.
        rpc: Its name in RPC; ``None`` derives it from the operation's name.
        plural: The collection of the noun where no ``list_`` operation gives it.
        examples: Calls that work.
        uses: Outside dependencies that may be called while its transaction is open.
        idle: Seconds after which a stream without an item is closed; where items come in, without one of those.
        age: Seconds after which a stream is closed in any case.
    """

    access: Access
    raises: tuple[type[Error], ...] = ()
    timeout: Seconds = 5
    timeout_max: Seconds | None = None
    priority: Priority = Priority.DEFAULT
    idempotent: bool = False
    transaction: bool = True
    precondition: Literal["optional", "required"] = "optional"
    cache: Cache | None = None
    reads: Literal["replica", "session", "primary"] = "session"
    snapshot: bool = False
    limits: tuple[Limit, ...] = ()
    weight: Weight = 1
    deprecated: Deprecated | None = None
    http: Http = Http()
    graphql: str | None = None
    rpc: str | None = None
    plural: str | None = None
    examples: tuple[Example, ...] = ()
    uses: tuple[Resource[Any], ...] = ()
    idle: Seconds = 900
    age: Seconds = 3600


class Options(TypedDict, total=False):
    """Keywords that every decorator takes; :class:`Declaration` explains them."""

    raises: Sequence[type[Error]]
    timeout: float
    timeout_max: float
    priority: Priority
    limits: Sequence[Limit]
    weight: int
    deprecated: Deprecated
    http: Http
    graphql: str
    rpc: str
    plural: str
    examples: Sequence[Example]
    uses: Sequence[Resource[Any]]


class QueryOptions(Options, total=False):
    """Keywords of ``@module.query``."""

    cache: Cache
    reads: Literal["replica", "session", "primary"]
    snapshot: bool


class CommandOptions(Options, total=False):
    """Keywords of ``@module.command``."""

    idempotent: bool
    transaction: bool
    precondition: Literal["optional", "required"]


class StreamOptions(Options, total=False):
    """Keywords of ``@module.stream``."""

    idle: float
    age: float


class JobOptions(Options, total=False):
    """Keywords of ``@module.job``."""

    idempotent: bool
