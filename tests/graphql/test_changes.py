"""Changes over GraphQL: the version that one is made from, the key under which it is sent again, time that runs out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any, NewType
from uuid import UUID

import pytest

from trivet import PUBLIC, App, Meta, Module, Page, PageRequest, Patch, Read, Struct, Table, Write
from trivet.settings import GraphqlSettings
from trivet.testing import Client
from trivet.testing.app import settings_for_tests
from trivet.transports.graphql.request import Request
from trivet.transports.graphql.service import GraphqlService, Prepared

NoteId = NewType("NoteId", UUID)
Text = Annotated[str, Meta(max_length=200)]


class NewNote(Struct):
    text: Text


class Note(Struct):
    id: NoteId
    text: Text
    version: int = 1


def app() -> App:
    module = Module("notes")
    notes = Table(module, Note, key=lambda note: note.id, readable=PUBLIC, writable=PUBLIC)

    @module.query(public=True)
    async def get_note(ctx: Read, id: NoteId) -> Note:
        return await notes.get(ctx, id)

    @notes.listing(order="id")
    def all_notes(note: Note) -> bool:
        return True

    @module.query(public=True)
    async def list_notes(ctx: Read, page: PageRequest) -> Page[Note]:
        return await notes.page(ctx, all_notes, page)

    @module.query(public=True)
    async def wait_long(ctx: Read, seconds: float) -> bool:
        await asyncio.sleep(seconds)
        return True

    @module.command(public=True)
    async def create_note(ctx: Write, note: NewNote) -> Note:
        created = Note(id=NoteId(ctx.new_id()), text=note.text)
        await notes.insert(ctx, created)
        return created

    @module.command(public=True)
    async def update_note(ctx: Write, id: NoteId, changes: Patch[NewNote]) -> Note:
        return await notes.update(ctx, changes.apply(await notes.get(ctx, id)))

    @module.command(public=True, precondition="required")
    async def delete_note(ctx: Write, id: NoteId) -> None:
        await notes.delete(ctx, id)

    return App("notes", modules=[module])


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with Client(
        app(), settings=settings_for_tests(graphql=GraphqlSettings(introspection=True, batch=2))
    ) as client:
        yield client


async def ask(client: Client, source: str, variables: Any = None, **more: Any) -> Any:
    body = {"query": source, "variables": variables or {}, **more}
    response = await client.post("/graphql", json=body)
    return response.json()


CREATE = 'mutation ($text: String! = "first") { createNote(note: {text: $text}) { id version } }'
UPDATE = """mutation ($id: ID!, $version: Long) {
    updateNote(id: $id, changes: {text: "second"}, ifVersion: $version) { text version }
}"""
DELETE = "mutation ($id: ID!, $version: Long) { deleteNote(id: $id, ifVersion: $version) }"


async def created(client: Client) -> str:
    return str((await ask(client, CREATE))["data"]["createNote"]["id"])


async def test_a_change_from_another_version_is_refused_with_what_rest_says_for_412(client: Client) -> None:
    id = await created(client)
    first = await ask(client, UPDATE, {"id": id, "version": 1})
    assert first["data"]["updateNote"] == {"text": "second", "version": 2}
    late = await ask(client, UPDATE, {"id": id, "version": 1})
    assert late["data"] == {"updateNote": None}
    [error] = late["errors"]
    assert (error["path"], error["extensions"]["code"]) == (["updateNote"], "FAILED_PRECONDITION")
    assert error["extensions"]["reason"] == "PRECONDITION_FAILED"
    assert (await ask(client, UPDATE, {"id": id}))["data"]["updateNote"]["version"] == 3


async def test_a_change_that_needs_a_version_is_refused_without_one_with_what_rest_says_for_428(client: Client) -> None:
    id = await created(client)
    [error] = (await ask(client, DELETE, {"id": id}))["errors"]
    assert error["extensions"] == {"code": "FAILED_PRECONDITION", "reason": "PRECONDITION_REQUIRED"}
    assert "ifVersion" in error["message"]
    [error] = (await ask(client, DELETE, {"id": id, "version": 9}))["errors"]
    assert error["extensions"]["reason"] == "PRECONDITION_FAILED"
    assert await ask(client, DELETE, {"id": id, "version": 1}) == {"data": {"deleteNote": True}}


async def test_each_change_of_a_request_has_a_version_of_its_own(client: Client) -> None:
    id = await created(client)
    source = f"""mutation {{
        a: updateNote(id: "{id}", changes: {{text: "a"}}, ifVersion: 1) {{ version }}
        b: updateNote(id: "{id}", changes: {{text: "b"}}, ifVersion: 1) {{ version }}
        c: updateNote(id: "{id}", changes: {{text: "c"}}, ifVersion: 2) {{ text }}
    }}"""
    found = await ask(client, source)
    assert found["data"] == {"a": {"version": 2}, "b": None, "c": {"text": "c"}}
    assert [error["path"] for error in found["errors"]] == [["b"]]


async def test_only_changes_of_something_that_has_versions_take_one(client: Client) -> None:
    source = '{ __type(name: "Mutation") { fields { name args { name type { name } } } } }'
    fields = (await ask(client, source))["data"]["__type"]["fields"]
    named = {f["name"]: {a["name"]: a["type"]["name"] for a in f["args"]}.get("ifVersion") for f in fields}
    assert named == {"createNote": None, "updateNote": "Long", "deleteNote": "Long"}


@pytest.mark.parametrize("how", ["extension", "header"])
async def test_a_request_that_is_sent_again_with_its_key_takes_effect_once(client: Client, how: str) -> None:
    async def send(key: str, source: str = CREATE, **variables: Any) -> Any:
        body: dict[str, Any] = {"query": source, "variables": variables}
        headers = {"idempotency-key": f'"{key}"'} if how == "header" else {}
        if how == "extension":
            body["extensions"] = {"idempotencyKey": key}
        return (await client.post("/graphql", json=body, headers=headers)).json()

    first, again, other = await send("1"), await send("1"), await send("2")
    assert "extensions" not in first
    assert again == {"data": first["data"], "extensions": {"idempotentReplayed": ["createNote"]}}
    assert other["data"] != first["data"]
    [reused] = (await send("1", text="something else"))["errors"]
    assert reused["extensions"]["reason"] == "IDEMPOTENCY_KEY_REUSED"
    two = 'mutation { a: createNote(note: {text: "x"}) { id } b: createNote(note: {text: "x"}) { id } }'
    both, once_more = await send("3", two), await send("3", two)
    assert both["data"]["a"] != both["data"]["b"]  # each change has its own place under the key
    assert once_more == {"data": both["data"], "extensions": {"idempotentReplayed": ["a", "b"]}}


@pytest.mark.parametrize("key", ["", "é", 7, "x" * 256], ids=repr)
async def test_what_is_no_key_is_refused_before_anything_runs(client: Client, key: Any) -> None:
    found = await ask(client, CREATE, extensions={"idempotencyKey": key})
    assert "data" not in found
    assert found["errors"][0]["extensions"]["code"] == "INVALID_ARGUMENT"


async def test_two_different_keys_are_refused(client: Client) -> None:
    body = {"query": CREATE, "extensions": {"idempotencyKey": "a"}}
    found = (await client.post("/graphql", json=body, headers={"idempotency-key": "b"})).json()
    assert found["errors"][0]["extensions"]["errors"][0]["pointer"] == "#/extensions/idempotencyKey"


async def test_a_field_that_is_late_leaves_what_others_found(client: Client) -> None:
    id = await created(client)
    source = f'{{ late: waitLong(seconds: 60) note(id: "{id}") {{ text }} soon: waitLong(seconds: 0) }}'
    response = await client.post("/graphql", json={"query": source}, headers={"request-timeout": "0.5"})
    found = response.json()
    assert found["data"] == {"late": None, "note": {"text": "first"}, "soon": True}
    [error] = found["errors"]
    assert (error["path"], error["extensions"]["code"]) == (["late"], "DEADLINE_EXCEEDED")


async def test_the_only_field_is_late_as_one_of_several_and_the_next_request_has_its_time(client: Client) -> None:
    source = "query ($seconds: Float!) { late: waitLong(seconds: $seconds) }"

    async def wait(seconds: int) -> Any:
        body = {"query": source, "variables": {"seconds": seconds}}
        return await client.post("/graphql", json=body, headers={"request-timeout": "0.5" if seconds else "20"})

    await wait(0)  # the schema is made at the first use
    response, after = await wait(60), await wait(0)
    assert response.status == 200
    [error] = response.json()["errors"]
    assert (error["path"], error["extensions"]["code"]) == (["late"], "DEADLINE_EXCEEDED")
    assert response.json()["data"] == {"late": None}
    assert after.json() == {"data": {"late": True}}


async def test_what_is_planned_too_long_is_late_and_takes_nothing_from_what_was_done_before(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare = GraphqlService.prepare

    async def slowly(self: GraphqlService, request: Request, caller: str) -> Prepared:
        if request.operation_name == "Slow":
            await asyncio.Event().wait()
        return await prepare(self, request, caller)

    monkeypatch.setattr(GraphqlService, "prepare", slowly)
    change = 'mutation { createNote(note: {text: "kept"}) { text } }'
    await ask(client, "{ __typename }")  # the schema is made at the first use
    asked = [{"query": change}, {"query": "query Slow { __typename }", "operationName": "Slow"}]
    response = await client.post("/graphql", json=asked, headers={"request-timeout": "0.5"})
    done, late = response.json()
    assert done == {"data": {"createNote": {"text": "kept"}}}
    assert late["errors"][0]["extensions"]["code"] == "DEADLINE_EXCEEDED"
