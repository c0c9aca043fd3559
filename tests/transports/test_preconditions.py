"""Conditional requests, case by case: what RFC 9110 section 13 says, seen by a client.

The note is at version 7 and changed at noon and half a second. Words in braces are filled in: ``{tag}`` is its entity
tag, ``{gzip}`` the tag of the same note compressed, ``{old}`` the tag of version 6.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_asyncio

from tests.transports.notebook import OWNER, READER, STRANGER, notebook, put
from trivet.core.principal import Principal
from trivet.testing import Client, Response

LONG = "milk " * 400
NOON = "Sat, 31 Jan 2026 12:00:00 GMT"
BEFORE = "Sat, 31 Jan 2026 11:59:59 GMT"
AFTER = "Sat, 31 Jan 2026 12:00:01 GMT"
pytestmark = pytest.mark.asyncio(loop_scope="module")

GZIP = {"Accept-Encoding": "gzip"}


@dataclass(frozen=True)
class Case:
    name: str
    status: int
    headers: dict[str, str] = field(default_factory=dict)
    method: str = "GET"
    at: str = ""
    who: Principal = OWNER
    json: Any = None


def read(name: str, status: int, **headers: str) -> Case:
    return Case(name, status, {key.replace("_", "-"): value for key, value in headers.items()})


def change(name: str, status: int, **headers: str) -> Case:
    named = {key.replace("_", "-"): value for key, value in headers.items()}
    return Case(name, status, named, "PATCH", json={"text": "tea"})


READS = [
    read("no condition", 200),
    read("none-match the tag", 304, if_none_match="{tag}"),
    read("none-match the tag, weak", 304, if_none_match="W/{tag}"),
    read("none-match any", 304, if_none_match="*"),
    read("none-match any, padded", 304, if_none_match=" * "),
    read("none-match an old tag", 200, if_none_match="{old}"),
    read("none-match a foreign tag", 200, if_none_match='"xyzzy"'),
    read("none-match the empty tag", 200, if_none_match='""'),
    read("none-match a list with it", 304, if_none_match='"a", {tag}, "b"'),
    read("none-match a list with it, tight", 304, if_none_match='"a",{tag}'),
    read("none-match a list with gaps", 304, if_none_match=', ,"a",,{tag},'),
    read("none-match a list without it", 200, if_none_match='"a", W/"b", {old}'),
    read("none-match a tag with a comma in it", 200, if_none_match='"a, {bare}"'),
    read("none-match an empty list", 200, if_none_match=","),
    read("none-match nothing", 200, if_none_match=""),
    read("none-match without quotes is passed over", 200, if_none_match="{bare}"),
    read("none-match with a lower-case w is passed over", 200, if_none_match="w/{tag}"),
    read("none-match with any among others is passed over", 200, if_none_match="*, {tag}"),
    read("none-match the compressed tag, asked for plain", 200, if_none_match="{gzip}", accept_encoding="identity"),
    read("none-match the compressed tag, asked for nothing", 304, if_none_match="{gzip}"),
    read("none-match the compressed tag, asked for gzip", 304, if_none_match="{gzip}", accept_encoding="gzip"),
    read("none-match the plain tag, asked for gzip", 304, if_none_match="{tag}", accept_encoding="gzip"),
    read(
        "none-match the plain tag, plain refused",
        200,
        if_none_match="{tag}",
        accept_encoding="gzip, identity;q=0",
    ),
    read("modified since before", 200, if_modified_since=BEFORE),
    read("modified since that second", 304, if_modified_since=NOON),
    read("modified since after", 304, if_modified_since=AFTER),
    read("modified since that second, in RFC 850", 304, if_modified_since="Saturday, 31-Jan-26 12:00:00 GMT"),
    read("modified since that second, in asctime", 304, if_modified_since="Sat Jan 31 12:00:00 2026"),
    read("modified since before, in asctime", 200, if_modified_since="Sat Jan 31 11:59:59 2026"),
    read("modified since no date", 200, if_modified_since="yesterday"),
    read("modified since an impossible date", 200, if_modified_since="Sat, 31 Feb 2026 12:00:00 GMT"),
    read("modified since another zone", 200, if_modified_since="Sat, 31 Jan 2026 12:00:00 CET"),
    read("modified since two dates", 200, if_modified_since=f"{NOON}, {NOON}"),
    read("modified since the future", 304, if_modified_since="Sat, 31 Jan 2099 12:00:00 GMT"),
    read("an old tag wins over a date that holds", 200, if_none_match="{old}", if_modified_since=AFTER),
    read("the tag wins over a date that does not", 304, if_none_match="{tag}", if_modified_since=BEFORE),
    read("a broken list leaves the date", 304, if_none_match="broken", if_modified_since=AFTER),
    read("match the tag", 200, if_match="{tag}"),
    read("match any", 200, if_match="*"),
    read("match an old tag", 412, if_match="{old}"),
    read("match the tag, weak", 412, if_match="W/{tag}"),
    read("match a list with it", 200, if_match="{old}, {tag}"),
    read("match an empty list", 412, if_match=""),
    read("match no list", 400, if_match="{bare}"),
    read("match and none-match the tag", 304, if_match="{tag}", if_none_match="{tag}"),
    read("match an old tag comes first", 412, if_match="{old}", if_none_match="{tag}"),
    read("unmodified since before", 412, if_unmodified_since=BEFORE),
    read("unmodified since that second", 200, if_unmodified_since=NOON),
    read("unmodified since after", 200, if_unmodified_since=AFTER),
    read("unmodified since no date", 200, if_unmodified_since="never"),
    read("match wins over unmodified since", 200, if_match="{tag}", if_unmodified_since=BEFORE),
    read("unmodified and modified since that second", 304, if_unmodified_since=NOON, if_modified_since=NOON),
    read("a range is not served", 200, range="bytes=0-9"),
    read("a range is not served if the tag holds", 200, range="bytes=0-9", if_range="{tag}"),
    read("a range is not served if it does not", 200, range="bytes=0-9", if_range="{old}"),
    read("an impossible range is not served", 200, range="bytes=999999-"),
    read("a range of what one has", 304, range="bytes=0-9", if_none_match="{tag}"),
    Case("head none-match the tag", 304, {"If-None-Match": "{tag}"}, "HEAD"),
    Case("head match an old tag", 412, {"If-Match": "{old}"}, "HEAD"),
    Case("head modified since", 304, {"If-Modified-Since": NOON}, "HEAD"),
    Case("what may not be read has no state", 404, {"If-None-Match": "*"}, who=STRANGER),
    Case("what may not be read matches nothing", 404, {"If-Match": "{tag}"}, who=STRANGER),
    Case("what does not exist has no state", 404, {"If-None-Match": "*"}, at="/v1/notes/{nowhere}"),
    Case("nothing is told without credentials", 401, {"If-None-Match": "*"}, who=Principal()),
]

CHANGES = [
    change("no condition", 200),
    change("match the tag", 200, if_match="{tag}"),
    change("match any", 200, if_match="*"),
    change("match an old tag", 412, if_match="{old}"),
    change("match a newer tag", 412, if_match="{new}"),
    change("match a foreign tag", 412, if_match='"xyzzy"'),
    change("match the tag, weak", 412, if_match="W/{tag}"),
    change("match the compressed tag", 200, if_match="{gzip}"),
    change("match the tag of the expanded note", 200, if_match="{expanded}"),
    change("match the version under another contract", 200, if_match='"7-00000000"'),
    change("match a longer number that begins alike", 412, if_match='"77-00000000"'),
    change("match a list with it", 200, if_match="{old}, {tag}"),
    change("match a list without it", 412, if_match='"a", {old}'),
    change("match an empty list", 412, if_match=""),
    change("match without quotes", 400, if_match="{bare}"),
    change("match half a tag", 400, if_match='"7-00000000'),
    change("none-match any", 412, if_none_match="*"),
    change("none-match the tag", 412, if_none_match="{tag}"),
    change("none-match the tag, weak", 412, if_none_match="W/{tag}"),
    change("none-match an old tag", 200, if_none_match="{old}"),
    change("none-match no list", 400, if_none_match="{bare}"),
    change("unmodified since before", 412, if_unmodified_since=BEFORE),
    change("unmodified since that second", 200, if_unmodified_since=NOON),
    change("unmodified since no date", 200, if_unmodified_since="never"),
    change("match wins over unmodified since", 200, if_match="{tag}", if_unmodified_since=BEFORE),
    change("an old tag wins over unmodified since", 412, if_match="{old}", if_unmodified_since=AFTER),
    change("unmodified since, then none-match", 412, if_unmodified_since=NOON, if_none_match="{tag}"),
    change("modified since means nothing to a change", 200, if_modified_since=AFTER),
    Case("delete the tag", 204, {"If-Match": "{tag}"}, "DELETE"),
    Case("delete an old tag", 412, {"If-Match": "{old}"}, "DELETE"),
    Case("a custom method with the tag", 200, {"If-Match": "{tag}"}, "POST", "{note}:touch", json={}),
    Case("a custom method with an old tag", 412, {"If-Match": "{old}"}, "POST", "{note}:touch", json={}),
    Case("a job with the tag", 202, {"If-Match": "{tag}"}, "POST", "{note}:print", json={}),
    Case("a job with an old tag", 412, {"If-Match": "{old}"}, "POST", "{note}:print", json={}),
    # What a request without a condition would be answered comes first (section 13.2.1).
    Case("who may not read it learns nothing", 404, {"If-Match": "{tag}"}, "PATCH", who=STRANGER, json={}),
    Case("nor from an old tag", 404, {"If-Match": "{old}"}, "PATCH", who=STRANGER, json={}),
    Case("nor from any", 404, {"If-None-Match": "*"}, "PATCH", who=STRANGER, json={}),
    Case("who may only read it may not, with the tag", 403, {"If-Match": "{tag}"}, "PATCH", who=READER, json={}),
    Case("nor with an old tag", 403, {"If-Match": "{old}"}, "PATCH", who=READER, json={}),
    Case("nor delete it", 403, {"If-Match": "{old}"}, "DELETE", who=READER),
    Case("a reader's custom method", 412, {"If-Match": "{old}"}, "POST", "{note}:touch", who=READER, json={}),
    Case("what does not exist", 404, {"If-Match": "*"}, "PATCH", "/v1/notes/{nowhere}", json={}),
    Case("credentials come first", 401, {"If-Match": "{old}"}, "PATCH", who=Principal(), json={}),
    Case("then the body", 400, {"If-Match": "{old}"}, "PATCH", json={"text": 1}),
    Case("a conflict of its own comes last", 409, {"If-Match": "{tag}"}, "POST", "{note}:lock", json={}),
    Case("after the version", 412, {"If-Match": "{old}"}, "POST", "{note}:lock", json={}),
    # Where a condition is required.
    Case("required and missing", 428, {}, "POST", "{note}:replace", json={"text": "x"}),
    Case("a date is not enough", 428, {"If-Unmodified-Since": NOON}, "POST", "{note}:replace", json={"text": "x"}),
    Case("required and given", 200, {"If-Match": "{tag}"}, "POST", "{note}:replace", json={"text": "x"}),
    Case("required and any", 200, {"If-Match": "*"}, "POST", "{note}:replace", json={"text": "x"}),
    Case("required and old", 412, {"If-Match": "{old}"}, "POST", "{note}:replace", json={"text": "x"}),
    # Where nothing has versions.
    Case("a collection has no tag", 412, {"If-Match": "{tag}"}, "POST", "/v1/notes", json={"text": "x"}),
    Case("but it exists", 201, {"If-Match": "*"}, "POST", "/v1/notes", json={"text": "x"}),
    Case("so none-match any fails", 412, {"If-None-Match": "*"}, "POST", "/v1/notes", json={"text": "x"}),
    Case("a query by POST has no tag", 412, {"If-Match": "{tag}"}, "POST", "/v1/notes:search", json={"like": {}}),
    Case("a query by POST exists", 200, {"If-Match": "*"}, "POST", "/v1/notes:search", json={"like": {}}),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client() -> AsyncIterator[Client]:
    async with Client(notebook(), principal=OWNER) as client:
        yield client


async def answered(client: Client, case: Case) -> Response:
    """Put a note there and send it what the case says."""
    note = await put(client, text=LONG)
    seen = await client.get(note)
    words = {
        "note": note,
        "tag": seen.headers["etag"],
        "bare": seen.headers["etag"].strip('"'),
        "gzip": (await client.get(note, headers=GZIP)).headers["etag"],
        "expanded": (await client.get(f"{note}?expand=tags")).headers["etag"],
        "old": seen.headers["etag"].replace('"7-', '"6-'),
        "new": seen.headers["etag"].replace('"7-', '"8-'),
        "nowhere": "00000000-0000-7000-8000-000000000000",
    }
    headers = {name: value.format_map(words) for name, value in case.headers.items()}
    options: dict[str, Any] = {} if case.json is None else {"json": case.json}
    asker = client.as_(case.who)
    return await asker.request(case.method, (case.at or "{note}").format_map(words), headers=headers, **options)


@pytest.mark.parametrize("case", READS, ids=lambda case: case.name)
async def test_reading_on_a_condition(client: Client, case: Case) -> None:
    response = await answered(client, case)
    assert response.status == case.status
    if case.status in (304, 412):
        assert not response.text.startswith('{"id"')
    if case.status == 304:
        assert set(response.headers) == {"etag", "cache-control", "vary", "request-id"}
        assert response.body == b""


@pytest.mark.parametrize("case", CHANGES, ids=lambda case: case.name)
async def test_changing_on_a_condition(client: Client, case: Case) -> None:
    response = await answered(client, case)
    assert response.status == case.status
    if case.status in (412, 428):
        reasons = {412: "PRECONDITION_FAILED", 428: "PRECONDITION_REQUIRED"}
        assert (response.json()["reason"], response.json()["code"]) == (reasons[case.status], "failed_precondition")
        assert "etag" not in response.headers


async def test_there_are_enough_cases() -> None:
    assert len(READS) + len(CHANGES) >= 60
    assert len({case.name for case in READS}) == len(READS)


async def test_repeated_fields_are_one_list(client: Client) -> None:
    from tests.transports.client import scope_of, send

    note = await put(client)
    tag = (await client.get(note)).headers["etag"]
    scope = scope_of("GET", note, {})
    scope["headers"] += [(b"if-none-match", b'"a"'), (b"if-none-match", tag.encode())]
    scope["trivet.principal"] = OWNER
    assert (await send(client.app, scope)).status == 304


async def test_a_refused_change_changes_nothing_and_a_made_one_says_the_new_version(client: Client) -> None:
    note = await put(client)
    tag = (await client.get(note)).headers["etag"]
    stale = {"If-Match": tag.replace('"7-', '"6-')}
    assert (await client.patch(note, json={"text": "tea"}, headers=stale)).status == 412
    unchanged = await client.get(note)
    assert (unchanged.json()["text"], unchanged.headers["etag"]) == ("milk", tag)
    changed = await client.patch(note, json={"text": "tea"}, headers={"If-Match": tag})
    assert changed.headers["etag"] == tag.replace('"7-', '"8-')
    assert (await client.get(note)).headers["etag"] == changed.headers["etag"]
    assert (await client.patch(note, json={"text": "rum"}, headers={"If-Match": tag})).status == 412


async def test_a_new_thing_says_its_version(client: Client) -> None:
    made = await client.post("/v1/notes", json={"text": "milk"})
    assert made.headers["etag"] == (await client.get(made.headers["location"])).headers["etag"]


async def test_a_date_is_given_once_it_names_one_state(client: Client) -> None:
    note = await put(client)
    assert (await client.get(note)).headers["last-modified"] == NOON
    made = await client.post("/v1/notes", json={"text": "milk"})
    assert "last-modified" not in made.headers


async def test_what_is_missing_keeps_its_order_where_nothing_has_versions(client: Client) -> None:
    made = await client.post("/v1/tags", json={"name": "a"})
    tag = made.json()["id"]
    assert (await client.delete(f"/v1/tags/{tag}", headers={"If-Match": '"7-0"'})).status == 412
    assert (await client.get(f"/v1/tags/{tag}")).status == 200
    assert (await client.delete(f"/v1/tags/{tag}", headers={"If-Match": "*"})).status == 204
    assert (await client.delete(f"/v1/tags/{tag}", headers={"If-Match": '"7-0"'})).status == 404


async def test_composed_answers_are_told_by_their_bytes(client: Client) -> None:
    note = await put(client)
    for target in ("/v1/notes", f"{note}?expand=tags", "/v1/count"):
        seen = await client.get(target)
        again = await client.get(target, headers={"If-None-Match": seen.headers["etag"]})
        assert (again.status, again.body, again.headers["etag"]) == (304, b"", seen.headers["etag"])
        assert "last-modified" not in seen.headers
    before = await client.get("/v1/notes")
    await client.patch(note, json={"text": "tea"})
    after = await client.get("/v1/notes", headers={"If-None-Match": before.headers["etag"]})
    assert (after.status, after.headers["etag"] == before.headers["etag"]) == (200, False)


async def test_nothing_has_no_validator(client: Client) -> None:
    missing = await client.get("/v1/notes/00000000-0000-7000-8000-000000000000:find")
    assert (missing.status, "etag" in missing.headers) == (204, False)
    note = await put(client)
    found = await client.get(f"{note}:find")
    assert (found.status, found.headers["etag"]) == (200, (await client.get(note)).headers["etag"])


async def test_head_says_what_get_says(client: Client) -> None:
    note = await put(client, text=LONG)
    for target in (note, "/v1/notes", f"{note}?expand=tags", "/v1/count", "/openapi.json", "/", "/problems"):
        for headers in ({}, GZIP, {"Accept-Encoding": "br"}, {"Accept-Encoding": "zstd"}):
            named = {**headers, "Request-Id": "the-same"}
            got = await client.get(target, headers=named)
            head = await client.request("HEAD", target, headers=named)
            assert (head.status, head.headers, head.body) == (got.status, got.headers, b"")


async def test_a_declaration_that_can_not_hold_is_a_fault() -> None:
    from trivet import App, Module, Struct, Write
    from trivet.core.fault import FaultyApp

    things = Module("things")

    class Thing(Struct):
        id: str

    @things.command(public=True, plural="things", precondition="required")
    async def update_thing(ctx: Write, id: str) -> Thing:
        """Change a thing that no table keeps."""
        return Thing(id=id)

    with pytest.raises(FaultyApp, match='precondition="required"'):
        App("app", modules=[things]).build()
