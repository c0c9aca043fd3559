"""Edges: relations between shapes, resolved in batches, so that a list of parents costs one call."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar, get_args, get_origin

from trivet.core.context import Read
from trivet.core.declaration import Access, Kind
from trivet.core.fault import place_of
from trivet.core.shape import Struct
from trivet.core.signature import Signature, signature_of

if TYPE_CHECKING:
    from trivet.core.module import Module

P = ParamSpec("P")
S = TypeVar("S", bound=Struct)
S_parent = TypeVar("S_parent", bound=Struct, covariant=True)
R = TypeVar("R")


class Edge(Generic[S, P, R]):
    """A relation from a shape to something that belongs to it.

    The resolver gets parents and returns one value for each, in their order; a value may be ``None``, a page, or an
    `Error` in place of the one that failed.

    Attributes:
        source: The shape it starts from.
        name: The field under which it appears on every protocol.
        module: The module that declares it.
        access: Who may follow it.
        weight: What one value costs, compared with that of an ordinary edge.
    """

    def __init__(
        self,
        module: Module,
        source: type[S],
        name: str,
        access: Access,
        resolver: Callable[..., Awaitable[Any]],
        weight: int = 1,
    ) -> None:
        self.module = module
        self.source = source
        self.name = name
        self.access = access
        self.resolver = resolver
        self.weight = weight
        self.place = place_of(resolver)
        self.doc = (resolver.__doc__ or "").strip()

    def __repr__(self) -> str:
        return f"<Edge {self.source.__name__}.{self.name} at {self.place}>"

    @cached_property
    def signature(self) -> Signature:
        """The edge's own parameters (after context and parents) and the type of one value.

        Raises:
            TypeError: The resolver does not return a sequence, or its annotations can not be resolved.
        """
        signature = signature_of(self.resolver, Kind.QUERY, skip=2)
        origin = get_origin(signature.result)
        if not isinstance(origin, type) or not issubclass(origin, Sequence):
            raise TypeError(f"an edge returns Sequence[...], one value for each parent, not {signature.result}")
        return Signature(parameters=signature.parameters, result=get_args(signature.result)[0])


class EdgeDecorator(Protocol[S_parent]):
    """Turns a batch resolver into an `Edge`."""

    def __call__(
        self, resolver: Callable[Concatenate[Read, Sequence[S_parent], P], Awaitable[Sequence[R]]], /
    ) -> Edge[Any, P, R]:
        """Declare the edge."""
        ...
