"""Operations: typed async functions with their declarations. A transport serves them, a context calls them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Concatenate, Generic, ParamSpec, Protocol, TypeVar, overload

from trivet.core.context import Read, Run, Write
from trivet.core.declaration import Declaration, Kind
from trivet.core.fault import place_of
from trivet.core.signature import Signature, signature_of

if TYPE_CHECKING:
    from trivet.core.module import Module

P = ParamSpec("P")
R = TypeVar("R", covariant=True)
S = TypeVar("S")
T = TypeVar("T")


class Operation(Generic[P, R]):
    """One thing that can be done, served by every transport under the same policies.

    It can not be called: that would pass the policies by. A handler uses ``ctx.call(operation, ...)``, a test its
    `handler` or the test client.

    Attributes:
        module: The module it belongs to.
        name: The function's name; with the module's name it is the operation's id.
        handler: The function itself, with the context as its first parameter.
        declaration: What was said in the decorator.
        place: Where it is written.
    """

    kind: ClassVar[Kind]
    context: ClassVar[type[Read]] = Read

    def __init__(self, module: Module, handler: Callable[..., Any], declaration: Declaration) -> None:
        self.module = module
        self.handler = handler
        self.declaration = declaration
        self.name = getattr(handler, "__name__", "operation")
        self.id = f"{module.name}.{self.name}"
        self.place = place_of(handler)
        self.doc = (handler.__doc__ or "").strip()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id} at {self.place}>"

    @cached_property
    def signature(self) -> Signature:
        """Parameters and result with their types resolved.

        Raises:
            TypeError: An annotation is missing or can not be resolved; an app reports it as a fault.
        """
        return signature_of(self.handler, self.kind)

    @property
    def takes(self) -> bool:
        """Whether items come in while it runs."""
        return self.signature.items is not None

    @property
    def version(self) -> int:
        """The contract major under which it is served."""
        return self.module.major


class Query(Operation[P, R]):
    """Reads and changes nothing."""

    kind = Kind.QUERY


class Command(Operation[P, R]):
    """Changes data in one transaction."""

    kind = Kind.COMMAND
    context = Write


class Stream(Operation[P, R]):
    """Yields items until the reader goes away, the credential ends or the stream is too old; it may take items too."""

    kind = Kind.STREAM


class Intake(Operation[P, R]):
    """Takes items as they come in and answers once, after the last one."""

    kind = Kind.INTAKE
    context = Run


class Job(Operation[P, R]):
    """Runs after the answer: the caller gets an id at once and asks for the status."""

    kind = Kind.JOB
    context = Run


class QueryDecorator(Protocol):
    """Turns ``async def f(ctx: Read, ...)`` into a `Query`."""

    def __call__(self, handler: Callable[Concatenate[Read, P], Awaitable[S]], /) -> Query[P, S]:
        """Declare the operation."""
        ...


class CommandDecorator(Protocol):
    """Turns ``async def f(ctx: Write, ...)`` into a `Command`."""

    def __call__(self, handler: Callable[Concatenate[Write, P], Awaitable[S]], /) -> Command[P, S]:
        """Declare the operation."""
        ...


class StreamDecorator(Protocol):
    """Turns an asynchronous generator function into a `Stream`, and a function that takes one into an `Intake`."""

    @overload
    def __call__(self, handler: Callable[Concatenate[Read, P], AsyncIterator[S]], /) -> Stream[P, S]: ...
    @overload
    def __call__(self, handler: Callable[Concatenate[Run, P], AsyncIterator[S]], /) -> Stream[P, S]: ...
    @overload
    def __call__(
        self, handler: Callable[Concatenate[Run, AsyncIterator[T], P], Awaitable[S]], /
    ) -> Intake[Concatenate[AsyncIterator[T], P], S]: ...
    def __call__(self, handler: Callable[..., Any], /) -> Any:
        """Declare the operation."""
        ...


class JobDecorator(Protocol):
    """Turns ``async def f(ctx: Run, ...)`` into a `Job`."""

    def __call__(self, handler: Callable[Concatenate[Run, P], Awaitable[S]], /) -> Job[P, S]:
        """Declare the operation."""
        ...
