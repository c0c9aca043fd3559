"""The executor of graphql-core over the same app: what an answer should be, found out in the slow way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import msgspec
from graphql import (
    ExecutionResult,
    GraphQLError,
    GraphQLResolveInfo,
    GraphQLScalarType,
    GraphQLSchema,
    execute,
    parse,
    validate,
)

from trivet.contracts.graphql.schema import read_global_id, schema_of
from trivet.contracts.graphql.types import EnumType, Field, Graph, Ref
from trivet.contracts.schema import as_json
from trivet.core.context import Read
from trivet.core.error import DeadlineExceeded, Error, NotFound, PermissionDenied
from trivet.core.value import MAX_SAFE_INTEGER
from trivet.testing import Client
from trivet.transports.graphql.arguments import Cursors, decoder_of
from trivet.transports.graphql.project import getter_of


def oracle_schema(graph: Graph) -> GraphQLSchema:
    """Return a schema whose custom scalars refuse what they can not write."""
    schema = schema_of(graph)
    long = schema.get_type("Long")
    if isinstance(long, GraphQLScalarType):
        long.coerce_output_value = _long
    for kind in graph.types.values():
        members = getattr(kind, "members", None)
        if members is not None:
            classes = {member.cls: member.name for member in members}
            schema.get_type(kind.name).resolve_type = (  # type: ignore[union-attr]  # an abstract type
                lambda value, *_, classes=classes: classes[type(value)]
            )
    return schema


def _long(value: Any) -> int:
    if not isinstance(value, int) or not -MAX_SAFE_INTEGER <= value <= MAX_SAFE_INTEGER:
        raise GraphQLError("no Long")
    return value


class Late(Exception):
    """The machine was busy with other things: something did not exist in time, so there is nothing to compare."""


async def answer(
    client: Client, graph: Graph, schema: GraphQLSchema, source: str, variables: Mapping[str, Any]
) -> tuple[Any, list[list[str | int]]]:
    """Return data and the paths of errors."""
    document = parse(source)
    assert validate(schema, document) == []

    resumed: list[Any] = []

    def resolve(value: Any, info: GraphQLResolveInfo[Any], **given: Any) -> Any:
        field: Field = info.parent_type.fields[info.field_name].extensions["trivet"]
        if field.read is not None:
            return _plain(getter_of(field.read)(value, any(page is value for page in resumed)), field.type)
        return fetched(field, value, given)

    async def fetched(field: Field, value: Any, given: Mapping[str, Any]) -> Any:
        found = _plain(await _fetched(client, graph, field, value, given), field.type)
        if given.get("after") is not None:
            resumed.append(found)
        return found

    result = execute(schema, document, variable_values=dict(variables), field_resolver=resolve, type_resolver=None)
    if not isinstance(result, ExecutionResult):
        result = await result
    if any(isinstance(error.original_error, DeadlineExceeded) for error in result.errors or ()):
        raise Late
    data = msgspec.json.decode(ENCODE(result.data))
    return data, [list(error.path or ()) for error in result.errors or ()]


ENCODE = msgspec.json.Encoder(decimal_format="string").encode


async def _fetched(client: Client, graph: Graph, field: Field, value: Any, given: Mapping[str, Any]) -> Any:
    if field.node == "node":
        return await _node(client, graph, given["id"])
    if field.node == "nodes":
        return [await _node_or_error(client, graph, id) for id in given["ids"]]
    if field.operation is not None:
        arguments = decoder_of(field)(given, Cursors.ALL)
        operation = field.operation.operation
        result = await client.call(operation, **arguments)
        return True if operation.signature.result in (None, type(None)) else result
    assert field.edge is not None
    edge = field.edge.edge
    arguments = decoder_of(field)(given, Cursors.ALL)
    async with client.context(edge.module, write=False) as ctx:
        found = await edge.resolver(Read(ctx._work, edge.module), [value], **arguments)
    if isinstance(found[0], NotFound | PermissionDenied):
        return None
    if isinstance(found[0], Error):
        raise found[0]
    return found[0]


async def _node(client: Client, graph: Graph, text: str) -> Any:
    found = read_global_id(text)
    if found is None or found[0] not in graph.nodes:
        raise GraphQLError("no global id")
    try:
        return await client.call(graph.nodes[found[0]][0].operation, id=UUID(found[1]))
    except NotFound:
        return None


async def _node_or_error(client: Client, graph: Graph, text: str) -> Any:
    try:
        return await _node(client, graph, text)
    except GraphQLError as refused:
        return refused


def _plain(value: Any, ref: Ref) -> Any:
    """Return what graphql-core serialises: the JSON of enums, the text of UUIDs, lists for sets and tuples."""
    if value is None:
        return None
    if ref.many:
        return [_plain(item, ref.of) for item in value]
    if isinstance(ref.of, EnumType):
        return as_json(ref.of.cls(value).value)
    return str(value) if ref.of.name == "ID" else value
