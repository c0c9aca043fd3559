"""The model of an API: what an app serves, with its names on every protocol, for every transport and document."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from trivet.contracts.paths import CustomMethods
from trivet.contracts.result import Result, shape_of
from trivet.contracts.subject import is_page_request
from trivet.core.about import About
from trivet.core.declaration import Kind
from trivet.core.error import Error
from trivet.core.module import Module
from trivet.core.naming import Face, Noun
from trivet.core.shape import Struct
from trivet.core.signature import Parameter, Signature

ROOTS = {Kind.QUERY: "Query", Kind.COMMAND: "Mutation", Kind.JOB: "Mutation", Kind.STREAM: "Subscription"}
"""The GraphQL root type that each kind of operation is a field of; an intake is none."""


class ApiOperation(Struct):
    """One operation with its faces.

    Attributes:
        operation: As declared.
        face: Its names on every protocol.
        path: The whole path, version included, with custom methods as the app writes them.
        signature: Parameters and result with their types resolved.
        result: The result type, taken apart.
    """

    operation: Any
    face: Face
    path: str
    signature: Signature
    result: Result

    @property
    def id(self) -> str:
        """Names the operation on every protocol: ``module.name``."""
        return str(self.operation.id)

    @property
    def module(self) -> Module:
        """The module that it belongs to."""
        module: Module = self.operation.module
        return module

    @property
    def version(self) -> int:
        """The contract major under which it is served."""
        return self.module.major

    @property
    def errors(self) -> tuple[type[Error], ...]:
        """The domain errors it may answer with."""
        raises: tuple[type[Error], ...] = self.operation.declaration.raises
        return raises

    @property
    def summary(self) -> str:
        """The first line of its docstring."""
        return str(self.operation.doc).split("\n", 1)[0]

    @property
    def reads(self) -> bool:
        """Whether it is served under ``GET`` and answers at once: what caches and conditional requests are for."""
        return self.face.method == "GET" and self.operation.kind is not Kind.STREAM

    def parameters(self, names: Iterable[str]) -> Iterator[Parameter]:
        """Yield the parameters of these names."""
        for name in names:
            parameter = self.signature.parameter(name)
            if parameter is not None:
                yield parameter


class ApiEdge(Struct):
    """One relation with its types resolved.

    Attributes:
        edge: As declared.
        signature: Its own parameters and the type of one value.
        result: That type, taken apart.
    """

    edge: Any
    signature: Signature
    result: Result

    @property
    def name(self) -> str:
        """The field under which it appears."""
        return str(self.edge.name)

    @property
    def bare(self) -> bool:
        """Whether it can be followed without arguments; a page request has its defaults."""
        return all(not p.required or is_page_request(p.type) for p in self.signature.parameters)


class Api(Struct):
    """What an app serves.

    Attributes:
        name: The app's name.
        modules: In the order given.
        operations: Every operation that is not internal, in the order of declaration; where there are jobs, the
            platform's own operation that tells their status is the last one.
        edges: The edges of each shape, by name.
        nouns: The entities and their collections.
        custom_methods: ``colon`` writes ``/orders/{id}:cancel``, ``slash`` writes ``/orders/{id}/cancel``.
        about: What the app says about itself.
    """

    name: str
    modules: tuple[Any, ...]
    operations: tuple[ApiOperation, ...]
    edges: Mapping[Any, Mapping[str, ApiEdge]]
    nouns: Mapping[str, Noun]
    custom_methods: CustomMethods = "colon"
    about: About = About()

    def edges_of(self, shape: Any) -> Mapping[str, ApiEdge]:
        """Return the edges that start from a shape, by name."""
        return self.edges.get(shape_of(shape), {}) if shape is not None else {}

    def errors(self) -> list[type[Error]]:
        """Return every declared domain error once, by reason."""
        found = {error.reason: error for op in self.operations for error in op.errors}
        return [found[reason] for reason in sorted(found)]
