"""Documents: parsed, counted and validated once, by graphql-core, and kept with their plans in a bounded cache.

What is expensive runs in a thread of its own, one document after the other and callers by turns, so that the event loop
answers others in the meantime; a document that several requests bring at once is looked at once. Whether it is
expensive is counted: a short document is parsed and counted where it arrives, and stays there only if there is little
to validate in it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from graphql import (
    DocumentNode,
    FragmentDefinitionNode,
    GraphQLError,
    GraphQLSchema,
    GraphQLSyntaxError,
    OperationDefinitionNode,
    parse,
    validate,
)
from graphql.execution.values import VariableValues, get_variable_values
from graphql.validation import MaxIntrospectionDepthRule, NoSchemaIntrospectionCustomRule, specified_rules

from trivet.core.error import Error
from trivet.settings.tree import GraphqlSettings
from trivet.transports.graphql.bounded import Bounded
from trivet.transports.graphql.compile import Compiler, condition_names, said_by
from trivet.transports.graphql.limits import count
from trivet.transports.graphql.plan import Plan
from trivet.transports.graphql.refusals import DocumentInvalid, OperationUnknown
from trivet.transports.graphql.turns import Turns

T = TypeVar("T")

INLINE_LENGTH = 600
"""Documents up to this many characters are parsed and counted where they arrive: a thread would cost as much."""

INLINE_WORK = 60
"""Up to this much work they are validated and planned there as well: in less time than two threads take turns."""

MAX_ERRORS = 10
"""How many things that are wrong with a document are listed."""


class Operation:
    """One operation of a valid document.

    Attributes:
        node: As it was parsed.
        document: Where it stands.
        kind: ``query``, ``mutation`` or ``subscription``.
        conditions: The variables that decide about ``@skip`` and ``@include``.
    """

    __slots__ = ("conditions", "document", "kind", "node")

    def __init__(self, node: OperationDefinitionNode, document: Document) -> None:
        self.node = node
        self.document = document
        self.kind = node.operation.value
        self.conditions = condition_names(node, document.fragments)


class Document:
    """A document that may be asked about; it is valid once `Reader.validate` says nothing.

    Attributes:
        source: As it came.
        node: As it was parsed.
        work: How much there is to look at in it, as it was counted.
        fragments: By name.
        operations: By name; `""` for one without.
    """

    __slots__ = ("__weakref__", "_only", "fragments", "node", "operations", "source", "work")

    def __init__(self, source: str, node: DocumentNode, work: int) -> None:
        self.source = source
        self.node = node
        self.work = work
        self.fragments = {d.name.value: d for d in node.definitions if isinstance(d, FragmentDefinitionNode)}
        self.operations = {
            d.name.value if d.name else "": Operation(d, self)
            for d in node.definitions
            if isinstance(d, OperationDefinitionNode)
        }
        self._only = next(iter(self.operations.values())) if len(self.operations) == 1 else None

    def operation(self, name: str | None) -> Operation:
        """Return the operation that is meant (specification, section 6.1).

        Raises:
            OperationUnknown: None or several could be meant.
        """
        if not name:
            if self._only is not None:
                return self._only
            raise OperationUnknown(detail="The document has several operations: say operationName.")
        found = self.operations.get(name)
        if found is None:
            raise OperationUnknown(detail=f"The document has no operation {name!r}.")
        return found


class Reader:
    """Parses, counts and validates documents.

    Args:
        schema: What they are validated against.
        limits: What they may ask for.
        introspection: Whether the schema may be introspected.
        suggestions: Whether mistakes are met with suggestions.
    """

    def __init__(self, schema: GraphQLSchema, limits: GraphqlSettings, introspection: bool, suggestions: bool) -> None:
        self._schema = schema
        self._limits = limits
        self._rules = [*specified_rules, MaxIntrospectionDepthRule]
        if not introspection:
            self._rules.append(NoSchemaIntrospectionCustomRule)
        self._suggestions = suggestions

    def parse(self, source: str) -> Document:
        """Return the document, parsed and counted.

        Raises:
            DocumentInvalid: It is none.
            DocumentRefused: It asks for too much.
        """
        try:
            node = parse(source, max_tokens=self._limits.tokens, allow_empty_selection_sets=False)
        except GraphQLSyntaxError as wrong:
            raise DocumentInvalid([wrong]) from None
        except RecursionError:
            raise DocumentInvalid([GraphQLError("The document is nested too deeply.")]) from None
        counted = count(node, self._limits)
        work = max(counted.visits + counted.pairs, (node.token_count or 0) // 2)  # arguments are no visits
        return Document(source, node, work)

    def validate(self, document: Document) -> Document:
        """Return the document.

        Raises:
            DocumentInvalid: With what is wrong.
        """
        problems = validate(
            self._schema, document.node, self._rules, max_errors=MAX_ERRORS, hide_suggestions=not self._suggestions
        )
        if problems:
            raise DocumentInvalid(problems)
        return document

    def read(self, source: str) -> Document:
        """Return the document, parsed, counted and validated; see both."""
        return self.validate(self.parse(source))


class Planner:
    """Documents to plans.

    Args:
        schema: What documents are validated against.
        compiler: Makes the plans.
        limits: What documents may ask for, and how much is kept.
        introspection: Whether the schema may be introspected.
        suggestions: Whether mistakes are met with suggestions.
    """

    def __init__(
        self,
        schema: GraphQLSchema,
        compiler: Compiler,
        limits: GraphqlSettings,
        *,
        introspection: bool,
        suggestions: bool,
    ) -> None:
        self._schema = schema
        self._compiler = compiler
        self._reader = Reader(schema, limits, introspection, suggestions)
        self._suggestions = suggestions
        self._documents: Bounded[Document | Error] = Bounded(limits.plans, limits.plans_size)
        self._plans: Bounded[Plan] = Bounded(limits.plans, limits.plans_size)
        self._waiting: dict[Any, asyncio.Future[Any]] = {}
        self._turns = Turns()

    @property
    def kept(self) -> tuple[int, int]:
        """How many documents and how many plans are kept."""
        return len(self._documents), len(self._plans)

    def close(self) -> None:
        """End the thread."""
        self._turns.close()

    def known(self, source: str) -> Document | None:
        """Return the document if it is kept and valid."""
        found = self._documents.get(source)
        return None if isinstance(found, Error) else found

    async def document(self, source: str, caller: str) -> Document:
        """Return the document.

        Args:
            source: Its text.
            caller: Who brings it, as `turns.caller_of` says.

        Raises:
            DocumentInvalid: With what is wrong.
            DocumentRefused: It asks for too much.
            TooManyNewDocuments: The caller brought too many that are still waiting.
            PlannerBusy: All callers did together.
        """
        found = self._documents.get(source)
        if found is None:
            found = await self._read(source, caller)
            self._documents.put(source, found, len(source) + OVERHEAD)
        if isinstance(found, Error):
            raise found.with_traceback(None)
        return found

    async def _read(self, source: str, caller: str) -> Document | Error:
        length = len(source)
        if length > INLINE_LENGTH:
            return await self._once(source, caller, length, lambda: _outcome(lambda: self._reader.read(source)))
        parsed = _outcome(lambda: self._reader.parse(source))
        if isinstance(parsed, Error):
            return parsed
        if parsed.work <= INLINE_WORK:
            return _outcome(lambda: self._reader.validate(parsed))
        return await self._once(source, caller, length, lambda: _outcome(lambda: self._reader.validate(parsed)))

    async def _once(self, key: Any, caller: str, length: int, make: Callable[[], T]) -> T:
        """Return what is made in the thread, once for all who wait for it; see `Turns.run`."""
        waiting = self._waiting.get(key)
        if waiting is None:
            waiting = self._waiting[key] = self._turns.run(caller, length, make)
            waiting.add_done_callback(lambda done: self._waiting.pop(key, None))
        made: T = await asyncio.shield(waiting)
        return made

    def variables(self, operation: Operation, given: dict[str, Any]) -> VariableValues:
        """Return the variables as their types say.

        Raises:
            DocumentInvalid: They are not what the document declares.
        """
        declared = operation.node.variable_definitions
        if not declared:
            return NO_VARIABLES
        values = get_variable_values(self._schema, declared, given, MAX_ERRORS, not self._suggestions)
        if isinstance(values, list):
            raise DocumentInvalid(values)
        return values

    def planned(self, operation: Operation, variables: VariableValues) -> Plan | None:
        """Return the plan of an operation if it is kept."""
        return self._plans.get((operation, said_by(variables, operation.conditions)))

    async def plan(self, operation: Operation, variables: VariableValues, caller: str) -> Plan:
        """Return the plan of an operation under what its variables say about conditions.

        Raises:
            DocumentInvalid: A condition says nothing.
            TooManyNewDocuments: The caller has too many documents that are waiting.
            PlannerBusy: All callers do together.
        """
        said = said_by(variables, operation.conditions)
        if said is None:
            raise DocumentInvalid([GraphQLError("The condition of @skip or @include is null.", operation.node)])
        key = (operation, said)
        plan = self._plans.get(key)
        if plan is None:
            document = operation.document
            conditions = dict(zip(operation.conditions, said, strict=True))

            def compiled() -> Plan:
                return self._compiler.plan(operation.node, document.fragments, conditions)

            length = len(document.source)
            plan = compiled() if document.work <= INLINE_WORK else await self._once(key, caller, length, compiled)
            self._plans.put(key, plan, length + OVERHEAD)
        return plan


OVERHEAD = 4_096
"""What a parsed document or a plan weighs at least, in bytes."""

NO_VARIABLES = VariableValues({}, {})


def _outcome(read: Callable[[], Document]) -> Document | Error:
    try:
        return read()
    except Error as refused:
        return refused
