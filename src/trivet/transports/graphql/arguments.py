"""Arguments of a field: from the document and its variables to what the function takes.

graphql-core coerces by the types of the schema; then the same strict decoders as everywhere check what the schema can
not say: lengths, patterns, bounds.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from graphql import FieldNode, GraphQLField, ValueNode, VariableNode
from graphql.execution.values import VariableValues, get_argument_values

from trivet.contracts.graphql.types import Field
from trivet.contracts.subject import is_page_request
from trivet.core.copying import copier_for
from trivet.core.decode import Decoder
from trivet.core.error import InvalidArgument, Violation
from trivet.core.naming import camel
from trivet.core.page import CursorRequest, PageRequest, PageToken
from trivet.core.signature import Parameter
from trivet.transports.graphql.errors import spelled

NO_VARIABLES = VariableValues({}, {})

Given = Mapping[str, Any]


class Cursors(enum.Enum):
    """Which cursors of a page are asked for; making one costs a signature."""

    NONE = "none"
    LAST = "last"
    ALL = "all"


class Decode:
    """Makes arguments for a function of coerced ones.

    Args:
        parameters: Of the function.

    Attributes:
        frozen: Whether nothing in the arguments can change, so that calls may share them.
    """

    def __init__(self, parameters: Sequence[Parameter]) -> None:
        self._page = next((p.name for p in parameters if is_page_request(p.type)), None)
        plain = [p for p in parameters if p.name != self._page]
        self._readers = [(p.name, camel(p.name), Decoder[Any](p.type)) for p in plain]
        self.frozen = all(copier_for(p.type) is None for p in plain)

    def __call__(self, given: Given, cursors: Cursors) -> Mapping[str, Any]:
        """Return the arguments.

        Raises:
            InvalidArgument: With everything that is wrong.
        """
        arguments: dict[str, Any] = {}
        violations: list[Violation] = []
        for name, shown, reader in self._readers:
            if name not in given:
                continue
            try:
                arguments[name] = reader.json(ENCODER.encode(given[name]))
            except InvalidArgument as refused:
                violations += [spelled(violation, f"#/{shown}") for violation in refused.violations]
        if self._page is not None:
            arguments[self._page] = page_of(given, cursors, violations)
        if violations:
            raise InvalidArgument(violations=tuple(violations))
        return arguments


def decoder_of(field: Field) -> Decode:
    """Return what makes arguments for the function of a root field or an edge; one without a function takes none."""
    function = field.operation or field.edge
    return Decode(() if function is None else function.signature.parameters)


ENCODER = msgspec.json.Encoder()
TOKEN = Decoder[str](PageToken)


def page_of(given: Given, cursors: Cursors, violations: list[Violation]) -> PageRequest:
    """Return the page that ``first`` and ``after`` ask for, and add what is wrong with them."""
    first, after = given.get("first"), given.get("after")
    if first is not None and first < 1:
        violations.append(Violation(detail="must be at least 1", pointer="#/first"))
        first = 1
    if after is not None:
        try:
            TOKEN.convert(after)
        except InvalidArgument as refused:
            violations += [Violation(detail=one.detail, pointer="#/after") for one in refused.violations]
    if cursors is Cursors.NONE:
        return PageRequest(page_size=first or 0, page_token=after)
    return CursorRequest(page_size=first or 0, page_token=after, every=cursors is Cursors.ALL)


class Arguments:
    """The arguments of one field at one place of a document.

    Args:
        field: As graphql-core has it.
        node: Where it stands.
        decode: Makes arguments for its function.
        cursors: Which cursors its page must have.
    """

    __slots__ = ("_constant", "_cursors", "_decode", "_field", "_made", "_node")

    def __init__(self, field: GraphQLField, node: FieldNode, decode: Decode, cursors: Cursors) -> None:
        self._field = field
        self._node = node
        self._decode = decode
        self._cursors = cursors
        varies = any(has_variable(argument.value) for argument in node.arguments or ())
        self._constant = None if varies else get_argument_values(field, node, NO_VARIABLES)
        self._made: Mapping[str, Any] | None = None

    def given(self, variables: VariableValues) -> Given:
        """Return the arguments as GraphQL coerces them.

        Raises:
            GraphQLError: A variable is missing where a value is needed.
        """
        if self._constant is not None:
            return self._constant
        return get_argument_values(self._field, self._node, variables)

    def __call__(self, variables: VariableValues) -> Mapping[str, Any]:
        """Return the arguments as the function takes them.

        Raises:
            GraphQLError: A variable is missing where a value is needed.
            InvalidArgument: With everything that is wrong.
        """
        if self._made is not None:
            return self._made
        arguments = self._decode(self.given(variables), self._cursors)
        if self._constant is not None and self._decode.frozen:
            self._made = arguments
        return arguments


def has_variable(node: ValueNode) -> bool:
    """Whether a value depends on variables."""
    if isinstance(node, VariableNode):
        return True
    members = getattr(node, "values", None) or [field.value for field in getattr(node, "fields", None) or ()]
    return any(has_variable(member) for member in members)
