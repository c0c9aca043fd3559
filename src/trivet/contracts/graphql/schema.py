"""The schema as graphql-core has it: what parses, validates, introspects and prints. Made of our types, when needed."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from graphql import (
    GraphQLArgument,
    GraphQLBoolean,
    GraphQLEnumType,
    GraphQLEnumValue,
    GraphQLError,
    GraphQLField,
    GraphQLFloat,
    GraphQLID,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLInt,
    GraphQLInterfaceType,
    GraphQLList,
    GraphQLNamedType,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLScalarType,
    GraphQLSchema,
    GraphQLString,
    GraphQLUnionType,
    print_schema,
)

from trivet.contracts.graphql.scalars import CUSTOM, Custom
from trivet.contracts.graphql.types import (
    ABSENT,
    Argument,
    EnumType,
    Field,
    Graph,
    InputType,
    InterfaceType,
    NamedType,
    ObjectType,
    Ref,
    ScalarType,
    UnionType,
)
from trivet.contracts.schema import as_json

STANDARD = {
    "Int": GraphQLInt,
    "Float": GraphQLFloat,
    "String": GraphQLString,
    "Boolean": GraphQLBoolean,
    "ID": GraphQLID,
}


def schema_of(graph: Graph, description: str | None = None) -> GraphQLSchema:
    """Return the schema of graphql-core with the same types."""
    return _Builder(graph).schema(description)


def sdl_of(schema: GraphQLSchema) -> str:
    """Return the schema in the Schema Definition Language."""
    return print_schema(schema) + "\n"


class _Builder:
    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._made: dict[str, Any] = {}

    def schema(self, description: str | None) -> GraphQLSchema:
        graph = self._graph
        return GraphQLSchema(
            query=self._named(graph.query),
            mutation=self._named(graph.mutation) if graph.mutation else None,
            subscription=self._named(graph.subscription) if graph.subscription else None,
            types=[self._named(kind) for kind in graph.types.values()],
            description=description,
        )

    def _named(self, kind: NamedType) -> Any:
        if kind.name not in self._made:
            self._made[kind.name] = self._make(kind)
        return self._made[kind.name]

    def _make(self, kind: NamedType) -> GraphQLNamedType:
        if isinstance(kind, ScalarType):
            return STANDARD[kind.name] if kind.name in STANDARD else _scalar(kind.name, CUSTOM[kind.name])
        if isinstance(kind, EnumType):
            values = {shown: GraphQLEnumValue(as_json(kind.cls[name])) for name, shown in kind.values.items()}
            return GraphQLEnumType(kind.name, values, description=kind.description)
        if isinstance(kind, UnionType):
            return GraphQLUnionType(
                kind.name, lambda: [self._named(member) for member in kind.members], description=kind.description
            )
        if isinstance(kind, InterfaceType):
            return GraphQLInterfaceType(kind.name, lambda: self._fields(kind.fields), description=kind.description)
        if isinstance(kind, InputType):
            return GraphQLInputObjectType(
                kind.name,
                lambda: {name: self._input(argument, GraphQLInputField) for name, argument in kind.fields.items()},
                description=kind.description,
                out_type=_tagging(kind.tags) if kind.tags is not None else _without_placeholder,
                is_one_of=kind.tags is not None,
            )
        assert isinstance(kind, ObjectType)
        node = self._graph.types.get("Node")
        return GraphQLObjectType(
            kind.name,
            lambda: self._fields(kind.fields),
            interfaces=[self._named(node)] if kind.is_node and node is not None else (),
            description=kind.description,
        )

    def _fields(self, fields: Mapping[str, Field]) -> dict[str, GraphQLField]:
        return {
            name: GraphQLField(
                self._ref(field.type),
                {arg: self._input(argument, GraphQLArgument) for arg, argument in field.arguments.items()},
                description=field.description,
                deprecation_reason=field.deprecated,
                extensions={"trivet": field},
            )
            for name, field in fields.items()
        }

    def _input(self, argument: Argument, make: Any) -> Any:
        default = {} if argument.default is ABSENT else {"default_value": argument.default}
        ref = self._ref(argument.type)
        return make(ref, description=argument.description, out_name=argument.wire, **default)

    def _ref(self, ref: Ref) -> Any:
        inner = GraphQLList(self._ref(ref.of)) if ref.many else self._named(ref.of)
        return GraphQLNonNull(inner) if ref.required else inner


def _scalar(name: str, custom: Custom) -> GraphQLScalarType:
    def accept(value: Any) -> Any:
        try:
            return custom.accept(value)
        except ValueError as refused:
            raise GraphQLError(f"{name}: {refused}.") from refused

    return GraphQLScalarType(
        name, parse_value=accept, description=custom.description, specified_by_url=custom.specified_by
    )


def _tagging(tags: Mapping[str, tuple[str, Any]]) -> Any:
    """Return what turns ``{"card": {...}}`` into the tagged object that is decoded."""

    def tagged(given: dict[str, Any]) -> dict[str, Any]:
        ((name, value),) = given.items()
        field, tag = tags[name]
        return {field: tag, **value}

    return tagged


def _without_placeholder(given: dict[str, Any]) -> dict[str, Any]:
    given.pop("_", None)
    return given


def global_id(name: str, id: Any) -> str:
    """Return the global id of an entity: opaque to clients."""
    return base64.urlsafe_b64encode(f"{name}:{id}".encode()).rstrip(b"=").decode()


def read_global_id(text: str) -> tuple[str, str] | None:
    """Return type name and id of a global id, ``None`` for what is none."""
    try:
        data = base64.urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4)).decode()
    except (UnicodeError, binascii.Error, ValueError):
        return None
    name, colon, id = data.partition(":")
    return (name, id) if colon and global_id(name, id) == text else None
