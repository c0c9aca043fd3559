"""Connect's conformance cases for servers, one by one: `tests.rpc.conformance` says which case is where."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from tests.rpc import conformance
from tests.rpc.speak import envelope, envelopes
from trivet import App, Code, Deprecated, Error, Module, NotFound, Read, Run
from trivet.rpc.errors import BASES
from trivet.settings import LimitSettings
from trivet.testing import Client, settings_for_tests
from trivet.testing.asgi import scope_of

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 60_000
module = Module("things")


class Unknown(Error):
    """Nobody knows."""

    code = Code.UNKNOWN


class Lost(Error):
    """It is lost."""

    code = Code.DATA_LOSS


KINDS: dict[str, type[Error]] = {
    **{kind.code.name: kind for kind in BASES.values()},
    "OUT_OF_RANGE": BASES[Code.OUT_OF_RANGE],
    "UNKNOWN": Unknown,
    "DATA_LOSS": Lost,
}


class Detailed(NotFound):
    """There is no such thing."""

    name: str


@module.query(public=True)
async def echo(ctx: Read, text: str = "", fail: str = "") -> str:
    """Return the text, or fail."""
    if fail == "DETAILED":
        raise Detailed(name="ada", detail="größer: 100 %")
    if fail:
        raise KINDS[fail]
    return text


@module.query(public=True, timeout=5)
async def remaining(ctx: Read) -> float:
    """Return what is left of the time."""
    return ctx.deadline.remaining()


@module.query(public=True, deprecated=Deprecated(since=date(2026, 1, 1), link="https://x.example"))
async def old(ctx: Read) -> None:
    """Do nothing, with metadata in the answer."""


@module.stream(public=True)
async def count(ctx: Read, until: int = 0, text: str = "", fail: str = "") -> AsyncIterator[int]:
    """Count, then fail."""
    for number in range(until):
        yield number
    if fail == "DETAILED":
        raise Detailed(name="ada", detail="größer: 100 %")
    if fail:
        raise KINDS[fail]


async def behave(seen: int, fail: str, after: int, slow: bool) -> None:
    """Fail after so many items, or take long."""
    if slow:
        await asyncio.sleep(60)
    if fail and seen >= after:
        raise Detailed(name="ada", detail="größer: 100 %") if fail == "DETAILED" else KINDS[fail]


@module.stream(public=True, deprecated=Deprecated(since=date(2026, 1, 1)))
async def gather(ctx: Run, texts: AsyncIterator[str], fail: str = "", after: int = 0, slow: bool = False) -> str:
    """Return all texts together, or fail after so many."""
    found = ""
    seen = 0
    async for text in texts:
        await behave(seen, fail, after, slow)
        found, seen = found + text, seen + 1
    await behave(seen, fail, after, slow)
    return found


@module.stream(public=True, deprecated=Deprecated(since=date(2026, 1, 1)))
async def exchange(
    ctx: Run, texts: AsyncIterator[str], fail: str = "", after: int = 0, slow: bool = False, quiet: bool = False
) -> AsyncIterator[str]:
    """Return each text, or fail after so many."""
    seen = 0
    async for text in texts:
        await behave(seen, fail, after, slow)
        if not quiet:
            yield text
        seen += 1


app = App("test", modules=[module], settings=settings_for_tests(limits=LimitSettings(body=LIMIT)))
PATH = "/test.things.v1.ThingsService/"
UNARY = ("application/json", "application/grpc-web+json", "application/grpc+json")
STREAMING = ("application/connect+json", "application/grpc-web+json", "application/grpc+json")


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with Client(app, settings=app.settings) as client:
        yield client


class Answer:
    """What came, whatever the protocol.

    Attributes:
        status: The HTTP status.
        code: The gRPC code's number; ``None`` where the protocol says none.
        messages: The messages.
        fields: Header fields and trailers.
        error: What Connect says of an error.
    """

    def __init__(self, content_type: str, status: int, fields: dict[str, str], body: bytes) -> None:
        self.status = status
        self.fields = fields
        self.code: int | None = None
        self.messages: list[Any] = []
        self.error: Any = {}
        if status == 200 and content_type.startswith(("application/grpc", "application/connect")):
            for flags, content in envelopes(body):
                if flags == 0:
                    self.messages.append(json.loads(content) if content_type.endswith("json") else content)
                elif flags == 2:
                    self.error = json.loads(content).get("error", {})
                    self.code = number(self.error.get("code"))
                elif flags == 128:
                    self.fields |= dict(line.split(": ", 1) for line in content.decode().split("\r\n") if line)
            if "grpc-status" in self.fields:
                self.code = int(self.fields["grpc-status"])
        elif status == 200:
            self.messages, self.code = [json.loads(body) if content_type.endswith("json") else body], 0
        elif body:
            self.error = json.loads(body)
            self.code = number(self.error["code"])


def number(name: str | None) -> int:
    """Return the code that Connect spells so."""
    return 0 if name is None else Code[{"canceled": "CANCELLED"}.get(name, name.upper())].value


async def ask(client: Client, method: str, content_type: str, body: bytes, verb: str = "POST", **fields: str) -> Answer:
    """Send a body as it is, to a server with trailers."""
    headers = {"content-type": content_type, **{name.replace("_", "-"): value for name, value in fields.items()}}
    scope = scope_of(verb, PATH + method if "/" not in method else method, None, headers, body, False)
    scope["http_version"], scope["extensions"] = "2", {"http.response.trailers": {}}
    events: list[Any] = [{"type": "http.request", "body": body, "more_body": False}]
    status = 0
    said: dict[str, str] = {}
    pieces: list[bytes] = []

    async def receive() -> Any:
        if events:
            return events.pop()
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Any) -> None:
        nonlocal status
        status = message.get("status", status)
        for name, value in message.get("headers", ()):
            key, text = name.decode(), value.decode()
            said[key] = f"{said[key]}, {text}" if key in said else text
        pieces.append(message.get("body", b""))

    await client.app(scope, receive, send)
    return Answer(content_type, status, said, b"".join(pieces))


def enclosed(content_type: str, message: Any) -> bytes:
    """Return a message as the protocol sends it."""
    content = json.dumps(message).encode()
    return content if content_type == "application/json" else envelope(content)


EMPTY = {
    "application/json": b"{}",
    "application/proto": b"",
    **{f"application/{kind}+json": envelope(b"{}") for kind in ("grpc", "grpc-web")},
    **{f"application/{kind}{form}": envelope(b"") for kind in ("grpc", "grpc-web") for form in ("", "+proto")},
}


@pytest.mark.parametrize("content_type", EMPTY)
async def test_a_call_succeeds(content_type: str, client: Client) -> None:
    """Also with a message of no bytes, which is a message."""
    answer = await ask(client, "Echo", content_type, EMPTY[content_type])
    expected = {"value": ""} if content_type.endswith("json") else b"\x0a\x00"
    assert (answer.status, answer.code, answer.messages) == (200, 0, [expected])


@pytest.mark.parametrize("content_type", STREAMING)
async def test_a_stream_succeeds(content_type: str, client: Client) -> None:
    for until in (0, 2):
        answer = await ask(client, "Count", content_type, enclosed(content_type, {"until": until}))
        assert (answer.code, [message["value"] for message in answer.messages]) == (0, ["0", "1"][:until])


CONNECT_STATUS = {
    "CANCELLED": 499, "UNKNOWN": 500, "INVALID_ARGUMENT": 400, "DEADLINE_EXCEEDED": 504, "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409, "PERMISSION_DENIED": 403, "RESOURCE_EXHAUSTED": 429, "FAILED_PRECONDITION": 400,
    "ABORTED": 409, "OUT_OF_RANGE": 400, "UNIMPLEMENTED": 501, "INTERNAL": 500, "UNAVAILABLE": 503, "DATA_LOSS": 500,
    "UNAUTHENTICATED": 401,
}  # fmt: skip


@pytest.mark.parametrize("code", [code.name for code in Code])
async def test_every_code_is_said(code: str, client: Client) -> None:
    for content_type in UNARY:
        answer = await ask(client, "Echo", content_type, enclosed(content_type, {"fail": code}))
        assert answer.code == Code[code].value
        assert answer.status == (CONNECT_STATUS[code] if content_type == "application/json" else 200)
    for content_type in STREAMING:
        for until in (0, 2):
            answer = await ask(client, "Count", content_type, enclosed(content_type, {"until": until, "fail": code}))
            assert (answer.status, answer.code, len(answer.messages)) == (200, Code[code].value, until)


@pytest.mark.parametrize("method", ["Echo", "Count"])
async def test_an_error_has_its_message_and_its_fields(method: str, client: Client) -> None:
    for content_type in UNARY if method == "Echo" else STREAMING:
        answer = await ask(client, method, content_type, enclosed(content_type, {"fail": "DETAILED"}))
        assert answer.code == Code.NOT_FOUND.value
        if answer.error:
            assert answer.error["message"] == "größer: 100 %"
            assert answer.error["details"][0]["debug"]["metadata"] == {"name": "ada"}
        else:
            assert answer.fields["grpc-message"] == "gr%C3%B6%C3%9Fer: 100 %25"
            assert "grpc-status-details-bin" in answer.fields


ONE = b'{"text":"a"}'
PACKED = gzip.compress(ONE)
# (method, content type, body, further fields, verb, what is expected: an HTTP status or a gRPC code)
CASES: dict[str, tuple[str, str, bytes, dict[str, str], str, int, int | None]] = {
    "connect server-stream/no-request": ("Count", STREAMING[0], b"", {}, "POST", 200, 12),
    "connect server-stream/multiple-requests": ("Count", STREAMING[0], envelope(b"{}") * 2, {}, "POST", 200, 12),
    "connect unexpected-verb": ("Echo", UNARY[0], ONE, {}, "DELETE", 405, None),
    "connect unexpected-uri": ("/test.things.v1.Unknown/Nothing", UNARY[0], ONE, {}, "POST", 404, 12),
    "connect unexpected-codec": ("Echo", "application/foo", ONE, {}, "POST", 415, None),
    "connect unexpected-compression": ("Echo", UNARY[0], ONE, {"content_encoding": "foo"}, "POST", 501, 12),
    "connect unexpected-compressed-message": ("Count", STREAMING[0], envelope(PACKED, 1), {}, "POST", 200, 13),
    "unexpected-content-type": ("Echo", "image/jpeg", b"12345678", {}, "POST", 415, None),
    "basic/unimplemented": ("Nothing", UNARY[2], envelope(ONE), {}, "POST", 200, 12),
}
for name, kind in (("grpc", UNARY[2]), ("grpc-web", UNARY[1])):
    for form, called in (("unary", "Echo"), ("server-stream", "Count")):
        CASES[f"{name} {form}/no-request"] = (called, kind, b"", {}, "POST", 200, 12)
        CASES[f"{name} {form}/multiple-requests"] = (called, kind, envelope(b"{}") * 2, {}, "POST", 200, 12)
    CASES[f"{name} unexpected-verb"] = ("Echo", kind, envelope(ONE), {}, "DELETE", 405, None)
    CASES[f"{name} unexpected-uri"] = ("/test.things.v1.Unknown/Nothing", kind, envelope(ONE), {}, "POST", 200, 12)
    CASES[f"{name} unexpected-codec"] = ("Echo", f"application/{name}+foo", envelope(ONE), {}, "POST", 415, None)
    CASES[f"{name} unexpected-compression"] = (
        "Echo", kind, envelope(PACKED, 1), {"grpc_encoding": "foo"}, "POST", 200, 12,
    )  # fmt: skip
    CASES[f"{name} unexpected-compressed-message"] = (
        "Echo", kind, envelope(PACKED, 1), {"grpc_encoding": "identity"}, "POST", 200, 13,
    )  # fmt: skip


@pytest.mark.parametrize("case", CASES)
async def test_what_is_unexpected_is_refused(case: str, client: Client) -> None:
    method, content_type, body, fields, verb, status, code = CASES[case]
    answer = await ask(client, method, content_type, body, verb, **fields)
    assert (answer.status, answer.code) == (status, code)


async def test_a_message_may_have_the_limit_and_no_more(client: Client) -> None:
    frame = len(json.dumps({"text": ""}))
    for method, kinds in (("Echo", UNARY), ("Count", STREAMING)):
        for content_type in kinds:
            fits = await ask(client, method, content_type, enclosed(content_type, {"text": "a" * (LIMIT - frame)}))
            assert fits.code == 0
            over = await ask(client, method, content_type, enclosed(content_type, {"text": "a" * (LIMIT - frame + 10)}))
            assert over.code == Code.RESOURCE_EXHAUSTED.value


async def test_the_time_that_a_caller_gives_arrives(client: Client) -> None:
    for content_type in UNARY:
        said = {"connect_timeout_ms": "2000"} if content_type == UNARY[0] else {"grpc_timeout": "2S"}
        answer = await ask(client, "Remaining", content_type, enclosed(content_type, {}), **said)
        assert 0 < float(answer.messages[0]["value"]) <= 2
    for content_type in STREAMING:
        said = {"connect_timeout_ms": "2000"} if content_type == STREAMING[0] else {"grpc_timeout": "2S"}
        assert (await ask(client, "Count", content_type, enclosed(content_type, {"until": 1}), **said)).code == 0


async def test_metadata_that_is_there_twice_is_one(client: Client) -> None:
    """What comes several times is joined by commas, in both directions; a request id that is two is none."""
    for content_type in UNARY:
        answer = await ask(client, "Old", content_type, enclosed(content_type, {}), request_id="a, b")
        assert answer.code == 0
        assert answer.fields["request-id"] != "a, b"
        assert "deprecation" in answer.fields
        failed = await ask(client, "Echo", content_type, enclosed(content_type, {"fail": "NOT_FOUND"}), request_id="r")
        assert failed.fields["request-id"] == "r"
    for content_type in STREAMING:
        for message in ({"until": 1}, {}, {"until": 1, "fail": "NOT_FOUND"}, {"fail": "NOT_FOUND"}):
            answer = await ask(client, "Count", content_type, enclosed(content_type, message), request_id="r")
            assert answer.fields["request-id"] == "r"


COMING_IN = ("application/connect+json", "application/grpc+json")
TAKING = ("Gather", "Exchange")
"""One answer to all, one answer to each."""


def several(*texts: str, **first: Any) -> bytes:
    """Return messages of a request, the first of which says more."""
    said = [{"value": text} for text in texts]
    return b"".join(envelope(json.dumps(each).encode()) for each in ([first, *said] if first else said))


async def test_streams_that_come_in_are_answered(client: Client) -> None:
    """Also where there are none, and where there is none of an answer."""
    for content_type in COMING_IN:
        for texts in ((), ("a",), ("a", "b", "")):
            answer = await ask(client, "Gather", content_type, several(*texts))
            assert (answer.status, answer.code, answer.messages) == (200, 0, [{"value": "".join(texts)}])
            answer = await ask(client, "Exchange", content_type, several(*texts))
            assert (answer.status, answer.code) == (200, 0)
            assert answer.messages == [{"value": text} for text in texts]
        empty = await ask(client, "Exchange", content_type, several("a", "b", quiet=True))
        assert (empty.code, empty.messages) == (0, [])


async def test_streams_that_come_in_fail_with_what_was_answered_before(client: Client) -> None:
    for content_type in COMING_IN:
        for code in (*(code.name for code in Code), "DETAILED"):
            number = Code.NOT_FOUND.value if code == "DETAILED" else Code[code].value
            for before in (0, 2):
                answer = await ask(client, "Exchange", content_type, several("a", "b", "c", fail=code, after=before))
                assert (answer.status, answer.code, len(answer.messages)) == (200, number, before)
                answer = await ask(client, "Gather", content_type, several("a", "b", fail=code, after=before))
                assert (answer.status, answer.code, answer.messages) == (200, number, [])
                if code == "DETAILED" and answer.error:
                    assert answer.error["details"][0]["debug"]["metadata"] == {"name": "ada"}


async def test_streams_that_come_in_have_metadata(client: Client) -> None:
    for content_type in COMING_IN:
        for method in TAKING:
            for more in ({}, {"fail": "NOT_FOUND", "after": 1}, {"fail": "NOT_FOUND", "after": 0}):
                answer = await ask(client, method, content_type, several("a", "b", **more), request_id="r")
                assert answer.fields["request-id"] == "r"
                assert "deprecation" in answer.fields
                answer = await ask(client, method, content_type, several("a", **more), request_id="a, b")
                assert answer.fields["request-id"] != "a, b"


async def test_each_message_of_a_stream_may_have_the_limit(client: Client) -> None:
    fits = "a" * (LIMIT - len(json.dumps({"value": ""})))
    for content_type in COMING_IN:
        for method in TAKING:
            assert (await ask(client, method, content_type, several(fits, fits, fits))).code == 0
            for texts in ((f"{fits}a", "a"), ("a", f"{fits}a")):
                over = await ask(client, method, content_type, several(*texts))
                assert over.code == Code.RESOURCE_EXHAUSTED.value


async def test_streams_that_come_in_end_at_the_time_that_the_caller_gives(client: Client) -> None:
    for content_type in COMING_IN:
        header = "connect_timeout_ms" if content_type == COMING_IN[0] else "grpc_timeout"
        for method in TAKING:
            for given, code in (("20000", 0), ("100", Code.DEADLINE_EXCEEDED.value)):
                said = {header: given if header == "connect_timeout_ms" else f"{given}m"}
                asked = several("a", slow=code != 0)
                assert (await ask(client, method, content_type, asked, **said)).code == code


async def test_more_messages_than_a_method_takes_are_refused(client: Client) -> None:
    for content_type in STREAMING:
        answer = await ask(client, "Count", content_type, envelope(b"{}") * 3)
        assert (answer.status, answer.code) == (200, Code.UNIMPLEMENTED.value)


def test_every_case_is_covered_by_a_test_that_exists() -> None:
    for where in set(conformance.COVERED.values()):
        file, _, name = where.partition("::")
        assert f"def {name}(" in (ROOT / file).read_text(), where
