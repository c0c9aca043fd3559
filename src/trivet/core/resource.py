"""Resources: whatever a team brings of its own, opened and closed with the app."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from trivet.core.fault import place_of_caller

if TYPE_CHECKING:
    from trivet.core.context import Read
    from trivet.core.module import Module
    from trivet.core.operation import Operation

T = TypeVar("T")


class Resource(Generic[T]):
    """A thing with a life: an engine, a session factory, a client of another service.

    ``mailer = Resource("mailer", open_mailer)`` declares it, ``App(resources=[mailer])`` opens it before the first
    request and closes it after the last, in reverse order, and ``mailer.get(ctx)`` reaches it from a handler.

    Args:
        name: Unique in the app; names the resource in messages.
        open: Returns the context manager that opens it and closes it.
    """

    def __init__(self, name: str, open: Callable[[], AbstractAsyncContextManager[T]]) -> None:
        self.name = name
        self.open = open
        self.place = place_of_caller()

    def __repr__(self) -> str:
        return f"Resource({self.name!r})"

    def get(self, ctx: Read) -> T:
        """Return what is open.

        Raises:
            LookupError: The resource is not listed in ``App(resources=...)``.
        """
        return ctx._work.resource(self)


class Elsewhere(Resource[T]):
    """Modules that run in another process, and how they are called there.

    Args:
        name: Unique in the app.
        open: Returns the context manager that opens it and closes it.
        modules: What runs there.
    """

    def __init__(
        self, name: str, open: Callable[[], AbstractAsyncContextManager[T]], modules: Iterable[Module]
    ) -> None:
        super().__init__(name, open)
        self.modules = tuple(modules)

    async def invoke(self, ctx: Read, operation: Operation[..., Any], arguments: Mapping[str, Any]) -> Any:
        """Run an operation over there on behalf of a context.

        Raises:
            Error: What the operation raised, or why it could not be asked.
        """
        raise NotImplementedError
