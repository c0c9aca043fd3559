"""Running a plan: root fields as calls, edges breadth-first in batches, errors with their paths.

Queries run at the same time, each on a unit of work of its own; mutations one after the other, each with everything
that is selected from it. A failure is noted where it happened; its path is looked for when all is done, in the output
itself, so that answers without failures pay nothing for paths.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any

import msgspec
from graphql import GraphQLError
from graphql.execution.values import VariableValues

from trivet.contracts.graphql.types import IF_VERSION
from trivet.core import dataage
from trivet.core.call import Call, Handler, Outcome
from trivet.core.error import Error, Internal, InvalidArgument
from trivet.core.operation import Operation
from trivet.core.page import PageRequest
from trivet.core.precondition import Precondition
from trivet.data.database import Contention
from trivet.policies.follow import follow, permit
from trivet.policies.idempotency import REPLAYED
from trivet.transports.graphql.complete import Step, Wrong, complete
from trivet.transports.graphql.errors import Failure
from trivet.transports.graphql.plan import EdgeStep, Location, Pairs, Plan, RootStep, Unit

ENCODER = msgspec.json.Encoder(decimal_format="string")

NULL = b"null"


class FieldCall(Call):
    """One root field on its way through the policies.

    Attributes:
        step: What is asked for.
        variables: As the document declares them.
        decode: Makes the arguments of the variables.
        targets: Where the value goes, each with its path; several where the value is a list with one item for each.
        spread: Whether it is.
        resumed: Whether a page was asked for with a cursor.
        run: What becomes of the value, in the last attempt; ``None`` where nothing can have failed.
    """

    __slots__ = ("decode", "resumed", "run", "spread", "step", "targets", "variables")

    def __init__(
        self, request: Call, operation: Operation[..., Any], step: RootStep, variables: VariableValues
    ) -> None:
        Call.__init__(  # as in `RestCall`
            self,
            operation,
            request.protocol,
            request.method,
            request.peer,
            request.arrival,
            request.request_id,
            request.fields,
            request.principal,
        )
        self.tenant = request.tenant
        self.trace = request.trace
        self.resume_after = request.resume_after
        self.witness = request.witness
        self.step = step
        self.variables = variables
        self.decode: Callable[[VariableValues], Mapping[str, Any]] = step.arguments
        self.targets: Sequence[tuple[Target, list[Step]]] = [(Target(), [step.key])]
        self.spread = False
        self.resumed = False
        self.run: Run | None = None

    async def expanded(self, value: Any) -> Any:
        """Project the value and everything that edges lead to; each attempt of a command begins anew."""
        self.run = Run(self)
        await self.run.expand(value)
        return value

    def encoded(self, value: Any) -> bytes:
        """Return what was projected as JSON; of several targets, whoever gave them."""
        return b"" if self.spread else ENCODER.encode(self.targets[0][0].value)

    def projected(self, value: Any) -> bytes:
        """Project a value from which no edge is followed, and return it as JSON."""
        self.run = None
        step, target = self.step, self.targets[0][0]
        try:
            step.unit.project([(None, target)], (True if step.silent else value,), self.resumed, ())
        except Exception:  # anything that is not as its type says: once more, slowly
            self.run = Run(self)
            self.run.project(value)
        return ENCODER.encode(target.value)

    def release(self) -> None:
        """Let go of what refers back to this call: no request leaves work for the collector."""
        self.expand = self.encode = self.run = None


class Target:
    """Where the value of a root field goes."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: Any = None


class Noted:
    """A failure and where it happened: below a place that a unit fills in an output object."""

    __slots__ = ("error", "key", "location", "path", "problem", "target")

    def __init__(
        self, target: Any, key: str, path: Sequence[Step], location: Location, error: Error, problem: str | None
    ) -> None:
        self.target = target
        self.key = key
        self.path = path
        self.location = location
        self.error = error
        self.problem = problem


