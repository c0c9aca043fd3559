"""How GraphQL is asked: a document that selects everything of a result, and the way back to plain values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from trivet.app import App, Service
from trivet.contracts.graphql.read import graph_of
from trivet.contracts.graphql.types import (
    AbstractType,
    Argument,
    ConnectionType,
    EnumType,
    Field,
    InputType,
    NamedType,
    ObjectType,
    Ref,
)
from trivet.contracts.model import ROOTS, ApiOperation
from trivet.contracts.result import Form
from trivet.core.declaration import Kind
from trivet.core.error import InvalidArgument
from trivet.core.naming import camel, snake
from trivet.core.typeinfo import fields_of
from trivet.testing.asking import CANCELLED, Asked, Asker, Outcome, Rest, plain, said
from trivet.transports.graphql.refusals import DocumentInvalid

NESTED = 2
"""How often a type is selected within itself."""

PAGING = {"page_size": "first", "page_token": "after"}
APART = frozenset({"code", "reason", "requestId", "errors", "retryAfter"})
"""Extensions of an error that are none of its fields."""


class Graphql(Asker):
    """Asks as GraphQL clients do: one root field, with variables."""

    late = ("request-timeout", "0.000000001")
    conditional = False
    instead = Rest
    tells = frozenset()

    def __init__(self, app: App, service: Service) -> None:
        super().__init__(app, service)
        graph, _ = graph_of(service.api)
        self._roots = {root.name: root for root in (graph.query, graph.mutation, graph.subscription) if root}

    async def ask(self, op: ApiOperation, asked: Asked) -> Outcome:
        """Return what comes of it."""
        name = op.face.graphql
        field = self._roots[ROOTS[op.operation.kind]].fields[name]
        content = asked.content if asked.content is not None else msgspec.json.encode(self._request(op, field, asked))
        accept = "text/event-stream" if op.operation.kind is Kind.STREAM else "application/graphql-response+json"
        headers = {"content-type": "application/json", "accept": accept}
        status, fields, body = await self.exchange("POST", "/graphql", headers, content, asked)
        if not status:
            return CANCELLED
        if op.operation.kind is Kind.STREAM and fields["content-type"].startswith("text/event-stream"):
            return self._streamed(op, field, body)
        return self._outcome(op, field, body)

    def _request(self, op: ApiOperation, field: Field, asked: Asked) -> dict[str, Any]:
        declared: list[str] = []
        passed: list[str] = []
        variables: dict[str, Any] = {}
        given = {PAGING.get(name, name): value for name, value in asked.arguments.items()}
        for argument in field.arguments.values():
            if argument.wire in given:
                declared.append(f"${argument.name}: {argument.type}")
                passed.append(f"{argument.name}: ${argument.name}")
                variables[argument.name] = sent(argument.type, given[argument.wire])
        kind = ROOTS[op.operation.kind].lower()
        head = f"({', '.join(declared)})" if declared else ""
        arguments = f"({', '.join(passed)})" if passed else ""
        query = f"{kind}{head} {{ {field.name}{arguments}{selection(field.type.named)} }}"
        return {"query": query, "variables": variables}

    def _outcome(self, op: ApiOperation, field: Field, body: bytes) -> Outcome:
        answer = msgspec.json.decode(body)
        if answer.get("errors"):
            extensions = answer["errors"][0]["extensions"]
            reason = extensions["reason"]
            if reason == DocumentInvalid.reason:  # the schema refuses what validation refuses elsewhere
                reason = InvalidArgument.reason
            metadata = {snake(name): said(value) for name, value in extensions.items() if name not in APART}
            return Outcome(code=extensions["code"], reason=reason, metadata=metadata)
        return Outcome(value=self._value(op, field, answer["data"][field.name]))

    def _value(self, op: ApiOperation, field: Field, value: Any) -> Any:
        if op.result.form is Form.NOTHING and op.operation.kind is not Kind.JOB:
            return None
        return plain(op, got(field.type, value))

    def _streamed(self, op: ApiOperation, field: Field, body: bytes) -> Outcome:
        items: list[Any] = []
        for event in body.decode().split("\n\n"):
            lines = event.split("\n")
            data = next((line.removeprefix("data: ") for line in lines if line.startswith("data: ")), "")
            if "event: next" not in lines or not data:
                continue
            outcome = self._outcome(op, field, data.encode())
            if outcome.code is not None:
                return outcome
            items.append(outcome.value)
        return Outcome(value=items)


def selection(kind: NamedType, within: tuple[NamedType, ...] = ()) -> str:
    """Return the selection of everything of a type but edges and global ids."""
    inside = (*within, kind)
    if isinstance(kind, ConnectionType):
        nodes = selection(kind.fields["nodes"].type.named, inside)
        return f" {{ nodes{nodes} pageInfo {{ hasNextPage endCursor }} }}"
    if isinstance(kind, AbstractType):
        return f" {{ __typename {' '.join(f'... on {m.name}{selection(m, inside)}' for m in kind.members)} }}"
    if not isinstance(kind, ObjectType):
        return ""
    fields = [field for field in kind.fields.values() if field.edge is None and field.name != "nodeId"]
    if within.count(kind) >= NESTED:
        fields = []
    return f" {{ __typename {' '.join(f'{field.name}{selection(field.type.named, inside)}' for field in fields)} }}"


def sent(ref: Ref, value: Any) -> Any:
    """Return a plain value as a variable of a type; what does not fit is sent as it is, to be refused."""
    if value is None:
        return None
    if ref.many:
        return [sent(ref.of, each) for each in value] if isinstance(value, list | tuple) else value
    kind = ref.of
    if isinstance(kind, EnumType):
        names = {_plain_member(member): kind.values[member.name] for member in kind.cls}
        return names.get(value, value) if not isinstance(value, list | tuple | dict) else value
    if isinstance(kind, InputType) and isinstance(value, Mapping):
        if kind.tags is not None:
            chosen = next(name for name, (key, tag) in kind.tags.items() if value.get(key) == tag)
            key = kind.tags[chosen][0]
            return {chosen: sent(kind.fields[chosen].type, {n: each for n, each in value.items() if n != key})}
        return _members(kind.fields, value)
    return msgspec.to_builtins(value)


def _members(fields: Mapping[str, Argument], value: Mapping[str, Any]) -> dict[str, Any]:
    by_wire = {argument.wire: argument for argument in fields.values()}
    return {
        by_wire[name].name if name in by_wire else name: sent(by_wire[name].type, each) if name in by_wire else each
        for name, each in value.items()
    }


def got(ref: Ref, value: Any) -> Any:
    """Return what was answered as the JSON that REST would have answered."""
    if value is None:
        return None
    if isinstance(value, list):
        return [got(ref.of, each) for each in value]
    kind = ref.named
    if isinstance(kind, EnumType):
        members = {shown: _plain_member(kind.cls[name]) for name, shown in kind.values.items()}
        return members[value]
    if isinstance(kind, ConnectionType):
        info = value["pageInfo"]
        page = {"items": [got(kind.fields["nodes"].type.of, each) for each in value["nodes"]]}
        return page | ({"next_page_token": info["endCursor"]} if info["hasNextPage"] else {})
    if isinstance(kind, AbstractType):
        kind = next(member for member in kind.members if member.name == value["__typename"])
    if isinstance(kind, ObjectType) and kind.cls is not None:
        names = {camel(field.name): field.encode_name for field in fields_of(kind.cls)}
        found = {names[name]: got(kind.fields[name].type, each) for name, each in value.items() if name in names}
        config = getattr(kind.cls, "__struct_config__", None)
        return found | ({config.tag_field: config.tag} if config is not None and config.tag is not None else {})
    return value


def _plain_member(member: Any) -> Any:
    return msgspec.to_builtins(member)
