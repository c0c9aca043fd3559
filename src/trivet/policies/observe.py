"""What happened: one access line and a handful of numbers per request, never a payload.

Every exception that is not a domain error becomes `Internal` here, with its traceback in the log under the request id
that the caller sees.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import msgspec

from trivet.core.call import Call, Handler, Outcome
from trivet.core.declaration import Kind
from trivet.core.error import Code, Error, Internal
from trivet.core.operation import Operation
from trivet.runtime import Runtime
from trivet.telemetry.metrics import CounterChild, HistogramChild
from trivet.telemetry.trace import trace_of

UNROUTED = "unrouted"
"""The operation's name in metrics where there is none."""


class AccessLine(msgspec.Struct, omit_defaults=True):
    """One request in the log; made of values in this order, which costs a fifth of naming them."""

    time: datetime
    level: str
    message: str
    request_id: str
    trace_id: str
    operation: str
    protocol: str
    method: str
    status: int
    code: str
    duration_ms: float
    bytes: int
    principal: str = ""
    tenant: str | None = None
    client: str | None = None
    peer: str | None = None


class Numbers:
    """The metrics of one operation over one protocol, bound at the first request that ends with each code."""

    __slots__ = ("_by_code", "_bytes", "_name", "_requests", "_seconds", "in_flight")

    def __init__(self, name: str, protocol: str, runtime: Runtime) -> None:
        metrics = runtime.metrics
        labels = ("operation", "protocol")
        self._name = (name, protocol)
        self._requests = metrics.counter(
            "trivet_requests_total", "Requests by how they ended.", ["operation", "protocol", "code"]
        )
        self._seconds: HistogramChild = metrics.histogram(
            "trivet_request_seconds", "Time from arrival to the last byte sent.", labels
        ).bind(name, protocol)
        self._bytes: CounterChild = metrics.counter(
            "trivet_response_bytes_total", "Bytes of response bodies.", labels
        ).bind(name, protocol)
        self.in_flight = metrics.gauge("trivet_requests_in_flight", "Requests that are being answered.").bind()
        self._by_code: dict[str, CounterChild] = {}

    def ended(self, code: str, seconds: float, size: int) -> None:
        """Count a request that ended with this code after so many seconds and bytes."""
        child = self._by_code.get(code)
        if child is None:
            child = self._by_code[code] = self._requests.bind(*self._name, code)
        child.value += 1
        self.in_flight.value -= 1
        self._seconds.observe(seconds)
        self._bytes.value += size


def observe(operation: Operation[..., Any] | None, runtime: Runtime, next: Handler) -> Handler:
    """Give the call its trace, catch what it ends with, and write its line once the transport has sent everything."""
    name = operation.id if operation is not None else UNROUTED
    streams = operation is not None and operation.kind is Kind.STREAM
    clock, log, sink = runtime.clock, runtime.log, runtime.sink
    logged = sink.enabled("info")
    by_protocol: dict[str, Numbers] = {}

    def finished(call: Call, status: int, size: int) -> None:
        numbers = by_protocol[call.protocol]
        seconds = clock.monotonic() - call.arrival
        code = call.code.name if call.code is not None else "OK"
        numbers.ended(code, seconds, size)
        if not logged:
            return
        duration_ms = round(seconds * 1e6) / 1000  # a fifth of what rounding to three digits costs
        if sink.format != "json":
            shown = f"{call.method} {status} {duration_ms:g} ms"
            sink.line("info", shown, {"operation": name, "code": code, "request_id": call.request_id})
            return
        assert call.trace is not None  # `observed` gave it one
        principal = call.principal
        line = AccessLine(
            clock.now(),
            "info",
            "request",
            call.request_id,
            call.trace.trace_id,
            name,
            call.protocol,
            call.method,
            status,
            code,
            duration_ms,
            size,
            principal.subject,
            call.tenant,
            principal.client_id,
            call.peer,
        )
        sink.soon(line)

    async def observed(call: Call) -> Outcome:
        numbers = by_protocol.get(call.protocol)
        if numbers is None:
            numbers = by_protocol[call.protocol] = Numbers(name, call.protocol, runtime)
        numbers.in_flight.value += 1
        call.trace = trace_of(call.fields)
        call.observer = finished
        try:
            outcome = await next(call)
        except Error as refused:
            call.code, call.error = refused.code, refused
            raise
        except asyncio.CancelledError:
            call.code = Code.CANCELLED
            raise
        except Exception as broken:
            call.code, call.error = Code.INTERNAL, broken
            log.failure("unexpected error", broken, request_id=call.request_id, operation=name)
            raise Internal from broken
        if streams:
            outcome.value = watched(outcome.value, call)
        return outcome

    async def watched(items: AsyncIterator[Any], call: Call) -> AsyncIterator[Any]:
        try:
            async for item in items:
                yield item
        except Error as refused:
            call.code, call.error = refused.code, refused
            raise
        except (asyncio.CancelledError, GeneratorExit):
            call.code = call.code or Code.CANCELLED
            raise
        except Exception as broken:
            call.code, call.error = Code.INTERNAL, broken
            log.failure("unexpected error", broken, request_id=call.request_id, operation=name)
            raise Internal from broken
        finally:
            close = getattr(items, "aclose", None)
            if close is not None:
                await close()

    return observed


def observe_field(operation: Operation[..., Any] | None, runtime: Runtime, next: Handler) -> Handler:
    """Count the operation of one root field like a request of its own; the request that it came with has the line."""
    if operation is None:
        return next
    name = operation.id
    clock, log = runtime.clock, runtime.log
    by_protocol: dict[str, Numbers] = {}

    async def observed(call: Call) -> Outcome:
        numbers = by_protocol.get(call.protocol)
        if numbers is None:
            numbers = by_protocol[call.protocol] = Numbers(name, call.protocol, runtime)
        numbers.in_flight.value += 1
        code = "OK"
        try:
            return await next(call)
        except Error as refused:
            code = refused.code.name
            raise
        except asyncio.CancelledError:
            code = Code.CANCELLED.name
            raise
        except Exception as broken:
            code = Code.INTERNAL.name
            log.failure("unexpected error", broken, request_id=call.request_id, operation=name)
            raise Internal from broken
        finally:
            numbers.ended(code, clock.monotonic() - call.arrival, 0)

    return observed


def observe_nested(operation: Operation[..., Any] | None, runtime: Runtime, next: Handler) -> Handler:
    """Count calls from one operation to another by how they end."""
    if operation is None:
        return next
    calls = runtime.metrics.counter(
        "trivet_nested_calls_total", "Calls from one operation to another by how they ended.", ["operation", "code"]
    )
    succeeded = calls.bind(operation.id, "OK")

    async def counted(call: Call) -> Outcome:
        try:
            outcome = await next(call)
        except Error as refused:
            calls.bind(operation.id, refused.code.name).inc()
            raise
        succeeded.inc()
        return outcome

    return counted
