"""From a validated document to a plan: fields collected and merged once (specification, section 6.3), units written.

``@skip`` and ``@include`` are decided before: one document has a plan for each combination of what its conditions say,
so that no plan asks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any

import msgspec
from graphql import (
    BooleanValueNode,
    DirectiveNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLField,
    GraphQLObjectType,
    GraphQLSchema,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionSetNode,
    VariableNode,
)
from graphql.execution.values import VariableValues

from trivet.contracts.graphql.types import (
    AbstractType,
    ConnectionType,
    Field,
    Graph,
    NamedType,
    ObjectType,
    Ref,
    ScalarType,
)
from trivet.contracts.model import ApiEdge
from trivet.core.call import Handler
from trivet.transports.graphql.arguments import Arguments, Cursors, Decode, decoder_of
from trivet.transports.graphql.cost import Costs
from trivet.transports.graphql.plan import Branch, EdgeStep, Entry, Location, Plan, RootStep, Selection, Unit
from trivet.transports.graphql.project import is_whole, output_class, write

Conditions = Mapping[str, bool]
"""What the variables of ``@skip`` and ``@include`` say."""

TYPENAME = "__typename"
TYPENAME_TYPE = Ref(of=ScalarType("String"), required=True)
INTROSPECTION = ("__schema", "__type")


class Compiler:
    """Makes plans for one app.

    Args:
        graph: Its types.
        schema: The same types as graphql-core has them.
        handlers: Runs the operation of a root field through its policies, by the field's type and name.
    """

    def __init__(self, graph: Graph, schema: GraphQLSchema, handlers: Callable[[Field], Handler | None]) -> None:
        self.graph = graph
        self.schema = schema
        self.handlers = handlers
        self._decoders: dict[int, Decode] = {}

    def plan(
        self,
        operation: OperationDefinitionNode,
        fragments: Mapping[str, FragmentDefinitionNode],
        conditions: Conditions,
    ) -> Plan:
        """Return the plan of an operation whose document is valid."""
        return _Compilation(self, fragments, conditions).plan(operation)

    def known(self, kind: ObjectType) -> Mapping[str, GraphQLField]:
        """Return the fields of an object type as graphql-core has them."""
        found = self.schema.type_map[kind.name]
        assert isinstance(found, GraphQLObjectType)
        fields: Mapping[str, GraphQLField] = found.fields
        return fields

    def decoder(self, field: Field) -> Decode:
        """Return what decodes the arguments of a field."""
        found = self._decoders.get(id(field))
        if found is None:
            found = self._decoders[id(field)] = decoder_of(field)
        return found


def condition_names(
    operation: OperationDefinitionNode, fragments: Mapping[str, FragmentDefinitionNode]
) -> tuple[str, ...]:
    """Return the variables that decide about ``@skip`` and ``@include`` in an operation."""
    found: dict[str, None] = {}
    seen: set[str] = set()
    waiting: list[SelectionSetNode] = [operation.selection_set]
    while waiting:
        for selection in waiting.pop().selections:
            for directive in selection.directives or ():
                condition = _condition(directive)
                if isinstance(condition, VariableNode):
                    found[condition.name.value] = None
            if isinstance(selection, FragmentSpreadNode):
                name = selection.name.value
                if name not in seen:
                    seen.add(name)
                    waiting.append(fragments[name].selection_set)
            elif isinstance(selection, FieldNode | InlineFragmentNode) and selection.selection_set:
                waiting.append(selection.selection_set)
    return tuple(found)


def _condition(directive: DirectiveNode) -> Any:
    if directive.name.value not in ("skip", "include"):
        return None
    return next((argument.value for argument in directive.arguments or () if argument.name.value == "if"), None)


Grouped = dict[str, list[FieldNode]]


class _Compilation:
    def __init__(
        self, compiler: Compiler, fragments: Mapping[str, FragmentDefinitionNode], conditions: Conditions
    ) -> None:
        self._compiler = compiler
        self._fragments = fragments
        self._conditions = conditions
        self._edges: list[ApiEdge] = []

    def plan(self, operation: OperationDefinitionNode) -> Plan:
        kind = operation.operation.value
        graph = self._compiler.graph
        root = {"query": graph.query, "mutation": graph.mutation, "subscription": graph.subscription}[kind]
        assert root is not None  # validated
        fields = self._compiler.known(root)
        members: list[tuple[str, RootStep | bytes | None]] = []
        introspects: list[str] = []
        for key, nodes in self._collect(root, [operation.selection_set]).items():
            name = nodes[0].name.value
            if name == TYPENAME:
                members.append((key, msgspec.json.encode(root.name)))
            elif name in INTROSPECTION:
                members.append((key, None))
                introspects.append(key)
            else:
                members.append((key, self._root(root.fields[name], fields[name], key, nodes)))
        steps = [member for _, member in members if isinstance(member, RootStep)]
        return Plan(kind, members, introspects, Costs(steps))

    def _root(self, field: Field, known: GraphQLField, key: str, nodes: list[FieldNode]) -> RootStep:
        self._edges = []
        # nodes are found one by one, or by type, and put in order afterwards
        unit = Unit(field.type.of if field.node == "nodes" else field.type, "value")
        unit.selection = self._selection(field.type.named, nodes, unit)
        write(unit)
        arguments = Arguments(known, nodes[0], self._compiler.decoder(field), cursors_in(unit))
        handler = self._compiler.handlers(field)
        weight = weight_of(field, self._compiler.graph)
        return RootStep(key, field, handler, arguments, unit, tuple(self._edges), location_of(nodes[0]), weight)

    def _selection(self, kind: NamedType, nodes: Sequence[FieldNode], unit: Unit) -> Selection | None:
        sets = [node.selection_set for node in nodes if node.selection_set is not None]
        if not sets:
            return None
        if isinstance(kind, AbstractType):
            return Selection([self._branch(member, sets, unit) for member in kind.members], abstract=True)
        assert isinstance(kind, ObjectType)  # validated
        return Selection([self._branch(kind, sets, unit)], abstract=False)

    def _branch(self, kind: ObjectType, sets: Sequence[SelectionSetNode], unit: Unit) -> Branch:
        grouped = self._collect(kind, sets)
        entries = [
            self._entry(kind, f"f{number}", key, nodes, unit) for number, (key, nodes) in enumerate(grouped.items())
        ]
        followed = any(entry.edge is not None for entry in entries)
        output = output_class(list(grouped), followed)
        return Branch(kind.name, kind.cls, entries, output, is_whole(kind.cls, entries))

    def _entry(self, kind: ObjectType, attribute: str, key: str, nodes: list[FieldNode], unit: Unit) -> Entry:
        location = location_of(nodes[0])
        name = nodes[0].name.value
        if name == TYPENAME:
            return Entry(key, attribute, None, TYPENAME_TYPE, None, None, location)
        field = kind.fields[name]
        if field.edge is None:
            selection = self._selection(field.type.named, nodes, unit)
            return Entry(key, attribute, field, field.type, selection, None, location)
        self._edges.append(field.edge)
        below = Unit(field.type, attribute)
        below.selection = self._selection(field.type.named, nodes, below)
        write(below)
        arguments = Arguments(
            self._compiler.known(kind)[name], nodes[0], self._compiler.decoder(field), cursors_in(below)
        )
        step = EdgeStep(field.edge, key, field, arguments, below, location)
        unit.edges.append(step)
        return Entry(key, attribute, field, field.type, None, step, location)

    # -- collecting fields

    def _collect(self, kind: ObjectType, sets: Sequence[SelectionSetNode]) -> Grouped:
        grouped: Grouped = {}
        visited: set[str] = set()
        for selections in sets:
            self._into(kind, selections, grouped, visited)
        return grouped

    def _into(self, kind: ObjectType, selections: SelectionSetNode, grouped: Grouped, visited: set[str]) -> None:
        for selection in selections.selections:
            if not self._included(selection.directives or ()):
                continue
            if isinstance(selection, FieldNode):
                key = (selection.alias or selection.name).value
                grouped.setdefault(key, []).append(selection)
            elif isinstance(selection, InlineFragmentNode):
                condition = selection.type_condition
                if condition is None or self._applies(condition.name.value, kind):
                    self._into(kind, selection.selection_set, grouped, visited)
            elif isinstance(selection, FragmentSpreadNode):
                name = selection.name.value
                if name in visited:
                    continue
                visited.add(name)
                fragment = self._fragments[name]
                if self._applies(fragment.type_condition.name.value, kind):
                    self._into(kind, fragment.selection_set, grouped, visited)

    def _applies(self, name: str, kind: ObjectType) -> bool:
        if name == kind.name:
            return True
        found = self._compiler.graph.types.get(name)
        return isinstance(found, AbstractType) and kind in found.members

    def _included(self, directives: Sequence[DirectiveNode]) -> bool:
        for directive in directives:
            condition = _condition(directive)
            if condition is None:
                continue
            if isinstance(condition, VariableNode):
                said = self._conditions[condition.name.value]
            else:
                assert isinstance(condition, BooleanValueNode)  # validated
                said = condition.value
            if said == (directive.name.value == "skip"):
                return False
        return True


def weight_of(field: Field, graph: Graph) -> int:
    """Return what a call of a root field costs; of one that reads by global id, what the dearest type costs."""
    readers = chain.from_iterable(graph.nodes.values()) if field.node is not None else [field.operation]
    return max((op.operation.declaration.weight for op in readers if op is not None), default=1)


def location_of(node: FieldNode) -> Location:
    """Return the line and the column of a field."""
    token = node.loc.start_token if node.loc else None
    return (token.line, token.column) if token is not None else (1, 1)


def cursors_in(unit: Unit) -> Cursors:
    """Return which cursors of its page a selection asks for."""
    if not isinstance(unit.type.of, ConnectionType) or unit.selection is None:
        return Cursors.NONE
    asked = {
        (entry.field.name, inner.field.name)
        for entry in unit.selection.branches[0].entries
        if entry.field is not None and entry.selection is not None
        for inner in entry.selection.branches[0].entries
        if inner.field is not None
    }
    if asked & {("edges", "cursor"), ("pageInfo", "startCursor")}:
        return Cursors.ALL
    return Cursors.LAST if ("pageInfo", "endCursor") in asked else Cursors.NONE


def said_by(variables: VariableValues, names: Sequence[str]) -> tuple[bool, ...] | None:
    """Return what the variables say about conditions; ``None`` where one of them says nothing."""
    if not names:
        return ()
    values = [variables.coerced.get(name) for name in names]
    return None if None in values else tuple(map(bool, values))
