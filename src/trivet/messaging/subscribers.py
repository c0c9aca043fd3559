"""Who gets which message, and with how much time: decided when the app is built."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from trivet.core.declaration import Kind
from trivet.core.event import Event
from trivet.core.fault import Fault
from trivet.core.module import Module, Subscription
from trivet.core.operation import Operation
from trivet.core.shape import Struct
from trivet.core.tolerant import tolerant
from trivet.messaging.message import Message, MessageKind
from trivet.messaging.names import EventNames

EVENT_SECONDS = 10.0
"""How long the handler of an event may take."""


class EventTarget(Struct):
    """A subscription with what it needs to run.

    Attributes:
        subscription: The handler, and the module whose rights it has.
        decode: Reads the event from JSON, also what a newer version wrote.
        seconds: How long it may take.
    """

    subscription: Subscription
    decode: Callable[[bytes], Event]
    seconds: float = EVENT_SECONDS


class RequestTarget(Struct):
    """An operation that can be requested for later.

    Attributes:
        operation: The command or job.
        seconds: How long a command may take; a job takes what it takes.
    """

    operation: Operation[..., Any]
    seconds: float


class Subscribers:
    """Every subscription, command and job of an app by the name under which deliveries are kept.

    Args:
        modules: The modules of the app.
        elsewhere: Modules of another process, whose commands are delivered to it.
    """

    def __init__(self, modules: Sequence[Module], elsewhere: Sequence[Module] = ()) -> None:
        self.names = EventNames(modules)
        self._by_type: dict[str, tuple[str, ...]] = {}
        self._events: dict[tuple[str, str], EventTarget] = {}
        self._requests: dict[str, RequestTarget] = {}
        for module in modules:
            for subscription in module.subscriptions:
                self._subscribe(subscription)
            for operation in module.operations:
                if operation.kind in (Kind.COMMAND, Kind.JOB):
                    self._request(operation)
        for module in elsewhere:
            for operation in module.operations:
                if operation.kind is Kind.COMMAND:
                    self._request(operation)

    def _request(self, operation: Operation[..., Any]) -> None:
        seconds = operation.declaration.timeout
        self._requests[operation.id] = RequestTarget(operation=operation, seconds=seconds)

    def _subscribe(self, subscription: Subscription) -> None:
        name = self.names.of(subscription.event)
        known = self._by_type.get(name, ())
        if subscription.id not in known:
            self._by_type[name] = (*known, subscription.id)
        self._events[subscription.id, name] = EventTarget(
            subscription=subscription, decode=tolerant(subscription.event)
        )

    @property
    def ids(self) -> Sequence[str]:
        """Every name under which this app accepts deliveries."""
        return sorted({subscriber for subscriber, _ in self._events} | set(self._requests))

    def of(self, message: Message) -> Sequence[str]:
        """Return who gets the message: each subscriber of an event, or the operation of a request."""
        if message.kind is MessageKind.EVENT:
            return self._by_type.get(message.type, ())
        return (message.type,)

    def event(self, subscriber: str, type: str) -> EventTarget | None:
        """Return the subscription to that type, ``None`` when this process has none."""
        return self._events.get((subscriber, type))

    def request(self, subscriber: str) -> RequestTarget | None:
        """Return the operation, ``None`` when this process has none of that name."""
        return self._requests.get(subscriber)

    def seconds(self, subscriber: str, message: Message) -> float:
        """Return how long the subscriber may take for the message; nothing where this process does not know it."""
        if message.kind is MessageKind.EVENT:
            target = self.event(subscriber, message.type)
            return target.seconds if target else 0.0
        request = self.request(subscriber)
        return request.seconds if request else 0.0


def check(modules: Sequence[Module]) -> list[Fault]:
    """Return what is wrong with the subscriptions of an app."""
    names = EventNames(modules)
    faults: list[Fault] = []
    taken: dict[str, Subscription] = {}
    for subscription in (s for module in modules for s in module.subscriptions):
        faults.extend(_faults_of(subscription, names, taken))
        taken.setdefault(subscription.id, subscription)
    return faults


def _faults_of(subscription: Subscription, names: EventNames, taken: Mapping[str, Subscription]) -> list[Fault]:
    found: list[Fault] = []

    def fault(rule: str, problem: str, mend: str) -> None:
        found.append(
            Fault(rule=rule, place=subscription.place, problem=f"handler {subscription.id}: {problem}", mend=mend)
        )

    if not inspect.iscoroutinefunction(subscription.handler):
        fault("handler-async", "is not an async function", "Write `async def`.")
    if not (isinstance(subscription.event, type) and issubclass(subscription.event, Event)):
        fault("handler-event", f"{subscription.event!r} is not an event", "Name a subclass of trivet.Event.")
    else:
        try:
            names.of(subscription.event)
        except ValueError as clash:
            fault("event-name", str(clash), "The name is how the store knows the type.")
    first = taken.get(subscription.id)
    if first is not None and first.handler is not subscription.handler:
        fault(
            "handler-name",
            f"another handler of that name is at {first.place}",
            "Rename one: the name is how the store knows which deliveries are whose.",
        )
    return found
