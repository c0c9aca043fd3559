"""GraphQL of one app: its schema, its planner, and the operation of the platform that every request passes as."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from functools import cached_property
from typing import Any

import msgspec
from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionSetNode,
    execute_sync,
)
from graphql.execution.values import VariableValues

from trivet.contracts.graphql.schema import schema_of, sdl_of
from trivet.contracts.graphql.types import Field, Graph
from trivet.contracts.model import Api, ApiOperation
from trivet.core.call import Call, Handler
from trivet.policies import chain
from trivet.policies.consistency import told
from trivet.runtime import Runtime
from trivet.transports.graphql.bounded import Bounded
from trivet.transports.graphql.compile import INTROSPECTION, Compiler
from trivet.transports.graphql.document import Operation as Asked
from trivet.transports.graphql.document import Planner
from trivet.transports.graphql.execute import Answer, bound, run
from trivet.transports.graphql.node import Nodes
from trivet.transports.graphql.persisted import Documents
from trivet.transports.graphql.plan import Plan
from trivet.transports.graphql.refusals import TooExpensive
from trivet.transports.graphql.request import Request
from trivet.transports.graphql.subscribe import subscribe

MAX_INTROSPECTIONS = 64
INTROSPECTION_BYTES = 16 * 1024 * 1024


class Prepared(msgspec.Struct, frozen=True, eq=False, gc=False):
    """What a request asks for.

    Attributes:
        operation: Of its document.
        variables: As the document declares them.
        plan: How it is run.
    """

    operation: Asked
    variables: VariableValues
    plan: Plan


class GraphqlService:
    """Executes documents for one app.

    Args:
        api: The model of the app.
        graph: Its GraphQL types.
        runtime: What is open while the process runs.
        documents: Finds the document that a request means.
    """

    def __init__(self, api: Api, graph: Graph, runtime: Runtime, documents: Documents) -> None:
        settings = runtime.settings.graphql
        development = runtime.settings.development
        introspection = development if settings.introspection is None else settings.introspection
        self.runtime = runtime
        self.graph = graph
        self.schema = schema_of(graph)
        self._handlers: dict[str, Handler] = {}
        self._nodes = Nodes(graph.nodes, self._bound)
        compiler = Compiler(graph, self.schema, self._handler)
        self.planner = Planner(self.schema, compiler, settings, introspection=introspection, suggestions=development)
        self._cost_max = settings.cost
        self._key = runtime.settings.secret_key.reveal().encode()
        self._introspected: Bounded[dict[str, bytes]] = Bounded(MAX_INTROSPECTIONS, INTROSPECTION_BYTES)
        self._documents = documents

    def _handler(self, field: Field) -> Handler | None:
        """Return what runs a root field, bound at its first use: most fields wait long for theirs."""
        return self._bound(field.operation) if field.operation is not None else None

    def _bound(self, op: ApiOperation) -> Handler:
        operation = op.operation
        found = self._handlers.get(operation.id)
        if found is None:
            inner = bound(chain.call(operation, self.runtime))
            found = self._handlers[operation.id] = chain.field(operation, self.runtime, inner)
        return found

    def close(self) -> None:
        """End what runs beside the event loop."""
        self.planner.close()

    @cached_property
    def sdl(self) -> bytes:
        """The schema in the Schema Definition Language."""
        return sdl_of(self.schema).encode()

    def ready(self, request: Request) -> Prepared | None:
        """Return what is asked for if all of it was asked for before; `prepare` is for what is new.

        Raises:
            InvalidArgument: It can not be executed, with what is wrong.
        """
        document = self.planner.known(self._documents.source_of(request))
        if document is None:
            return None
        operation = document.operation(request.operation_name)
        variables = self.planner.variables(operation, request.variables or {})
        plan = self.planner.planned(operation, variables)
        return None if plan is None else self._affordable(operation, variables, plan)

    async def prepare(self, request: Request, caller: str) -> Prepared:
        """Return what is asked for.

        Args:
            request: What it is.
            caller: Who asks: what is new waits for its turn.

        Raises:
            InvalidArgument: It can not be executed, with what is wrong.
            TooManyNewDocuments: The caller asks for too much at once that is new.
            PlannerBusy: All callers do together.
        """
        document = await self.planner.document(self._documents.source_of(request), caller)
        operation = document.operation(request.operation_name)
        variables = self.planner.variables(operation, request.variables or {})
        return self._affordable(operation, variables, await self.planner.plan(operation, variables, caller))

    def _affordable(self, operation: Asked, variables: VariableValues, plan: Plan) -> Prepared:
        cost = plan.cost(variables)
        if cost > self._cost_max:
            detail = f"The document could cost {cost}, more than {self._cost_max}: ask for smaller pages or for less."
            raise TooExpensive(detail=detail, limit=self._cost_max, counted=cost)
        return Prepared(operation, variables, plan)

    async def execute(self, prepared: Prepared, request: Call) -> bytes:
        """Run a query or a mutation and return the whole response."""
        plan, variables = prepared.plan, prepared.variables
        introspected = await self._introspect(prepared.operation, plan, variables) if plan.introspects else {}
        return self.response(plan, await run(plan, request, variables, introspected, self._nodes), request)

    def subscribe(self, prepared: Prepared, request: Call) -> AsyncIterator[bytes]:
        """Begin a subscription and return its responses, one for each item.

        Raises:
            Error: It can not be begun.
        """
        return subscribe(self, prepared.plan, prepared.variables, request)

    def response(self, plan: Plan, answer: Answer, request: Call) -> bytes:
        """Return the response that holds an answer (specification, section 7.1)."""
        pieces = [b'{"data":{']
        for opening, (key, member) in zip(plan.openings, plan.members, strict=True):
            pieces += (opening, member if isinstance(member, bytes) else answer.members[key])
        pieces.append(b"}}")
        if answer.replayed or answer.age is not None or request.witness is not None:
            pieces[-1] = b"}%b}" % self._extensions(plan, answer, request)
        if answer.failures:
            self._log(answer, request)
            shown = msgspec.json.encode([failure.document(request.request_id) for failure in answer.failures])
            pieces[0] = b'{"errors":%b,"data":{' % shown
        return b"".join(pieces)

    def _extensions(self, plan: Plan, answer: Answer, request: Call) -> bytes:
        """Return the member that says what was replayed, how old the data may be, and what the caller has seen."""
        said: dict[str, Any] = {}
        if answer.replayed:
            said["idempotentReplayed"] = answer.replayed
        if answer.age is not None:
            said["dataAge"] = answer.age
        token = told(request.witness, self._key) if plan.kind != "subscription" else None  # those read the primary
        if token is not None:
            said["consistencyToken"] = token.decode()
        return b',"extensions":%b' % msgspec.json.encode(said) if said else b""

    def _log(self, answer: Answer, request: Call) -> None:
        log, seen = self.runtime.log, set()
        for failure in answer.failures:
            if failure.problem is None or failure.problem in seen:
                continue
            seen.add(failure.problem)
            broken = failure.error.__cause__
            if broken is not None:
                log.failure("unexpected error", broken, request_id=request.request_id, operation=failure.problem)
            else:
                path = ".".join(map(str, failure.path))
                log.error("value does not fit", request_id=request.request_id, problem=failure.problem, path=path)

    # -- introspection

    async def _introspect(self, operation: Asked, plan: Plan, variables: VariableValues) -> Mapping[str, bytes]:
        """Return what the schema says about itself, by graphql-core; kept, because tools ask the same all the time."""
        key = (plan, msgspec.json.encode(variables.coerced, enc_hook=repr))
        found = self._introspected.get(key)
        if found is None:
            found = await asyncio.to_thread(self._introspected_by, operation, plan, variables)
            self._introspected.put(key, found, sum(map(len, found.values())))
        return found

    def _introspected_by(self, operation: Asked, plan: Plan, variables: VariableValues) -> dict[str, bytes]:
        node = operation.node
        asking = _only_introspection(node.selection_set, operation.document.fragments)
        alone = OperationDefinitionNode(
            operation=node.operation,
            name=node.name,
            variable_definitions=node.variable_definitions,
            directives=(),
            selection_set=SelectionSetNode(selections=tuple(asking)),
        )
        document = DocumentNode(definitions=(alone, *operation.document.fragments.values()))
        given = {name: source.value for name, source in variables.sources.items() if name in variables.coerced}
        result = execute_sync(self.schema, document, variable_values={k: v for k, v in given.items() if v is not None})
        data = result.data or {}
        return {key: msgspec.json.encode(data.get(key)) for key in plan.introspects}


def _only_introspection(selections: SelectionSetNode, fragments: Mapping[str, FragmentDefinitionNode]) -> list[Any]:
    """Return the fields of a root that ask for the schema, those in fragments too."""
    found: list[Any] = []
    for selection in selections.selections:
        if isinstance(selection, FragmentSpreadNode):
            found += _only_introspection(fragments[selection.name.value].selection_set, fragments)
        elif isinstance(selection, InlineFragmentNode):
            found += _only_introspection(selection.selection_set, fragments)
        elif isinstance(selection, FieldNode) and selection.name.value in INTROSPECTION:
            found.append(selection)
    return found
