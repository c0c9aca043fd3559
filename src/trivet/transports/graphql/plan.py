"""Plans: what a document asks for, decided once.

A plan has one step for each root field. The value of a step's operation goes through a *unit*: a function made for this
selection that turns a whole batch of values into output objects in one go. Where the selection follows an edge, the
unit leaves a gap and notes the parent; when the unit is through, each edge is resolved for all of its parents at once,
and the values go through a unit of their own. So a document costs one call for each edge at each level, however many
objects there are.

An edge and a root field are nullable, so no failure leaves the unit in which it happened.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from trivet.contracts.graphql.types import Field, Ref
from trivet.contracts.model import ApiEdge
from trivet.contracts.result import Form
from trivet.core.call import Handler
from trivet.core.declaration import Kind
from trivet.transports.graphql.arguments import Arguments

Location = tuple[int, int]
"""Line and column, from 1."""

Pairs = list[tuple[Any, Any]]
"""Parents beside the output objects that they became."""


class Entry:
    """One member of an output object.

    Attributes:
        key: Its name in the answer.
        attribute: Its name in the output class.
        field: The field; ``None`` for ``__typename``.
        type: The field's type.
        selection: What is selected from it; ``None`` for a leaf.
        edge: The step that fills it later, where it is an edge.
        location: Where the document asks for it.
    """

    __slots__ = ("attribute", "edge", "field", "key", "location", "selection", "type")

    def __init__(
        self,
        key: str,
        attribute: str,
        field: Field | None,
        type: Ref,
        selection: Selection | None,
        edge: EdgeStep | None,
        location: Location,
    ) -> None:
        self.key = key
        self.attribute = attribute
        self.field = field
        self.type = type
        self.selection = selection
        self.edge = edge
        self.location = location


class Branch:
    """What is selected from objects of one concrete type.

    Attributes:
        name: The type's name.
        cls: Its Python class, where objects of several types must be told apart.
        entries: In the order of the answer.
        output: The class of the output objects.
        whole: Whether an object of the class is written as its output would be: everything is selected, as it stands.
    """

    __slots__ = ("cls", "entries", "name", "output", "whole")

    def __init__(self, name: str, cls: Any, entries: Sequence[Entry], output: Any, whole: bool) -> None:
        self.name = name
        self.cls = cls
        self.entries = entries
        self.output = output
        self.whole = whole


class Selection:
    """What is selected from a composite type.

    Attributes:
        branches: One for each concrete type that a value can have.
        abstract: Whether values must be told apart by their class.
    """

    __slots__ = ("abstract", "branches")

    def __init__(self, branches: Sequence[Branch], abstract: bool) -> None:
        self.branches = branches
        self.abstract = abstract


class Unit:
    """What turns values of one type into output objects.

    Attributes:
        type: The type of one value.
        selection: What is selected from it; ``None`` for leaves.
        attribute: The attribute of the targets that gets the output.
        edges: The edges that are followed from objects in it.
        project: Projects a batch in which everything is as its type says; raises any exception for others.
        source: The source of `project`, for people.
    """

    __slots__ = ("attribute", "edges", "project", "selection", "source", "type")

    def __init__(self, type: Ref, attribute: str) -> None:
        self.type = type
        self.attribute = attribute
        self.selection: Selection | None = None
        self.edges: list[EdgeStep] = []
        self.project: Callable[[Pairs, Sequence[Any], bool, Sequence[Pairs]], None]
        self.source = ""


class EdgeStep:
    """One edge at one place of a document.

    Attributes:
        edge: The relation.
        key: Its name in the answer.
        field: The field that it is.
        arguments: Makes its arguments of the variables.
        unit: What becomes of its values.
        location: Where the document asks for it.
        weight: What one value costs beside the objects in it.
    """

    __slots__ = ("arguments", "edge", "field", "key", "location", "unit", "weight")

    def __init__(
        self, edge: ApiEdge, key: str, field: Field, arguments: Arguments, unit: Unit, location: Location
    ) -> None:
        self.edge = edge
        self.key = key
        self.field = field
        self.arguments = arguments
        self.unit = unit
        self.location = location
        self.weight: int = edge.edge.weight


class RootStep:
    """One root field.

    Attributes:
        key: Its name in the answer.
        field: The field.
        handler: Runs its operation through the policies of a root field; ``None`` for what the platform answers.
        arguments: Makes its arguments of the variables.
        unit: What becomes of its value.
        edges: Every edge that is followed below it: the caller must be allowed to.
        location: Where the document asks for it.
        silent: Whether its operation returns nothing, which is answered with ``true``.
        weight: What a call costs beside the objects in its answer.
    """

    __slots__ = ("arguments", "edges", "field", "handler", "key", "location", "silent", "unit", "weight")

    def __init__(
        self,
        key: str,
        field: Field,
        handler: Handler | None,
        arguments: Arguments,
        unit: Unit,
        edges: Sequence[ApiEdge],
        location: Location,
        weight: int,
    ) -> None:
        self.key = key
        self.field = field
        self.weight = weight
        self.handler = handler
        self.arguments = arguments
        self.unit = unit
        self.edges = edges
        self.location = location
        op = field.operation
        self.silent = op is not None and op.operation.kind is not Kind.JOB and op.result.form is Form.NOTHING


class Plan:
    """What one operation of a document asks for, under one answer to its ``@skip`` and ``@include``.

    Attributes:
        kind: ``query``, ``mutation`` or ``subscription``.
        members: The members of the answer in order: a root step, or the finished bytes of ``__typename``.
        openings: What stands before the value of each member.
        steps: The root steps.
        writes: Whether it changes something.
        introspects: The keys of root fields that ask for the schema itself.
        cost: What it costs at most, by the variables.
    """

    __slots__ = ("cost", "introspects", "kind", "members", "openings", "steps", "writes")

    def __init__(
        self,
        kind: str,
        members: Sequence[tuple[str, RootStep | bytes | None]],
        introspects: Sequence[str],
        cost: Callable[[Any], int],
    ) -> None:
        self.kind = kind
        self.writes = kind == "mutation"
        self.members = members
        self.openings = [
            b"%b%b:" % (b"," if number else b"", msgspec.json.encode(key)) for number, (key, _) in enumerate(members)
        ]
        self.steps = [member for _, member in members if isinstance(member, RootStep)]
        self.introspects = introspects
        self.cost = cost
