"""Subscriptions: one response for each item of a stream, pulled when the last one is sent.

A stream that is quiet for long, or old, is cut by its policy. A subscription outlives that: where the stream follows
events, it is run again after the last event that it saw, through the policies of its field, so that credentials are
looked at again. Nothing is lost and nothing comes twice.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from graphql.execution.values import VariableValues

from trivet.core.call import Call
from trivet.core.error import Error, Internal
from trivet.transports.graphql.errors import Failure
from trivet.transports.graphql.execute import ENCODER, NULL, Answer, FieldCall, Run, Target
from trivet.transports.graphql.plan import Plan

if TYPE_CHECKING:
    from trivet.transports.graphql.service import GraphqlService


async def subscribe(
    service: GraphqlService, plan: Plan, variables: VariableValues, request: Call
) -> AsyncIterator[bytes]:
    """Yield a response for each item; the last one says what failed, if something did.

    Args:
        service: Of the app.
        plan: Of a subscription: it has one root field.
        variables: As the document declares them.
        request: The request that it came with; its position follows that of the stream.

    Raises:
        Error: The stream could not be begun.
    """
    [step] = plan.steps
    assert step.handler is not None
    assert step.field.operation is not None
    began = False
    while True:
        call = FieldCall(request, step.field.operation.operation, step, variables)
        try:
            outcome = await step.handler(call)
            began = True
            async for item in outcome.value:
                request.position = call.position
                yield service.response(plan, await _answer(call, item), request)
        except Error as failed:
            if not began:
                raise
            yield service.response(plan, _failed(call, failed), request)
            return
        except Exception as broken:
            service.runtime.log.failure("unexpected error", broken, request_id=request.request_id)
            yield service.response(plan, _failed(call, Internal()), request)
            return
        finally:
            call.release()
        if not call.cut or call.position is None:
            return
        request.resume_after = str(call.position)


async def _answer(call: FieldCall, item: object) -> Answer:
    """Return the answer that an item is, with everything that edges lead to from it."""
    call.targets = [(Target(), [call.step.key])]
    run = call.run = Run(call)
    await run.expand(item)
    answer = Answer()
    answer.members[call.step.key] = ENCODER.encode(call.targets[0][0].value)
    answer.failures = run.failures()
    return answer


def _failed(call: FieldCall, error: Error) -> Answer:
    answer = Answer()
    answer.members[call.step.key] = NULL
    answer.failures = [Failure(error, [call.step.key], call.step.location, None)]
    return answer
