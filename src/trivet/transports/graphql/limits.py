"""What a document may ask for at most, counted before anything is validated or run.

The count expands fragments where they are spread, as execution would, and stops at the first limit: how much is looked
at is bounded, so that a document that was made to be expensive is refused for the price of finding that out. Two fields
of one name in one place are compared with each other by validation, so pairs are counted too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionSetNode,
)

from trivet.settings.tree import GraphqlSettings
from trivet.transports.graphql.refusals import DocumentRefused

MAX_VISITS = 5_000
"""How many fields and fragments are looked at in one document, fragments expanded."""

MAX_PAIRS = 5_000
"""How many pairs of fields with one name validation may have to compare."""

MAX_OPERATIONS = 20
"""How many operations one document has at most."""


class Counted:
    """What was counted in a document; see `count`.

    Attributes:
        depth: Of the deepest field.
        aliases: Fields with an alias.
        directives: Directives on what is selected and on operations.
        visits: Fields and fragments that were looked at.
        pairs: Pairs of fields with one name.
    """

    __slots__ = ("aliases", "depth", "directives", "pairs", "visits")

    def __init__(self) -> None:
        self.depth = 0
        self.aliases = 0
        self.directives = 0
        self.visits = 0
        self.pairs = 0


def count(document: DocumentNode, limits: GraphqlSettings) -> Counted:
    """Count what a document asks for.

    Raises:
        DocumentRefused: It is more than the limits allow.
    """
    operations = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
    fragments = [node for node in document.definitions if isinstance(node, FragmentDefinitionNode)]
    if len(operations) > MAX_OPERATIONS:
        raise _refused("operations", MAX_OPERATIONS, len(operations))
    counter = _Counter({fragment.name.value: fragment for fragment in fragments}, limits)
    for operation in operations:
        counter.operation(operation)
    for fragment in fragments:  # validation looks at each by itself, used or not
        about_schema = fragment.type_condition.name.value.startswith("__")
        counter.walk([fragment.selection_set], -MAX_VISITS if about_schema else 0, (fragment.name.value,))
    return counter.counted


class _Counter:
    def __init__(self, fragments: Mapping[str, FragmentDefinitionNode], limits: GraphqlSettings) -> None:
        self.counted = Counted()
        self._fragments = fragments
        self._limits = limits

    def operation(self, operation: OperationDefinitionNode) -> None:
        self._directives(operation)
        self.walk([operation.selection_set], 0, ())

    def walk(self, sets: list[SelectionSetNode], depth: int, inside: tuple[str, ...]) -> None:
        """Count what is selected in one place: several sets where several fields of one name are merged."""
        grouped: dict[str, list[FieldNode]] = {}
        for selections in sets:
            self._into(selections, grouped, depth, inside)
        for nodes in grouped.values():
            self._add("pairs", len(nodes) * (len(nodes) - 1) // 2, MAX_PAIRS)
            below = [node.selection_set for node in nodes if node.selection_set is not None]
            if below:  # how deep the schema is asked about itself, validation bounds
                about_schema = nodes[0].name.value.startswith("__")
                self.walk(below, -MAX_VISITS if about_schema else depth + 1, inside)

    def _into(
        self, selections: SelectionSetNode, grouped: dict[str, list[FieldNode]], depth: int, inside: tuple[str, ...]
    ) -> None:
        counted, limits = self.counted, self._limits
        for selection in selections.selections:
            self._add("visits", 1, MAX_VISITS)
            self._directives(selection)
            if isinstance(selection, FieldNode):
                if selection.alias is not None:
                    self._add("aliases", 1, limits.aliases)
                name = (selection.alias or selection.name).value
                if not selection.name.value.startswith("__"):
                    counted.depth = max(counted.depth, depth + 1)
                    if counted.depth > limits.depth:
                        raise _refused("levels of fields", limits.depth, counted.depth)
                grouped.setdefault(name, []).append(selection)
            elif isinstance(selection, FragmentSpreadNode):
                name = selection.name.value
                fragment = self._fragments.get(name)
                if fragment is not None and name not in inside:  # what is not so, validation reports
                    self._into(fragment.selection_set, grouped, depth, (*inside, name))
            elif isinstance(selection, InlineFragmentNode):
                self._into(selection.selection_set, grouped, depth, inside)

    def _directives(self, node: Any) -> None:
        if node.directives:
            self._add("directives", len(node.directives), self._limits.directives)

    def _add(self, name: str, number: int, limit: int) -> None:
        total = getattr(self.counted, name) + number
        setattr(self.counted, name, total)
        if total > limit:
            raise _refused(NAMES[name], limit, total)


NAMES = {
    "aliases": "aliases",
    "directives": "directives",
    "visits": "fields and fragments, where they are spread",
    "pairs": "pairs of fields of one name",
}


def _refused(what: str, limit: int, counted: int) -> DocumentRefused:
    return DocumentRefused(detail=f"The document has more than {limit} {what}.", limit=limit, counted=counted)