class Run:
    """One attempt to make the answer of a root field from its value.

    Args:
        call: The call: edges run in its unit of work.
    """

    __slots__ = ("_call", "noted")

    def __init__(self, call: FieldCall) -> None:
        self._call = call
        self.noted: list[Noted] = []

    def project(self, value: Any) -> list[tuple[EdgeStep, Pairs]]:
        """Project the value, and return which edges are to be followed from where."""
        call, step = self._call, self._call.step
        pairs: Pairs = [(None, target) for target, _ in call.targets]
        values = value if call.spread else [True if step.silent else value]
        return self._fill(step.unit, "", step.location, pairs, values, call.resumed)

    async def expand(self, value: Any) -> None:
        """Project the value and everything that edges lead to."""
        level = self.project(value)
        while level:
            level = [deeper for step, pairs in level for deeper in await self._follow(step, pairs)]

    def failures(self) -> list[Failure]:
        """Return what failed, with paths from the root of the answer."""
        if not self.noted:
            return []
        paths: dict[int, list[Step]] = {}
        for target, path in self._call.targets:
            paths[id(target)] = path
            _walk(target.value, path, paths)
        return [
            Failure(
                noted.error,
                [*paths[id(noted.target)], *([noted.key] if noted.key else []), *noted.path],
                noted.location,
                noted.problem,
            )
            for noted in self.noted
            if id(noted.target) in paths
        ]

    async def _follow(self, step: EdgeStep, pairs: Pairs) -> list[tuple[EdgeStep, Pairs]]:
        """Resolve an edge for all of its parents, and return which edges are to be followed from there."""
        try:
            arguments = step.arguments(self._call.variables)
            values = await follow(step.edge, [parent for parent, _ in pairs], self._call, arguments)
        except Contention:
            raise  # the command has to run again
        except Error as failed:
            return self._failed(step, pairs, failed)
        except GraphQLError as missing:
            return self._failed(step, pairs, InvalidArgument(detail=missing.message))
        except Exception as broken:
            return self._failed(step, pairs, Internal(), broken)
        found: Pairs = []
        there: list[Any] = []
        for pair, value in zip(pairs, values, strict=True):
            if isinstance(value, Error):
                self._failed(step, [pair], value)
            else:
                found.append(pair)
                there.append(value)
        resumed = resumes(arguments)
        return self._fill(step.unit, step.key, step.location, found, there, resumed)

    def _failed(
        self, step: EdgeStep, pairs: Pairs, error: Error, broken: BaseException | None = None
    ) -> list[tuple[EdgeStep, Pairs]]:
        if broken is not None:
            error.__cause__ = broken
        problem = None if broken is None else f"edge {step.edge.edge.source.__name__}.{step.edge.name}"
        self.noted.extend(Noted(target, step.key, (), step.location, error, problem) for _, target in pairs)
        return []

    def _fill(
        self, unit: Unit, key: str, location: Location, pairs: Pairs, values: Sequence[Any], resumed: bool
    ) -> list[tuple[EdgeStep, Pairs]]:
        edges: list[Pairs] = [[] for _ in unit.edges]
        try:
            unit.project(pairs, values, resumed, edges)
        except Exception:  # anything that is not as its type says
            for found in edges:
                found.clear()

            def report(target: Any, wrong: Wrong) -> None:
                where = wrong.location or location
                self.noted.append(Noted(target, key, wrong.path, where, Internal(), wrong.problem))

            complete(unit, pairs, values, resumed, edges, report)
        return [(step, found) for step, found in zip(unit.edges, edges, strict=True) if found]


def resumes(arguments: Mapping[str, Any]) -> bool:
    """Whether a page is asked for with a cursor."""
    for value in arguments.values():  # noqa: SIM110 - a third of what `any` over a generator costs
        if isinstance(value, PageRequest) and value.page_token is not None:
            return True
    return False


def _walk(value: Any, path: list[Step], paths: dict[int, list[Step]]) -> None:
    """Note the path of every output object."""
    if isinstance(value, list):
        for index, item in enumerate(value):
            _walk(item, [*path, index], paths)
    elif isinstance(value, msgspec.Struct) and type(value).__name__ == "Output":
        paths[id(value)] = path
        for name, key in zip(value.__struct_fields__, value.__struct_encode_fields__, strict=True):
            _walk(getattr(value, name), [*path, key], paths)


