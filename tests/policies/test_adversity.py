"""Handlers, values and callers at their worst: every request still ends, once, and says no more than it may."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any

import msgspec
import pytest

from trivet import App, Meta, Module, NotFound, Read, Struct, Unavailable, Write
from trivet.core.checks import MAX_VIOLATIONS
from trivet.core.violations import MAX_WALKED
from trivet.settings import Settings
from trivet.telemetry.log import Sink
from trivet.testing import Client, settings_for_tests
from trivet.testing.asgi import exchange, scope_of


class Unspeakable(Exception):
    """Fails whoever looks at it."""

    def __repr__(self) -> str:
        raise RuntimeError("no repr")

    def __str__(self) -> str:
        raise RuntimeError("no str")


class Opaque(NotFound):
    """There is no such thing."""

    thing: object


class Heap(Struct):
    numbers: list[int] = []
    digits: list[Annotated[int, Meta(ge=0, le=9)]] = []


class Running:
    """An app that runs, with its log."""

    def __init__(self, module: Module) -> None:
        self.lines: list[bytes] = []
        self.app = App("adversity", modules=[module], settings=settings_for_tests())

    async def __aenter__(self) -> Running:
        await self.app.start(sink=Sink(self.lines.append))
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self.app.stop()

    async def get(self, path: str) -> Any:
        return await exchange(self.app, "GET", path)

    @property
    def in_flight(self) -> float:
        return self.app.service.runtime.metrics.gauge("trivet_requests_in_flight", "").bind().value

    @property
    def access(self) -> list[dict[str, Any]]:
        self.app.service.runtime.sink.flush()
        lines = [msgspec.json.decode(line) for line in b"".join(self.lines).splitlines()]
        return [line for line in lines if line["message"] == "request"]


def hostile() -> Module:
    m = Module("hostile")

    @m.query(public=True)
    async def get_unspeakable(ctx: Read) -> int:
        """Fail with an exception that can not be shown."""
        raise Unspeakable

    @m.query(public=True)
    async def get_opaque(ctx: Read) -> int:
        """Fail with an error whose field is no JSON."""
        raise Opaque(thing=object())

    @m.query(public=True)
    async def get_never(ctx: Read) -> int:
        """Fail with a time that can not be written."""
        raise Unavailable(retry_after=float("inf"))

    @m.query(public=True)
    async def get_logged(ctx: Read) -> int:
        """Log what can not be logged."""
        around: list[Any] = []
        around.append(around)
        ctx.log.warning("odd", thing=Unspeakable(), keys={object(): 1}, text="\udcff", around=around)
        return 1

    @m.stream(public=True)
    async def watch_opaque(ctx: Read, after: int) -> AsyncIterator[int]:
        """Yield what can not be written."""
        for n in range(after):
            yield n
        yield object()  # type: ignore[misc]  # that is the point

    @m.command(public=True)
    async def take(ctx: Write, heap: Heap) -> int:
        """Take a heap."""
        return len(heap.numbers)

    return m


@pytest.mark.parametrize("name", ["unspeakable", "opaque", "never"])
async def test_what_can_not_be_rendered_is_an_internal_error_and_the_request_ends_once(name: str) -> None:
    async with Running(hostile()) as running:
        answer = await running.get(f"/v1/get-{name}")
        assert (answer.status, answer.json()["reason"]) == (500, "INTERNAL")
        assert running.in_flight == 0
        assert [(line["status"], line["code"]) for line in running.access] == [(500, "INTERNAL")]
        assert any(b'"message":"unexpected error"' in line for line in running.lines)


async def test_a_value_that_can_not_be_logged_does_not_fail_the_request() -> None:
    async with Running(hostile()) as running:
        assert (await running.get("/v1/get-logged")).status == 200
        [line] = [line for line in running.lines if b"odd" in line]
        assert b"str() failed" in line or b"repr() failed" in line


@pytest.mark.parametrize("after", [0, 1])
async def test_an_item_that_can_not_be_written_ends_the_stream_with_an_error(after: int) -> None:
    async with Running(hostile()) as running:
        answer = await running.get(f"/v1/watch-opaque?after={after}")
        assert (answer.status, b"event: error" in answer.body) == ((200, True) if after else (500, False))
        assert b"INTERNAL" in answer.body
        assert running.in_flight == 0
        assert [line["code"] for line in running.access] == ["INTERNAL"]


async def test_a_server_that_raises_when_the_client_is_gone_leaves_nothing_in_flight() -> None:
    async with Running(hostile()) as running:

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            raise OSError("the client is gone")

        for path in ("/v1/get-logged", "/v1/get-opaque", "/v1/watch-opaque?after=3"):
            await running.app(scope_of("GET", path, None, {}, b"", False), receive, send)
        assert running.in_flight == 0
        assert [(line["status"], line["code"]) for line in running.access] == [(499, "CANCELLED")] * 3


@pytest.mark.parametrize(
    "heap",
    [
        {"numbers": [2**60] * 5_000},
        {f"unknown{n}": 1 for n in range(5_000)},
        {"digits": ["x"] * 5_000},
    ],
)
async def test_an_answer_lists_a_bounded_number_of_violations(heap: Any) -> None:
    async with Client(App("hostile", modules=[hostile()])) as client:
        answer = await client.post("/v1/take", json={"heap": heap})
        many = await client.get("/v1/get-logged?" + "&".join(map(str, range(1000))))
    assert (answer.status, len(answer.json()["errors"])) == (400, MAX_VIOLATIONS)
    assert (many.status, len(many.json()["errors"])) == (400, MAX_VIOLATIONS)


async def test_what_is_wrong_behind_more_than_is_looked_at_is_still_said() -> None:
    async with Client(App("hostile", modules=[hostile()])) as client:
        answer = await client.post("/v1/take", json={"heap": {"digits": [1] * (2 * MAX_WALKED) + ["x"]}})
    [error] = answer.json()["errors"]
    assert error == {"detail": "expected `int`, got `str`", "pointer": f"#/heap/digits/{2 * MAX_WALKED}"}


@pytest.mark.parametrize(
    ("peer", "status"),
    [
        ("127.0.0.1", 200),
        ("::1", 200),
        ("::ffff:127.0.0.1", 200),
        ("192.0.2.7", 401),
        ("::ffff:192.0.2.7", 401),
        ("testclient", 401),
        (None, 401),
    ],
)
async def test_only_this_machine_is_the_developer_whatever_the_server_listens_to(peer: str | None, status: int) -> None:
    m = Module("secrets")

    @m.query(scope="secrets.read")
    async def get_secret(ctx: Read) -> str:
        """Say it."""
        return ctx.principal.subject

    app = App("secrets", modules=[m], settings=Settings(environment="development"))
    answers: list[int] = []
    async with app:
        scope = scope_of("GET", "/v1/get-secret", None, {"host": "localhost"}, b"", False) | {
            "client": None if peer is None else (peer, 1)
        }

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                answers.append(message["status"])

        await app(scope, receive, send)
    assert answers == [status]
