"""Wrong apps: each mistake is found when the app is built, with its rule, its place and its mend, and never crashes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any
from uuid import UUID

import pytest

from trivet import (
    App,
    Cache,
    Event,
    Example,
    FaultyApp,
    Http,
    Limit,
    Module,
    NotFound,
    Page,
    PageRequest,
    Patch,
    Read,
    Run,
    Struct,
    Write,
)
from trivet.testing import settings_for_tests


class Shape(Struct):
    id: UUID
    name: str


class Happened(Event):
    shape_id: UUID


class Odd(NotFound, status=99):
    """Has a status that is none."""


async def get_number(ctx: Read, x: int = 1) -> int:
    """Return a number."""
    return x


async def do_nothing(ctx: Write) -> None:
    """Do nothing."""


async def run_nothing(ctx: Run) -> None:
    """Do nothing, later."""


def option(**options: Any) -> Callable[[Module], object]:
    """Declare a query with these options."""
    return lambda m: m.query(**({"public": True} | options))(get_number)


def command(**options: Any) -> Callable[[Module], object]:
    """Declare a command with these options."""
    return lambda m: m.command(**({"public": True} | options))(do_nothing)


def query(handler: Any) -> Callable[[Module], object]:
    """Declare a function as a query."""
    return lambda m: m.query(public=True)(handler)


def handler(function: Any, event: Any = Happened) -> Callable[[Module], object]:
    """Declare a function as a handler of an event."""
    return lambda m: m.on(event)(function)


def edge(source: Any = Shape, **options: Any) -> Callable[[Module], object]:
    """Declare an edge with these options."""

    async def others(ctx: Read, shapes: Sequence[Shape]) -> Sequence[int]:
        return [1 for _ in shapes]

    return lambda m: m.edge(source, "others", **options)(others)


async def positional(ctx: Read, x: int, /) -> int:
    return x


async def by_name(*, ctx: Read) -> int:
    return 1


async def wrong_default(ctx: Read, x: int = "five") -> int:  # type: ignore[assignment]  # that is the point
    return x


async def none_default(ctx: Read, x: int = None) -> int:  # type: ignore[assignment]  # noqa: RUF013 - that is the point
    return x


async def shared_default(ctx: Read, x: list[int] = []) -> int:  # noqa: B006 - that is the point
    return len(x)


async def nothing_given() -> int:
    return 1


async def writes(ctx: Write) -> int:
    return 1


async def everything(ctx: Read, *args: int) -> int:
    return 1


async def untyped_result(ctx: Read):  # type: ignore[no-untyped-def]  # that is the point
    return 1


async def foreign(ctx: Read, x: object) -> int:
    return 1


async def sized_twice(ctx: Read, page: PageRequest, page_size: int = 5) -> Page[Shape]:
    return Page(items=[])


async def unasked(ctx: Read) -> Page[Shape]:
    return Page(items=[])


def not_async(ctx: Read) -> int:
    return 1


async def watch_anything(ctx: Read) -> AsyncIterator:  # type: ignore[type-arg]  # that is the point
    yield 1


async def hear_nothing(ctx: Write) -> None:
    pass


async def hear_more(ctx: Write, event: Happened, more: int) -> None:
    pass


async def hear_else(ctx: Write, event: Shape) -> None:
    pass


def twice(m: Module) -> None:
    """Declare two internal commands of one name."""
    m.command(internal=True)(do_nothing)
    m.command(internal=True)(do_nothing)


WRONG: dict[str, tuple[str, Callable[[Module], object]]] = {
    "nothing says who may call": ("access", lambda m: m.query()(get_number)),  # type: ignore[call-overload]  # the mistake
    "two things say who may call": ("access", option(scope="a")),
    "public is a number": ("access", option(public=1)),
    "a scope is a number": ("access", option(public=None, scope=5)),
    "a scope is two words": ("access", option(public=None, scope="a b")),
    "a scope is empty": ("access", option(public=None, scope="")),
    "acts as something else": ("acts-as", option(public=None, internal=True, acts_as="root")),
    "acts as the module for everybody": ("acts-as", option(acts_as="module")),
    "an option is misspelt": ("declaration", option(timout=5)),
    "an option is another kind's": ("declaration", option(idle=5)),
    "raises no error": ("declaration", option(raises=[ValueError])),
    "raises an instance": ("declaration", option(raises=[NotFound()])),
    "raises is no list": ("declaration", option(raises=NotFound)),
    "timeout is text": ("declaration", option(timeout="5")),
    "timeout is negative": ("declaration", option(timeout=-1)),
    "timeout_max is less than timeout": ("declaration", option(timeout=5, timeout_max=1)),
    "a command has a cache": ("declaration", command(cache=Cache(ttl=1))),
    "a cache is a number": ("declaration", option(cache=60)),
    "a cache has no time": ("declaration", option(cache=Cache(ttl=0))),
    "a limit is a number": ("declaration", option(limits=[5])),
    "a limit is nothing": ("declaration", option(limits=[Limit(quota=0)])),
    "limits is no list": ("declaration", option(limits=Limit(quota=1))),
    "deprecated is a flag": ("declaration", option(deprecated=True)),
    "http is a path": ("declaration", option(http="/x")),
    "http has an unknown method": ("declaration", option(http=Http(method="FETCH"))),  # type: ignore[arg-type]  # the mistake
    "http has an unknown status": ("declaration", option(http=Http(status=700))),
    "http promises no content": ("http-status", option(http=Http(status=204))),
    "http names an unknown parameter": ("path", option(http=Http(path="/x/{y}"))),
    "http is no path": ("path", option(http=Http(path="x//y"))),
    "a command is served under GET": ("declaration", command(http=Http(method="GET"))),
    "priority is text": ("declaration", option(priority="high")),
    "reads somewhere": ("declaration", option(reads="somewhere")),
    "a GraphQL name is none": ("declaration", option(graphql="not a name")),
    "uses no resource": ("declaration", option(uses=["mailer"])),
    "an example is no example": ("declaration", option(examples=[{"x": 1}])),
    "an example has an unknown argument": ("example", option(examples=[Example(arguments={"y": 1})])),
    "an example has another type": ("example", option(examples=[Example(arguments={"x": "one"})])),
    "an example has another result": ("example", option(examples=[Example(result="one")])),
    "a parameter has no name outside": ("signature", query(positional)),
    "the context is given by name": ("signature", query(by_name)),
    "there is no context": ("signature", query(nothing_given)),
    "a query writes": ("signature", query(writes)),
    "any number of arguments": ("signature", query(everything)),
    "the result has no type": ("signature", query(untyped_result)),
    "it is not asynchronous": ("signature", query(not_async)),
    "it is no function": ("signature", query(5)),
    "a stream of anything": ("signature", lambda m: m.stream(public=True)(watch_anything)),
    "a stream is a query": ("signature", lambda m: m.stream(public=True)(get_number)),  # type: ignore[arg-type]  # the mistake
    "a default has another type": ("default", query(wrong_default)),
    "a default is None": ("default", query(none_default)),
    "a default is shared": ("default", query(shared_default)),
    "a type is no shape": ("type", query(foreign)),
    "a page is asked for twice": ("paging", query(sized_twice)),
    "a page is not asked for": ("paging", query(unasked)),
    "two internal operations of one name": ("operation-id", twice),
    "an error has no status": ("error-status", option(raises=[Odd])),
    "an edge that nobody may follow": ("access", edge()),
    "an edge that is internal": ("access", edge(internal=True)),
    "an edge of a name": ("edge", edge("Shape", public=True)),
    "an edge of a number": ("edge", edge(int, public=True)),
    "a handler without its event": ("handler-signature", handler(hear_nothing)),
    "a handler that wants more": ("handler-signature", handler(hear_more)),
    "a handler of another event": ("handler-signature", handler(hear_else)),
    "a handler of a shape": ("handler-event", handler(hear_else, Shape)),
    "a handler of a name": ("handler-event", handler(hear_else, "Happened")),
    "a handler that is not asynchronous": ("handler-async", handler(not_async)),
}


@pytest.mark.parametrize("mistake", WRONG)
def test_a_mistake_in_a_module_is_a_fault_with_place_and_mend(mistake: str) -> None:
    rule, declare = WRONG[mistake]
    module = Module("wrong")
    declare(module)
    with pytest.raises(FaultyApp) as refused:
        App("wrong", modules=[module], settings=settings_for_tests()).build()
    faults = [fault for fault in refused.value.faults if fault.rule == rule]
    assert faults, refused.value
    assert all(fault.mend and fault.problem for fault in faults)
    if mistake != "it is no function":
        assert all(fault.place.file == __file__ and fault.place.line > 0 for fault in faults)


@pytest.mark.parametrize(
    ("rule", "build"),
    [
        ("app", lambda: App("wrong", modules=[])),
        ("app", lambda: App("wrong", modules=["catalog"])),  # type: ignore[list-item]  # the mistake
        ("app", lambda: App("wrong", modules=(m := Module("m"), m))),
        ("app", lambda: App("wrong", modules=[Module("m")], resources=["mailer"])),  # type: ignore[list-item]  # the mistake
        ("mount", lambda: App("wrong", modules=[Module("m")], mounts={"/old": 5})),  # type: ignore[dict-item]  # the mistake
        ("mount", lambda: App("wrong", modules=[Module("m")], mounts={"old/": do_nothing})),  # type: ignore[dict-item]  # the mistake
        ("module-name", lambda: App("wrong", modules=[Module("m"), Module("m")])),
        ("module-name", lambda: App("wrong", modules=[Module(5)])),  # type: ignore[arg-type]  # the mistake
        ("module-version", lambda: App("wrong", modules=[Module("m", version=1)])),  # type: ignore[arg-type]  # the mistake
        ("module-uses", lambda: App("wrong", modules=[Module("m", uses=["x"])])),  # type: ignore[list-item]  # the mistake
        ("module-uses", lambda: App("wrong", modules=[Module("m", uses=Module("n"))])),  # type: ignore[arg-type]  # the mistake
        ("module-uses", lambda: App("wrong", modules=[Module("m", uses=[Module("n")])])),
    ],
)
def test_a_mistake_in_an_app_is_a_fault_with_place_and_mend(rule: str, build: Callable[[], App]) -> None:
    app = build()
    app._settings = settings_for_tests()
    with pytest.raises(FaultyApp) as refused:
        app.build()
    faults = [fault for fault in refused.value.faults if fault.rule == rule]
    assert faults, refused.value
    assert all(fault.mend and fault.place.file == __file__ for fault in faults)


def test_defaults_and_examples_that_fit_are_no_faults() -> None:
    m = Module("right")

    @m.command(
        public=True,
        timeout=1,
        examples=[
            Example(arguments={"id": UUID(int=1), "changes": {"name": "x"}}, result=Shape(id=UUID(int=1), name="x"))
        ],
    )
    async def update_shape(ctx: Write, id: UUID, changes: Patch[Shape], tags: tuple[str, ...] = ("a",)) -> Shape:
        """Change a shape."""
        return Shape(id=id, name="x")

    @m.query(public=True, plural="shapes")
    async def get_shape(ctx: Read, id: UUID) -> Shape:
        """Return a shape."""
        return Shape(id=id, name="x")

    App("right", modules=[m], settings=settings_for_tests()).build()


async def test_a_failed_start_shows_where_it_comes_from() -> None:
    async def seed(seeding: Any) -> None:
        raise LookupError("nothing to seed with")

    from msgspec.structs import replace

    m = Module("right")
    m.command(public=True)(do_nothing)
    settings = replace(settings_for_tests(), environment="development")
    app = App("right", modules=[m], seed=seed, settings=settings)
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "lifespan.startup"}

    async def send(message: Any) -> None:
        sent.append(message)

    with pytest.raises(LookupError) as raised:
        await app({"type": "lifespan"}, receive, send)
    assert raised.traceback[-1].name == "seed"
    assert sent == [{"type": "lifespan.startup.failed", "message": "nothing to seed with"}]
