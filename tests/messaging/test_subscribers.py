"""Names of event types, and who gets what."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from trivet.core.event import Event
from trivet.core.module import Module
from trivet.messaging.message import Message, MessageKind
from trivet.messaging.subscribers import Subscribers, check

early = Module("early")


class Opened(Event):
    id: str


late = Module("late")


class Closed(Event):
    id: str


def message(kind: MessageKind, type: str) -> Message:
    return Message(
        id=UUID(int=1), kind=kind, type=type, major=1, module="early", payload=b"{}", create_time=datetime.now(UTC)
    )


def test_an_event_belongs_to_the_module_declared_above_it_in_its_file() -> None:
    names = Subscribers([late, early]).names
    assert names.of(Opened) == "early.Opened"
    assert names.of(Closed) == "late.Closed"


def test_an_event_of_another_directory_belongs_to_no_module_of_this_one() -> None:
    foreign = type("Foreign", (Event,), {"__module__": "trivet.core.event", "__annotations__": {"id": str}})
    assert Subscribers([early]).names.of(foreign) == "Foreign"


def test_every_subscriber_of_an_event_gets_it_and_only_the_operation_a_request() -> None:
    module = Module("shop")

    @module.on(Opened)
    async def first(ctx: Any, event: Opened) -> None: ...

    @module.on(Opened)
    async def second(ctx: Any, event: Opened) -> None: ...

    @module.on(Closed)
    async def third(ctx: Any, event: Closed) -> None: ...

    @module.command(internal=True)
    async def tidy(ctx: Any) -> None: ...

    subscribers = Subscribers([early, late, module])
    assert subscribers.of(message(MessageKind.EVENT, "early.Opened")) == ("shop.first", "shop.second")
    assert subscribers.of(message(MessageKind.EVENT, "early.Unknown")) == ()
    assert subscribers.of(message(MessageKind.COMMAND, "shop.tidy")) == ("shop.tidy",)
    assert subscribers.ids == ["shop.first", "shop.second", "shop.third", "shop.tidy"]


def test_two_handlers_of_one_name_are_a_fault() -> None:
    module = Module("shop")

    def declare() -> None:
        @module.on(Opened)
        async def handle(ctx: Any, event: Opened) -> None: ...

    declare()
    declare()
    assert [fault.rule for fault in check([module])] == ["handler-name"]


def test_one_handler_of_two_events_is_none() -> None:
    module = Module("shop")

    async def handle(ctx: Any, event: Event) -> None: ...

    module.on(Opened)(handle)
    module.on(Closed)(handle)
    assert check([early, late, module]) == []


def test_a_handler_that_is_not_async_is_a_fault() -> None:
    module = Module("shop")

    @module.on(Opened)  # type: ignore[arg-type]  # the fault under test
    def handle(ctx: Any, event: Opened) -> None: ...

    assert [fault.rule for fault in check([module])] == ["handler-async"]


def test_two_events_of_one_name_are_a_fault() -> None:
    module = Module("shop")

    def another() -> type[Event]:
        class Opened(Event):
            id: str

        return Opened

    for number in (1, 2):

        async def handle(ctx: Any, event: Event) -> None: ...

        handle.__name__ = f"handle_{number}"
        module.on(another())(handle)
    assert [fault.rule for fault in check([module])] == ["event-name"]
