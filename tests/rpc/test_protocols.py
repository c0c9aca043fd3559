"""gRPC-Web, Connect and native gRPC as their specifications have them, and what is refused."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
from collections.abc import AsyncIterator
from typing import Annotated, Any
from urllib.parse import quote

import pytest

from tests.rpc.speak import connect, envelope, envelopes, reason, violations, web
from trivet import (
    AlreadyExists,
    App,
    Deprecated,
    Meta,
    Module,
    Patch,
    QuotaExceeded,
    Read,
    Struct,
    Write,
)
from trivet.settings import LimitSettings
from trivet.testing import Client, principal, settings_for_tests

Text = Annotated[str, Meta(min_length=1, max_length=20_000)]


class Place(Struct):
    """Where something is."""

    street: str
    city: str = "Wien"


class Settings(Struct):
    """What somebody chose."""

    name: Text
    colour: str = "blue"
    tags: list[str] = []
    place: Place
    size: int | None = None


class Taken(AlreadyExists):
    """The name is taken."""

    name: str
    count: int


class Busy(QuotaExceeded):
    """Too much at once."""


module = Module("things")
running: set[str] = set()


@module.query(public=True)
async def echo(ctx: Read, text: Text, times: int = 1) -> str:
    """Return the text."""
    return text * times


@module.query(public=True, deprecated=Deprecated(since=__import__("datetime").date(2026, 1, 1)))
async def old_echo(ctx: Read) -> None:
    """Return nothing."""


@module.query(scope="things.read")
async def guarded(ctx: Read) -> int:
    """Return a number to who may have it."""
    return 7


@module.command(public=True, raises=[Taken, Busy])
async def take(ctx: Write, name: str) -> None:
    """Take a name."""
    if name == "busy":
        raise Busy(retry_after=2.5)
    if name == "broken":
        raise ValueError("secret")
    raise Taken(name=name, count=3, detail="größer: 100 %")


@module.query(public=True)
async def patched(ctx: Read, changes: Patch[Settings]) -> dict[str, str]:
    """Return what a patch says."""
    return {name: repr(value) for name, value in changes.to_builtins().items()}


@module.query(public=True, timeout=30)
async def slow(ctx: Read, name: str) -> None:
    """Take long."""
    running.add(name)
    try:
        await asyncio.sleep(20)
    finally:
        running.discard(name)


@module.stream(public=True)
async def count_up(ctx: Read, until: int, fail: bool = False) -> AsyncIterator[int]:
    """Count."""
    for number in range(until):
        yield number
    if fail:
        raise Taken(name="x", count=until)


app = App("test", modules=[module], settings=settings_for_tests(limits=LimitSettings(body=60_000)))
PATH = "/test.things.v1.ThingsService/"
WEB = {"content-type": "application/grpc-web+proto"}
PROTO = {"content-type": "application/proto"}


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with Client(app, settings=app.settings) as client:
        yield client


def echo_message(text: str) -> bytes:
    raw = text.encode()
    size = bytes([len(raw)]) if len(raw) < 128 else bytes([len(raw) & 127 | 128, len(raw) >> 7])
    return b"\x0a" + size + raw


# -- Connect


async def test_a_unary_call_in_json_is_plain_http(client: Client) -> None:
    answer = await client.post(f"{PATH}Echo", json={"text": "a", "times": "3"}, headers={"request-id": "mine"})
    assert (answer.status, answer.json()) == (200, {"value": "aaa"})
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["request-id"] == "mine"


async def test_a_unary_call_in_binary_is_the_bare_message(client: Client) -> None:
    answer = await client.post(f"{PATH}Echo", content=echo_message("a"), headers=PROTO)
    assert (answer.status, answer.body) == (200, b"\x0a\x01a")
    assert answer.headers["content-type"] == "application/proto"


async def test_a_query_can_be_got_and_a_command_can_not(client: Client) -> None:
    text = quote(json.dumps({"text": "a b"}))
    answer = await client.get(f"{PATH}Echo?connect=v1&encoding=json&message={text}")
    assert answer.json() == {"value": "a b"}
    coded = base64.urlsafe_b64encode(gzip.compress(echo_message("x"))).rstrip(b"=").decode()
    query = f"connect=v1&encoding=proto&base64=1&compression=gzip&message={coded}"
    assert (await client.get(f"{PATH}Echo?{query}")).body == b"\x0a\x01x"
    refused = await client.get(f"{PATH}Take?connect=v1&encoding=json&message=%7B%7D")
    assert (refused.status, refused.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize(
    "query", ["encoding=json", "encoding=json&connect=v2&message=%7B%7D", "encoding=proto&base64=1&message=%21"]
)
async def test_a_query_that_can_not_be_read_is_refused(client: Client, query: str) -> None:
    answer = await client.get(f"{PATH}Echo?{query}")
    assert (answer.status, answer.json()["code"]) == (400, "invalid_argument")


async def test_an_error_has_code_message_and_details(client: Client) -> None:
    status, error = await connect(client, f"{PATH}Take", {"name": "ada"})
    assert (status, error["code"], error["message"]) == (409, "already_exists", "größer: 100 %")
    assert error["details"][0]["debug"] == {
        "reason": "TAKEN",
        "domain": "test",
        "metadata": {"name": "ada", "count": "3"},
    }
    status, error = await connect(client, f"{PATH}Take", {"name": "busy"})
    assert (status, error["code"], reason(error)) == (429, "resource_exhausted", "BUSY")
    assert {"retryDelay": "2.500s"} in [detail["debug"] for detail in error["details"]]


async def test_a_bug_says_nothing_but_the_request_id(client: Client) -> None:
    status, error = await connect(client, f"{PATH}Take", {"name": "broken"}, headers={"request-id": "r-1"})
    assert (status, error["code"]) == (500, "internal")
    assert "secret" not in str(error)
    assert {"requestId": "r-1"} in [detail["debug"] for detail in error["details"]]


async def test_everything_that_is_wrong_is_said_by_field(client: Client) -> None:
    status, error = await connect(client, f"{PATH}Echo", {"text": "", "times": "x"})
    assert status == 400
    assert set(violations(error)) == {"text", "times"}


async def test_without_credentials_the_body_is_not_read(client: Client) -> None:
    answer = await client.post(f"{PATH}Guarded", content=b"no message", headers=PROTO)
    assert (answer.status, answer.json()["code"]) == (401, "unauthenticated")
    assert "www-authenticate" in answer.headers
    may = await client.post(f"{PATH}Guarded", json={}, as_=principal(scopes="things.read"))
    assert may.json() == {"value": "7"}


async def test_a_body_may_be_compressed_but_not_a_bomb(client: Client) -> None:
    headers = {**PROTO, "content-encoding": "gzip"}
    answer = await client.post(f"{PATH}Echo", content=gzip.compress(echo_message("a")), headers=headers)
    assert answer.body == b"\x0a\x01a"
    bomb = await client.post(f"{PATH}Echo", content=gzip.compress(bytes(10_000_000)), headers=headers)
    assert (bomb.status, reason(bomb.json())) == (429, "BODY_TOO_LARGE")
    for broken in (b"no gzip", gzip.compress(b"x")[:-3], gzip.compress(b"x") + b"y"):
        answer = await client.post(f"{PATH}Echo", content=broken, headers=headers)
        assert (answer.status, answer.json()["code"]) == (400, "invalid_argument")
    answer = await client.post(f"{PATH}Echo", content=b"", headers={**PROTO, "content-encoding": "br"})
    assert (answer.status, reason(answer.json())) == (501, "ENCODING_UNKNOWN")


async def test_a_large_answer_is_compressed_for_who_wants_it(client: Client) -> None:
    wanted = await client.post(f"{PATH}Echo", json={"text": "a" * 9000}, headers={"accept-encoding": "br, gzip;q=0.5"})
    assert wanted.headers["content-encoding"] == "gzip"
    assert json.loads(gzip.decompress(wanted.body)) == {"value": "a" * 9000}
    refused = await client.post(f"{PATH}Echo", json={"text": "a" * 9000}, headers={"accept-encoding": "gzip;q=0"})
    assert "content-encoding" not in refused.headers


async def test_a_stream_is_envelopes_and_its_status_the_last_one(client: Client) -> None:
    headers = {"content-type": "application/connect+json"}
    answer = await client.post(f"{PATH}CountUp", content=envelope(b'{"until":"2"}'), headers=headers)
    assert envelopes(answer.body) == [(0, b'{"value":"0"}'), (0, b'{"value":"1"}'), (2, b"{}")]
    answer = await client.post(f"{PATH}CountUp", content=envelope(b'{"until":"1","fail":true}'), headers=headers)
    [first, (flags, last)] = envelopes(answer.body)
    assert (first, flags, reason(json.loads(last)["error"])) == ((0, b'{"value":"0"}'), 2, "TAKEN")
    answer = await client.post(f"{PATH}CountUp", content=envelope(b'{"until":"x"}'), headers=headers)
    assert answer.status == 200
    [(flags, last)] = envelopes(answer.body)
    assert (flags, json.loads(last)["error"]["code"]) == (2, "invalid_argument")


@pytest.mark.parametrize(
    ("method", "content_type"),
    [("Echo", "text/plain"), ("Echo", "application/connect+json"), ("CountUp", "application/json"), ("Echo", "")],
)
async def test_a_content_type_that_does_not_fit_is_refused(client: Client, method: str, content_type: str) -> None:
    answer = await client.post(f"{PATH}{method}", content=b"{}", headers={"content-type": content_type})
    assert answer.status == 415
    assert "application/grpc-web" in answer.headers["accept-post"]


async def test_another_version_of_connect_is_refused(client: Client) -> None:
    status, error = await connect(client, f"{PATH}Echo", {"text": "a"}, headers={"connect-protocol-version": "2"})
    assert (status, violations(error)) == (400, {"connect-protocol-version": "must be 1"})


async def test_a_deprecation_is_noted(client: Client) -> None:
    answer = await client.post(f"{PATH}OldEcho", json={})
    assert answer.json() == {}
    assert answer.headers["deprecation"].startswith("@")


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"connect-timeout-ms": "30"}, "deadline_exceeded"),
        ({"connect-timeout-ms": "soon"}, "invalid_argument"),
        ({"connect-timeout-ms": "12345678901"}, "invalid_argument"),
    ],
)
async def test_the_caller_says_how_long_it_waits(client: Client, headers: dict[str, str], code: str) -> None:
    _, error = await connect(client, f"{PATH}Slow", {"name": "n"}, headers=headers)
    assert error["code"] == code
    assert "n" not in running


# -- gRPC-Web


@pytest.mark.parametrize("text", [False, True], ids=["binary", "text"])
async def test_web_has_its_trailers_in_the_body(client: Client, text: bool) -> None:
    content = envelope(echo_message("a"))
    headers = {"content-type": f"application/grpc-web{'-text' if text else ''}+proto"}
    if text:  # as two pieces, each with its own padding
        content = base64.b64encode(content[:4]) + base64.b64encode(content[4:])
    messages, trailers = web(await client.post(f"{PATH}Echo", content=content, headers=headers))
    assert (messages, trailers) == ([b"\x0a\x01a"], {"grpc-status": "0"})


async def test_web_tells_errors_as_grpc_does(client: Client) -> None:
    answer = await client.post(f"{PATH}Take", content=envelope(b"\x0a\x03ada"), headers=WEB)
    messages, trailers = web(answer)
    assert (answer.status, messages, trailers["grpc-status"]) == (200, [], "6")
    assert trailers["grpc-message"] == "gr%C3%B6%C3%9Fer: 100 %25"
    details = base64.b64decode(trailers["grpc-status-details-bin"] + "==")
    assert b"TAKEN" in details


async def test_web_streams(client: Client) -> None:
    answer = await client.post(f"{PATH}CountUp", content=envelope(b"\x08\x02"), headers=WEB)
    assert web(answer) == ([b"\x08\x00", b"\x08\x01"], {"grpc-status": "0"})
    answer = await client.post(f"{PATH}CountUp", content=envelope(b"\x08\x01\x10\x01"), headers=WEB)
    messages, trailers = web(answer)
    assert (messages, trailers["grpc-status"]) == ([b"\x08\x00"], "6")


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", "12"),
        (b"\x00\x00", "3"),
        (envelope(echo_message("a"))[:-1], "3"),
        (envelope(echo_message("a")) * 2, "12"),
        (envelope(b"\x0a\x01a", 4), "3"),
        (envelope(gzip.compress(b"\x0a\x01a"), 1), "13"),
        (b"\x00\xff\xff\xff\xff", "8"),
        (envelope(b"\x0a\x05a"), "3"),
        (envelope(b"\x0a\x02\xff\xff"), "3"),
        (envelope(bytes(60_001)), "8"),
    ],
    ids=["nothing", "half a head", "cut", "two", "flags", "unannounced", "huge", "truncated", "no text", "oversize"],
)
async def test_an_envelope_that_is_wrong_is_refused(client: Client, content: bytes, status: str) -> None:
    _, trailers = web(await client.post(f"{PATH}Echo", content=content, headers=WEB))
    assert trailers["grpc-status"] == status


async def test_gzip_is_understood_and_nothing_else(client: Client) -> None:
    content = envelope(gzip.compress(echo_message("a")), 1)
    answer = await client.post(f"{PATH}Echo", content=content, headers={**WEB, "grpc-encoding": "gzip"})
    assert web(answer)[0] == [b"\x0a\x01a"]
    refused = await client.post(f"{PATH}Echo", content=content, headers={**WEB, "grpc-encoding": "snappy"})
    assert refused.headers["grpc-status"] == "12"
    assert refused.headers["grpc-accept-encoding"] == "gzip, identity"
    content = envelope(echo_message("a" * 9000))
    headers = {**WEB, "grpc-accept-encoding": "identity,deflate,gzip"}
    answer = await client.post(f"{PATH}Echo", content=content, headers=headers)
    assert answer.headers["grpc-encoding"] == "gzip"
    assert envelopes(answer.body)[0][0] == 1


async def test_what_leads_nowhere_is_unimplemented(client: Client) -> None:
    for path in (f"{PATH}Nothing", "/test.nothing.v1.NoService/Do"):
        answer = await client.post(path, content=envelope(b""), headers=WEB)
        assert (answer.status, answer.headers["grpc-status"]) == (200, "12")
    refused = await client.post("/test.nothing.v1.NoService/Do", content=b"", headers=PROTO)
    assert (refused.status, reason(refused.json())) == (501, "ROUTE_NOT_FOUND")


async def test_a_head_that_is_too_large_is_refused_in_the_protocol(client: Client) -> None:
    answer = await client.post(f"{PATH}Echo", content=b"", headers={**WEB, "x": "a" * 40_000})
    assert (answer.status, answer.headers["grpc-status"]) == (200, "3")


# -- native gRPC


async def test_native_grpc_says_what_it_needs_where_there_are_no_trailers(client: Client) -> None:
    headers = {"content-type": "application/grpc"}
    answer = await client.post(f"{PATH}Echo", content=envelope(echo_message("a")), headers=headers)
    assert (answer.status, answer.headers["grpc-status"]) == (200, "12")
    assert "trailers" in answer.headers["grpc-message"]


# -- patches


PLACE = {"street": "Ring"}


@pytest.mark.parametrize(
    ("message", "patch"),
    [
        ({"changes": {"name": "a", "tags": ["x"]}}, {"name": "'a'", "tags": "['x']"}),
        ({"changes": {"place": PLACE}}, {"place": "{'street': 'Ring'}"}),
        ({"changes": {"name": "a"}, "updateMask": "name,colour"}, {"name": "'a'", "colour": "'blue'"}),
        ({"changes": {}, "updateMask": "tags,size"}, {"tags": "[]", "size": "None"}),
        ({"changes": {"place": PLACE}, "updateMask": "place.street"}, {"place": "{'street': 'Ring'}"}),
        ({"updateMask": "place.city"}, {"place": "{'city': 'Wien'}"}),
        ({"changes": {}}, {}),
    ],
)
async def test_a_mask_says_what_is_changed(client: Client, message: Any, patch: dict[str, str]) -> None:
    status, answer = await connect(client, f"{PATH}Patched", message)
    assert (status, answer.get("entries", {})) == (200, patch)


@pytest.mark.parametrize(
    ("message", "field"),
    [
        ({"changes": {}, "updateMask": "name"}, "changes.name"),
        ({"changes": {"name": "a", "size": "1"}, "updateMask": "name"}, "changes.size"),
        ({"changes": {"place": PLACE}, "updateMask": "place.city"}, "changes.place.street"),
        ({"changes": {}, "updateMask": "nothing"}, "update_mask"),
        ({"changes": {}, "updateMask": "tags.x"}, "update_mask"),
        ({"changes": {"name": ""}}, "changes.name"),
        ({}, "changes"),
    ],
)
async def test_a_mask_that_does_not_fit_the_message_is_refused(client: Client, message: Any, field: str) -> None:
    status, error = await connect(client, f"{PATH}Patched", message)
    assert (status, set(violations(error))) == (400, {field})
