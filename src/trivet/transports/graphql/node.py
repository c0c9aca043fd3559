"""Things by their global ids (``node``, ``nodes``): each by the operation that reads it, under that one's policies."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from graphql import GraphQLError
from graphql.execution.values import VariableValues

from trivet.contracts.graphql.schema import read_global_id
from trivet.contracts.model import ApiOperation
from trivet.core.call import Call, Handler
from trivet.core.decode import Decoder
from trivet.core.error import Error, InvalidArgument, NotFound, Violation
from trivet.core.page import MAX_PAGE_SIZE
from trivet.transports.graphql.complete import Step
from trivet.transports.graphql.errors import Failure
from trivet.transports.graphql.execute import ENCODER, NULL, Answer, FieldCall, Target
from trivet.transports.graphql.plan import RootStep

Places = list[tuple[Target, list[Step]]]


class Nodes:
    """Finds things by their global ids.

    Args:
        known: The operations that read one, and many, of each type.
        handler: Returns what runs an operation as a root field.
    """

    def __init__(
        self,
        known: Mapping[str, tuple[ApiOperation, ApiOperation | None]],
        handler: Callable[[ApiOperation], Handler],
    ) -> None:
        self._known = known
        self._handler = handler
        self._decoders: dict[str, Decoder[Any]] = {}

    async def __call__(self, step: RootStep, request: Call, variables: VariableValues, answer: Answer) -> Answer:
        """Run the root field and put what it came to into the answer, which is returned."""
        try:
            given = step.arguments.given(variables)
            many = step.field.node == "nodes"
            ids: list[str] = given["ids"] if many else [given["id"]]
            if len(ids) > MAX_PAGE_SIZE:
                violation = Violation(detail=f"takes at most {MAX_PAGE_SIZE} items", pointer="#/ids")
                raise InvalidArgument(violations=(violation,))
        except (GraphQLError, InvalidArgument) as refused:
            error = refused if isinstance(refused, Error) else InvalidArgument(detail=refused.message)
            answer.members[step.key] = NULL
            answer.failures.append(Failure(error, [step.key], step.location, None))
            return answer
        places: Places = [(Target(), [step.key, n] if many else [step.key]) for n in range(len(ids))]
        wanted: dict[str, list[tuple[str, tuple[Target, list[Step]]]]] = {}
        for text, place in zip(ids, places, strict=True):
            found = read_global_id(text)
            if found is None or found[0] not in self._known:
                refusal = InvalidArgument(violations=(Violation(detail="is no global id", pointer="#/id"),))
                answer.failures.append(Failure(refusal, place[1], step.location, None))
            else:
                wanted.setdefault(found[0], []).append((found[1], place))
        async with asyncio.TaskGroup() as group:
            for name, asked in wanted.items():
                one, batch = self._known[name]
                if batch is not None and many:
                    group.create_task(self._find(batch, step, request, variables, answer, asked, batched=True))
                else:
                    for each in asked:
                        group.create_task(self._find(one, step, request, variables, answer, [each], batched=False))
        values = [target.value for target, _ in places]
        answer.members[step.key] = ENCODER.encode(values if many else values[0])
        return answer

    async def _find(
        self,
        op: ApiOperation,
        step: RootStep,
        request: Call,
        variables: VariableValues,
        answer: Answer,
        asked: Sequence[tuple[str, tuple[Target, list[Step]]]],
        batched: bool,
    ) -> None:
        call = FieldCall(request, op.operation, step, variables)
        call.targets = [place for _, place in asked]
        call.spread = batched
        ids = [id for id, _ in asked]
        name = "ids" if batched else "id"
        call.decode = lambda _: {name: self._decoder(op, name).convert(ids if batched else ids[0], text=True)}
        try:
            await self._handler(op)(call)
            if call.run is not None:
                answer.failures += call.run.failures()
        except NotFound:
            pass  # null says it
        except Error as refused:
            answer.failures += [Failure(refused, path, step.location, None) for _, path in call.targets]
        finally:
            call.release()

    def _decoder(self, op: ApiOperation, name: str) -> Decoder[Any]:
        found = self._decoders.get(op.id)
        if found is None:
            parameter = op.signature.parameter(name)
            assert parameter is not None  # looked for when the types were read
            found = self._decoders[op.id] = Decoder[Any](parameter.type)
        return found