def bound(inner: Handler) -> Handler:
    """Return what the policies of a root field lead to: decoding of its arguments, then the call."""

    def decode(call: Call) -> Awaitable[Outcome]:
        assert isinstance(call, FieldCall)
        step = call.step
        if step.edges:
            permit(step.edges, call.principal, f"What is selected from {step.field.name}")
        try:
            arguments = call.arguments = call.decode(call.variables)
            if step.field.compares:
                version = step.arguments.given(call.variables).get(IF_VERSION)
                call.precondition = None if version is None else Precondition(match=frozenset((str(version),)))
        except GraphQLError as missing:
            raise InvalidArgument(detail=missing.message) from missing
        call.resumed = resumes(arguments)
        if step.unit.edges or call.spread:
            call.expand = call.expanded
            call.encode = call.encoded
        else:
            call.encode = call.projected
        return inner(call)

    return decode


class Answer:
    """What a plan came to.

    Attributes:
        members: The members of ``data``, encoded.
        failures: What failed.
        replayed: The root fields that are answered with what came of them before.
        age: How many seconds old the data may be, where any of it is from a read model.
    """

    __slots__ = ("age", "failures", "members", "replayed")

    def __init__(self) -> None:
        self.members: dict[str, bytes] = {}
        self.failures: list[Failure] = []
        self.replayed: list[str] = []
        self.age: int | None = None


async def run_root(step: RootStep, request: Call, variables: VariableValues, answer: Answer) -> Answer:
    """Run one root field and put what it came to into the answer, which is returned."""
    assert step.handler is not None
    assert step.field.operation is not None
    call = FieldCall(request, step.field.operation.operation, step, variables)
    call.alarm = request.alarm
    try:
        if request.idempotency_key is not None:  # one request may have several changes: each has its own place
            call.idempotency_key = f"{request.idempotency_key}\0{step.key}"
        outcome = await step.handler(call)
        answer.members[step.key] = outcome.body if outcome.body is not None else NULL
        if call.run is not None:
            answer.failures += call.run.failures()
    except Error as refused:
        answer.members[step.key] = NULL
        answer.failures.append(Failure(refused, [step.key], step.location, None))
    finally:
        if call.notes is not None:
            if REPLAYED in call.notes:
                answer.replayed.append(step.key)
            age = dataage.told(call.notes)
            if age is not None:
                answer.age = max(age, answer.age or 0)
        call.release()
    return answer


RunNode = Callable[[RootStep, Call, VariableValues, Answer], Coroutine[Any, Any, Answer]]
"""Runs a root field that finds things by their global ids."""


def run(
    plan: Plan, request: Call, variables: VariableValues, introspected: Mapping[str, bytes], run_node: RunNode
) -> Awaitable[Answer]:
    """Run a query or a mutation.

    Args:
        plan: What is asked for.
        request: The request that it came with.
        variables: As the document declares them.
        introspected: What the schema says about itself, by the key of the answer.
        run_node: Runs ``node`` and ``nodes``.
    """
    answer = Answer()
    if introspected:
        answer.members.update(introspected)

    def started(step: RootStep) -> Coroutine[Any, Any, Answer]:
        return (run_root if step.handler is not None else run_node)(step, request, variables, answer)

    if len(plan.steps) == 1:  # as nearly always
        return started(plan.steps[0])
    steps = map(started, plan.steps)
    if plan.writes:
        return _one_by_one(steps, answer)
    request.alarm = None  # each has a task of its own, and so an alarm
    return _together(steps, answer)


async def _one_by_one(started: Iterable[Coroutine[Any, Any, Answer]], answer: Answer) -> Answer:
    for one in started:
        await one
    return answer


async def _together(started: Iterable[Coroutine[Any, Any, Answer]], answer: Answer) -> Answer:
    async with asyncio.TaskGroup() as group:
        for one in started:
            group.create_task(one)
    return answer
