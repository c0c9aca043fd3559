"""The types of a GraphQL schema as the plan compiler needs them: names, fields, and how a value is read.

These are ours and cheap to make, so that what does not fit is found when an app is built. The schema of graphql-core,
which parses, validates and introspects, is made of them at the first need.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trivet.contracts.model import ApiEdge, ApiOperation
from trivet.core.shape import Struct

ABSENT: Any = object()
"""Stands for "there is no default"."""


class NamedType:
    """A type with a name of its own.

    Attributes:
        name: As in the SDL.
        description: What it is.
    """

    def __init__(self, name: str, description: str | None = None) -> None:
        self.name = name
        self.description = description

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"


class Ref(Struct):
    """A type where it is used: named, or a list of another; required or not.

    Attributes:
        of: A `NamedType`, or the `Ref` of an item where it is a list.
        many: Whether it is a list.
        required: Whether ``null`` can not stand in its place.
    """

    of: Any
    many: bool = False
    required: bool = False

    def __str__(self) -> str:
        return f"{f'[{self.of}]' if self.many else self.of.name}{'!' if self.required else ''}"

    @property
    def named(self) -> NamedType:
        """The type inside all lists."""
        inner = self.of
        while isinstance(inner, Ref):
            inner = inner.of
        found: NamedType = inner
        return found

    def nullable(self) -> Ref:
        """Return the same type with ``null`` allowed."""
        return Ref(of=self.of, many=self.many)

    def strict(self) -> Ref:
        """Return the same type without ``null``."""
        return Ref(of=self.of, many=self.many, required=True)


class Argument(Struct):
    """An argument of a field, or a field of an input object.

    Attributes:
        name: In the schema.
        wire: In Python: the parameter, or the member of the JSON that is decoded.
        type: Its type.
        default: What holds when it is left out, as the JSON that is decoded; `ABSENT` where nothing is said.
        description: What it is.
    """

    name: str
    wire: str
    type: Ref
    default: Any = ABSENT
    description: str | None = None


IF_VERSION = "ifVersion"
"""The argument by which a change names the version that it is made from."""


class Field:
    """A field of an object type.

    Attributes:
        name: In the schema.
        type: Its type.
        read: The Python expression that reads its value, with ``{o}`` for the object; ``None`` where the value comes
            from an operation or an edge.
        arguments: By name.
        operation: What a root field runs.
        edge: The relation that it follows.
        node: What of the platform's own it is: ``node`` or ``nodes``.
        compares: Whether a change may name the version that it is made from, as `IF_VERSION`.
        description: What it is.
        deprecated: Why it should not be used.
    """

    __slots__ = (
        "arguments",
        "compares",
        "deprecated",
        "description",
        "edge",
        "name",
        "node",
        "operation",
        "read",
        "type",
    )

    def __init__(
        self,
        name: str,
        type: Ref,
        read: str | None = None,
        *,
        arguments: Mapping[str, Argument] | None = None,
        operation: ApiOperation | None = None,
        edge: ApiEdge | None = None,
        node: str | None = None,
        compares: bool = False,
        description: str | None = None,
        deprecated: str | None = None,
    ) -> None:
        self.name = name
        self.type = type
        self.read = read
        self.arguments = dict(arguments or {})
        self.operation = operation
        self.edge = edge
        self.node = node
        self.compares = compares
        self.description = description
        self.deprecated = deprecated

    def __repr__(self) -> str:
        return f"<Field {self.name}: {self.type}>"


class ScalarType(NamedType):
    """A leaf; `trivet.contracts.graphql.scalars` says what it accepts."""


class EnumType(NamedType):
    """A closed set of names.

    Attributes:
        cls: The Python class.
        values: The names in the schema by the names of the members.
    """

    def __init__(self, name: str, cls: Any, values: Mapping[str, str], description: str | None = None) -> None:
        super().__init__(name, description)
        self.cls = cls
        self.values = dict(values)


class ObjectType(NamedType):
    """What has fields.

    Attributes:
        cls: The shape; ``None`` for root types and for what only GraphQL knows.
        fields: By name.
        is_node: Whether it has a global id.
    """

    def __init__(self, name: str, cls: Any = None, description: str | None = None) -> None:
        super().__init__(name, description)
        self.cls = cls
        self.fields: dict[str, Field] = {}
        self.is_node = False


class ConnectionType(ObjectType):
    """A page as Relay sees it: edges, nodes, page info."""


class AbstractType(NamedType):
    """An object of one of several types.

    Attributes:
        members: Every type that it can be.
    """

    def __init__(self, name: str, description: str | None = None) -> None:
        super().__init__(name, description)
        self.members: list[ObjectType] = []


class UnionType(AbstractType):
    """One of several shapes."""


class InterfaceType(AbstractType):
    """What several object types have in common.

    Attributes:
        fields: By name.
    """

    def __init__(self, name: str, description: str | None = None) -> None:
        super().__init__(name, description)
        self.fields: dict[str, Field] = {}


class InputType(NamedType):
    """An object that a client sends.

    Attributes:
        fields: By name.
        tags: For a `@oneOf` input, the tag field and the tag of each field's shape.
    """

    def __init__(self, name: str, description: str | None = None) -> None:
        super().__init__(name, description)
        self.fields: dict[str, Argument] = {}
        self.tags: dict[str, tuple[str, Any]] | None = None


class Graph:
    """The types of one app.

    Attributes:
        query: The root of queries.
        mutation: The root of mutations, if there are any.
        subscription: The root of subscriptions, if there are any.
        types: All named types by name.
        nodes: The operation that reads one node, and the one that reads many where there is one, by type name.
    """

    def __init__(self) -> None:
        self.query = ObjectType("Query")
        self.mutation: ObjectType | None = None
        self.subscription: ObjectType | None = None
        self.types: dict[str, NamedType] = {}
        self.nodes: dict[str, tuple[ApiOperation, ApiOperation | None]] = {}
