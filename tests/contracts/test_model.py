"""The model of an API: what it reads from modules, and every fault that it finds, with both culprits and a mend."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any
from uuid import UUID

import pytest

from trivet import Cache, Event, Http, Meta, Module, NotFound, Page, PageRequest, Read, Struct, Write
from trivet.contracts.describe import describe
from trivet.contracts.expansion import expansions_of
from trivet.contracts.lint import lint
from trivet.contracts.model import Api
from trivet.contracts.paths import path_shape, template_problem
from trivet.core.error import Error
from trivet.core.fault import Fault


class Thing(Struct):
    """Something."""

    id: UUID
    name: str


class Other(Struct):
    """Something else."""

    id: UUID


class Happened(Event):
    """It happened."""

    thing_id: UUID


class Opaque:
    """What no protocol can carry."""


def described(*modules: Module, **options: Any) -> tuple[Api, list[Fault]]:
    return describe("test", modules, **options)


def thing_module(name: str = "things", **options: Any) -> Module:
    module = Module(name, **options)

    @module.query(public=True)
    async def get_thing(ctx: Read, id: UUID) -> Thing:
        """Return one thing."""
        raise NotFound

    @module.query(public=True)
    async def list_things(ctx: Read, page: PageRequest) -> Page[Thing]:
        """List things."""
        raise NotFound

    return module


def test_every_operation_gets_its_faces_and_types() -> None:
    api, faults = described(thing_module())
    assert faults == []
    get, listed = api.operations
    assert (get.id, get.face.method, get.path, get.face.graphql, get.face.rpc) == (
        "things.get_thing",
        "GET",
        "/v1/things/{id}",
        "thing",
        "GetThing",
    )
    assert listed.result.many
    assert listed.result.shape is Thing
    assert get.summary == "Return one thing."


def test_internal_operations_are_not_part_of_it() -> None:
    module = thing_module()

    @module.command(internal=True)
    async def touch_thing(ctx: Write, id: UUID) -> None:
        """Do nothing."""

    assert [op.operation.name for op in described(module)[0].operations] == ["get_thing", "list_things"]


@pytest.mark.parametrize(("style", "path"), [("colon", "/v1/things/{id}:mend"), ("slash", "/v1/things/{id}/mend")])
def test_custom_methods_are_written_as_the_app_says(style: Any, path: str) -> None:
    module = thing_module()

    @module.command(public=True)
    async def mend_thing(ctx: Write, id: UUID) -> None:
        """Mend it."""

    api, _ = described(module, custom_methods=style)
    assert api.operations[-1].path == path


def test_a_job_brings_the_operations_that_tell_its_status_and_cancel_it() -> None:
    module = thing_module()

    @module.job(public=True)
    async def export_things(ctx: Any) -> None:
        """Export them."""

    api, faults = described(module)
    assert faults == []
    assert [(op.id, op.face.method, op.path) for op in api.operations[-2:]] == [
        ("jobs.get_job", "GET", "/v1/jobs/{id}"),
        ("jobs.cancel_job", "POST", "/v1/jobs/{id}:cancel"),
    ]


# -- faults


def unresolved(module: Module) -> None:
    @module.query(public=True)
    async def get_it(ctx: Read, id: Nowhere) -> Thing: ...  # type: ignore[name-defined,empty-body]  # noqa: F821 - the point


def unannotated(module: Module) -> None:
    @module.query(public=True)
    async def get_it(ctx: Read, id) -> Thing: ...  # type: ignore[no-untyped-def,empty-body]  # the point


def opaque_input(module: Module) -> None:
    @module.command(public=True)
    async def mend_thing(ctx: Write, id: UUID, how: Opaque) -> None: ...


def opaque_result(module: Module) -> None:
    @module.query(public=True)
    async def look(ctx: Read) -> list[Opaque]: ...  # type: ignore[empty-body]  # never runs


def page_unasked(module: Module) -> None:
    @module.query(public=True)
    async def find_things(ctx: Read) -> Page[Thing]: ...  # type: ignore[empty-body]  # never runs


def no_page(module: Module) -> None:
    @module.query(public=True)
    async def find_things(ctx: Read, page: PageRequest) -> list[Thing]: ...  # type: ignore[empty-body]  # never runs


def two_pages(module: Module) -> None:
    @module.query(public=True)
    async def find_things(ctx: Read, page: PageRequest, other: PageRequest) -> Page[Thing]: ...  # type: ignore[empty-body]  # never runs


def id_of_no_scalar(module: Module) -> None:
    @module.command(public=True)
    async def mend_thing(ctx: Write, id: dict[str, str]) -> None: ...


def ids_of_no_list(module: Module) -> None:
    @module.query(public=True)
    async def get_things(ctx: Read, ids: UUID) -> list[Thing]: ...  # type: ignore[empty-body]  # never runs


def same_name(module: Module) -> None:
    for _ in range(2):

        @module.command(public=True)
        async def mend_thing(ctx: Write, id: UUID) -> None: ...


def same_route(module: Module) -> None:
    @module.query(public=True, http=Http(path="/things/{key}"))
    async def peek(ctx: Read, key: str) -> Thing: ...  # type: ignore[empty-body]  # never runs


def same_graphql_name(module: Module) -> None:
    @module.query(public=True, graphql="thing")
    async def peek(ctx: Read, key: str) -> Thing: ...  # type: ignore[empty-body]  # never runs


def same_rpc_name(module: Module) -> None:
    @module.query(public=True, rpc="GetThing")
    async def peek(ctx: Read, key: str) -> Thing: ...  # type: ignore[empty-body]  # never runs


def bad_path(module: Module) -> None:
    @module.query(public=True, http=Http(path="/a b"))
    async def peek(ctx: Read) -> Thing: ...  # type: ignore[empty-body]  # never runs


def unknown_path_parameter(module: Module) -> None:
    @module.query(public=True, http=Http(path="/peek/{other}"))
    async def peek(ctx: Read, key: str) -> Thing: ...  # type: ignore[empty-body]  # never runs


def two_plurals(module: Module) -> None:
    @module.query(public=True, plural="stuff")
    async def peek_thing(ctx: Read, id: UUID) -> Thing: ...  # type: ignore[empty-body]  # never runs


def edge_like_a_field(module: Module) -> None:
    @module.edge(Thing, "name", public=True)
    async def name(ctx: Read, things: Sequence[Thing]) -> Sequence[str]: ...  # type: ignore[empty-body]  # never runs


def edge_twice(module: Module) -> None:
    for _ in range(2):

        @module.edge(Thing, "other", public=True)
        async def other(ctx: Read, things: Sequence[Thing]) -> Sequence[Other]: ...  # type: ignore[empty-body]  # never runs


def edge_of_one(module: Module) -> None:
    @module.edge(Thing, "other", public=True)  # type: ignore[arg-type]  # the point
    async def other(ctx: Read, things: Sequence[Thing]) -> Other: ...  # type: ignore[empty-body]  # never runs


def edge_page_unasked(module: Module) -> None:
    @module.edge(Thing, "others", public=True)
    async def others(ctx: Read, things: Sequence[Thing]) -> Sequence[Page[Other]]: ...  # type: ignore[empty-body]  # never runs


class Broken(NotFound):
    """It is broken."""

    status: int  # type: ignore[misc]  # the point


class Gone(NotFound):
    """It is gone."""


class AlsoGone(NotFound, reason="GONE"):
    """It is gone as well."""


class Long(NotFound, reason="X" * 64):
    """It has a long reason."""


def raising(*errors: type[Error]) -> Callable[[Module], None]:
    def add(module: Module) -> None:
        @module.command(public=True, raises=errors)
        async def mend_thing(ctx: Write, id: UUID) -> None: ...

    return add


def tagged(tag: str) -> Callable[[Module], None]:
    def add(module: Module) -> None:
        @module.query(public=True, cache=Cache(ttl=60, tags=("things", "thing:{id}", tag)))
        async def look_at_thing(ctx: Read, id: UUID, colour: str = "") -> Thing:
            raise NotImplementedError

    return add


@pytest.mark.parametrize("tag", ["thing:{id}:{colour}", "{id}", "{{id}}", ""])
def test_a_tag_of_an_answer_may_name_any_parameter(tag: str) -> None:
    module = thing_module()
    tagged(tag)(module)
    assert described(module)[1] == []


@pytest.mark.parametrize(
    ("add", "rule", "said"),
    [
        (unresolved, "signature", ["things.get_it", "Nowhere"]),
        (unannotated, "signature", ["without a type: id"]),
        (opaque_input, "type", ["things.mend_thing: how", "Opaque"]),
        (opaque_result, "type", ["things.look: result"]),
        (page_unasked, "paging", ["things.find_things"]),
        (no_page, "paging", ["things.find_things"]),
        (two_pages, "paging", ["page, other"]),
        (id_of_no_scalar, "id-type", ["things.mend_thing: id"]),
        (ids_of_no_list, "id-type", ["things.get_things: ids"]),
        (same_name, "operation-id", ["things.mend_thing", "is said twice"]),
        (same_route, "route", ["things.peek", "things.get_thing", "GET /v1/things/{}"]),
        (same_graphql_name, "graphql-name", ["things.peek", "things.get_thing", "Query thing"]),
        (same_rpc_name, "rpc-name", ["things.peek", "things.get_thing", "things.v1 GetThing"]),
        (bad_path, "path", ["/v1/a b"]),
        (unknown_path_parameter, "path", ["'other' is no parameter"]),
        (two_plurals, "collection", ["things.peek_thing", "'stuff'"]),
        (edge_like_a_field, "edge-name", ["Thing.name"]),
        (edge_twice, "edge", ["Thing.other", "is said twice"]),
        (edge_of_one, "signature", ["Thing.other"]),
        (edge_page_unasked, "paging", ["Thing.others"]),
        (raising(Broken), "error-field", ["Broken", "status"]),
        (raising(Gone, AlsoGone), "reason", ["GONE", "Gone", "AlsoGone"]),
        (raising(Long), "reason", ["Long", "63"]),
        (tagged("thing:{color}"), "cache-tag", ["things.look_at_thing", "'thing:{color}'", "'color'"]),
        (tagged("thing:{}"), "cache-tag", ["''"]),
        (tagged("thing:{id.hex}"), "cache-tag", ["'id.hex'"]),
        (tagged("thing:{id!r}"), "cache-tag", ["formats id"]),
        (tagged("thing:{id:>9}"), "cache-tag", ["formats id"]),
        (tagged("thing:{id"), "cache-tag", ["is no template"]),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_fault_names_the_culprits_the_place_and_the_mend(
    add: Callable[[Module], None], rule: str, said: list[str]
) -> None:
    module = thing_module()
    add(module)
    _, faults = described(module)
    found = [fault for fault in faults if fault.rule == rule]
    assert found
    for words in said:
        assert words in found[0].problem
    assert found[0].place.file == __file__
    assert found[0].mend.endswith(".")


def test_a_collection_belongs_to_one_module() -> None:
    module = Module("others")

    @module.command(public=True)
    async def mend_thing(ctx: Write, id: UUID) -> None:
        """Mend it."""

    _, faults = described(thing_module(), module)
    assert [fault.rule for fault in faults] == ["collection"]
    assert "others.mend_thing" in faults[0].problem
    assert "things.get_thing" in faults[0].problem
    assert 'Module("others", prefix="...")' in faults[0].mend


def test_a_prefix_tells_collections_apart() -> None:
    module = Module("others", prefix="my")

    @module.command(public=True)
    async def mend_thing(ctx: Write, id: UUID) -> None:
        """Mend it."""

    api, faults = described(thing_module(), module)
    assert (faults, api.operations[-1].path) == ([], "/v1/my-things/{id}:mend")


def test_everything_wrong_is_said_at_once() -> None:
    module = thing_module()
    for add in (opaque_input, page_unasked, bad_path):
        add(module)
    assert {fault.rule for fault in described(module)[1]} == {"type", "paging", "path"}


@pytest.mark.parametrize(
    "path", ["", "/", "a", "/a/", "//a", "/{A}", "/a{b}", "/{a}{b}", "/a:b/c", "/a:", "/..", "/{a}/{a}"]
)
def test_these_are_no_templates(path: str) -> None:
    assert template_problem(path)


def test_parameters_have_no_names_in_a_shape() -> None:
    assert path_shape("/a/{id}/b/{other}:c") == "/a/{}/b/{}:c"


# -- lint


class Loose(Struct):
    """Nothing in it is bounded."""

    name: str
    tags: list[Annotated[str, Meta(max_length=3)]]
    more: dict[Annotated[str, Meta(max_length=3)], int]
    inner: Loose | None = None


def test_lint_names_what_has_no_bound_and_what_is_not_explained() -> None:
    module = thing_module()

    @module.command(public=True)
    async def mend_thing(ctx: Write, id: UUID, how: Loose) -> None: ...

    found = [f"{fault.rule}: {fault.problem}" for fault in lint(described(module)[0])]
    assert found == [
        "no-docstring: things.mend_thing has no docstring",
        "unbounded: things.mend_thing: how.name is a str without a bound",
        "unbounded: things.mend_thing: how.tags is a list without a bound",
        "unbounded: things.mend_thing: how.more is a dict without a bound",
    ]


# -- what can be expanded


def test_expansions_go_through_edges_and_fields_up_to_three_names() -> None:
    module = thing_module()

    @module.edge(Thing, "other", public=True)
    async def other(ctx: Read, things: Sequence[Thing]) -> Sequence[Other | None]:
        return [None for _ in things]

    @module.edge(Other, "thing", public=True)
    async def thing(ctx: Read, others: Sequence[Other]) -> Sequence[Thing]:
        raise NotFound

    @module.edge(Other, "named", public=True)
    async def named(ctx: Read, others: Sequence[Other], name: str) -> Sequence[Thing]:
        raise NotFound

    api, faults = described(module)
    assert faults == []
    expansions = expansions_of(api, api.operations[0].result)
    assert sorted(expansions.paths) == ["other", "other.thing", "other.thing.other"]


def test_events_are_shapes_too() -> None:
    module = thing_module()

    @module.query(public=True)
    async def last_event(ctx: Read) -> Happened:
        """Return the last one."""
        raise NotFound

    assert described(module)[1] == []
