"""What the chains promise, seen from outside."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import date
from typing import Annotated

import pytest

from trivet import (
    App,
    Deprecated,
    Event,
    FailedPrecondition,
    Meta,
    Module,
    Principal,
    Read,
    Struct,
    Unavailable,
    Write,
)
from trivet.policies.chain import CALL, GATE, NESTED
from trivet.telemetry.log import Sink
from trivet.telemetry.metrics import merge, render
from trivet.testing import Client, principal

Word = Annotated[str, Meta(max_length=50)]


class Echo(Struct):
    word: str


class Refused(FailedPrecondition):
    """It does not want to."""

    why: str


def echo_app() -> tuple[App, Module]:
    """Return an app with one open, one scoped, one deprecated and one failing query."""
    words = Module("words", version="2.1.0")

    @words.query(public=True)
    async def get_echo(ctx: Read, word: Word) -> Echo:
        """Say it again."""
        return Echo(word=word)

    @words.query(scope=["words.read", "words.more"])
    async def get_whisper(ctx: Read, word: Word) -> Echo:
        """Say it to those who may hear."""
        return Echo(word=f"{ctx.principal.subject}: {word}")

    @words.query(
        public=True,
        deprecated=Deprecated(since=date(2026, 1, 1), sunset=date(2027, 1, 1), link="https://example.com/why"),
    )
    async def get_old_echo(ctx: Read) -> Echo:
        """Say what nobody says any more."""
        return Echo(word="old")

    @words.query(public=True, raises=[Refused])
    async def get_refusal(ctx: Read, how: Word) -> int:
        """Fail in some way."""
        if how == "domain":
            raise Refused(why="no") from ValueError("inside")
        raise RuntimeError("a secret detail")

    return App("words", modules=[words]), words


def test_the_order_is_stated_once() -> None:
    assert [policy.__name__ for policy in GATE] == ["observe", "deadline", "authenticate", "authorize", "consistency"]
    assert [policy.__name__ for policy in CALL] == ["leased_idempotency", "transaction", "idempotency", "precondition"]
    assert [policy.__name__ for policy in NESTED] == ["observe_nested", "isolate"]


async def test_a_scoped_operation_wants_credentials_then_the_scopes() -> None:
    app, _ = echo_app()
    async with Client(app) as client:
        nobody = await client.get("/v2/get-whisper?word=x")
        some = await client.get("/v2/get-whisper?word=x", as_=principal("ada", scopes="words.read"))
        all = await client.get("/v2/get-whisper?word=x", as_=principal("ada", scopes=["words.read", "words.more"]))
    assert (nobody.status, some.status, all.status) == (401, 403, 200)
    assert nobody.headers["www-authenticate"].startswith("Bearer")
    assert some.json()["scopes"] == ["words.more"]
    assert all.json() == {"word": "ada: x"}


async def test_credentials_come_before_content() -> None:
    app, _ = echo_app()
    async with Client(app) as client:
        assert (await client.get("/v2/get-whisper?nonsense=1")).status == 401


async def test_credentials_that_nobody_can_verify_are_refused_everywhere() -> None:
    app, _ = echo_app()
    async with Client(app) as client:
        assert (await client.get("/v2/echo?word=x", headers={"authorization": "Bearer abc"})).status == 401


async def test_a_deprecated_operation_says_so_and_is_counted_by_caller() -> None:
    app, _ = echo_app()
    async with Client(app) as client:
        answer = await client.get("/v2/echo:getOld", as_=principal("ada"))
        metrics = render(merge([("0", client.service.runtime.metrics.snapshot())]))
    assert answer.headers["deprecation"] == "@1767225600"
    assert answer.headers["sunset"] == "Fri, 01 Jan 2027 00:00:00 GMT"
    assert 'rel="deprecation"' in answer.headers["link"]
    assert 'trivet_deprecated_calls_total{operation="words.get_old_echo",client="ada"} 1' in metrics


async def test_a_domain_error_shows_its_fields_and_an_unexpected_one_shows_nothing() -> None:
    app, _ = echo_app()
    async with Client(app) as client:
        domain = await client.get("/v2/get-refusal?how=domain")
        broken = await client.get("/v2/get-refusal?how=other")
    assert (domain.status, domain.json()["reason"], domain.json()["why"]) == (400, "REFUSED", "no")
    assert "inside" not in domain.text
    assert broken.status == 500
    assert "secret" not in broken.text


async def test_each_request_is_one_line_without_its_payload_and_the_numbers_agree() -> None:
    app, _ = echo_app()
    lines: list[bytes] = []
    await app.start(sink=Sink(lines.append))
    try:
        client = Client(app.__call__)
        await client.get("/v2/echo?word=payload", headers={"request-id": "r-1"}, as_=principal("ada", tenant="t1"))
        await client.get("/v2/get-refusal?how=other", headers={"request-id": "r-2"})
        await client.get("/v2/nowhere", headers={"request-id": "r-3"})
        metrics = render(merge([("0", app.service.runtime.metrics.snapshot())]))
    finally:
        await app.stop()
    assert b"payload" not in b"".join(lines)
    parsed = [json.loads(line) for line in b"".join(lines).splitlines()]
    access = {line["request_id"]: line for line in parsed if line["message"] == "request"}
    assert access["r-1"].items() >= {
        "operation": "words.get_echo", "protocol": "rest", "method": "GET /v2/echo", "status": 200, "code": "OK",
        "bytes": 18, "principal": "ada", "tenant": "t1",
    }.items()  # fmt: skip
    assert len(access["r-1"]["trace_id"]) == 32
    assert (access["r-2"]["code"], access["r-3"]["operation"], access["r-3"]["status"]) == ("INTERNAL", "unrouted", 404)
    [failure] = [line for line in parsed if line["level"] == "error"]
    assert (failure["request_id"], "a secret detail" in failure["traceback"]) == ("r-2", True)
    assert 'trivet_requests_total{operation="words.get_echo",protocol="rest",code="OK"} 1' in metrics
    assert 'trivet_request_seconds_count{operation="words.get_echo",protocol="rest"} 1' in metrics
    assert 'trivet_requests_in_flight{worker="0"} 0' in metrics


# -- deadlines


def slow_app() -> tuple[App, list[str]]:
    """Return an app whose query takes as long as it is told, and what became of it."""
    slow = Module("slow")
    ended: list[str] = []

    @slow.query(public=True, timeout=0.05, timeout_max=30)
    async def get_nap(ctx: Read, seconds: Annotated[float, Meta(ge=0, le=60)]) -> Echo:
        """Sleep."""
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise
        ended.append("slept")
        return Echo(word=f"{ctx.deadline.remaining():.0f}")

    @slow.query(public=True, timeout=20)
    async def get_nested_nap(ctx: Read) -> Echo:
        """Sleep in another operation, under this one's deadline."""
        return await ctx.call(get_nap, 0.1)

    @slow.stream(public=True, idle=0.05)
    async def watch_naps(ctx: Read) -> AsyncIterator[Echo]:
        """Say one thing, then nothing."""
        try:
            yield Echo(word="one")
            await asyncio.sleep(60)
        finally:
            ended.append("closed")

    return App("slow", modules=[slow]), ended


async def test_what_is_late_is_stopped_and_answers_504() -> None:
    app, ended = slow_app()
    async with Client(app) as client:
        answer = await client.get("/v1/get-nap?seconds=30")
    assert (answer.status, answer.json()["code"], ended) == (504, "deadline_exceeded", ["cancelled"])


async def test_a_caller_may_take_more_up_to_the_maximum_and_less() -> None:
    app, _ = slow_app()
    async with Client(app) as client:
        more = await client.get("/v1/get-nap?seconds=0.1", headers={"request-timeout": "10"})
        most = await client.get("/v1/get-nap?seconds=0.1", headers={"request-timeout": "1000"})
        less = await client.get("/v1/get-nap?seconds=0.04", headers={"request-timeout": "0.001"})
        wrong = await client.get("/v1/get-nap?seconds=0", headers={"request-timeout": "soon"})
    assert (more.json(), most.json()) == ({"word": "10"}, {"word": "30"})
    assert (less.status, wrong.status) == (504, 400)


async def test_a_nested_call_has_the_deadline_of_the_whole() -> None:
    app, ended = slow_app()
    async with Client(app) as client:
        answer = await client.get("/v1/get-nested-nap")
    assert (answer.json(), ended) == ({"word": "20"}, ["slept"])


async def test_an_idle_stream_is_closed_without_an_error() -> None:
    app, ended = slow_app()
    async with Client(app) as client:
        answer = await client.get("/v1/watch-naps")
    assert answer.status == 200
    assert '"one"' in answer.text
    assert "error" not in answer.text
    assert ended == ["closed"]


# -- calls between operations


def calling_app() -> App:
    """Return two modules of which one uses the other."""
    lower, upper = Module("lower"), Module("upper")
    upper.uses = (lower,)
    tags = ["a"]

    @lower.query(internal=True)
    async def get_tags(ctx: Read) -> list[str]:
        """Return what is kept."""
        return tags

    @lower.query(scope="lower.read")
    async def count_tags(ctx: Read) -> int:
        """Count what is kept; the scope is for outside callers."""
        return len(tags)

    @upper.query(internal=True)
    async def get_upper(ctx: Read) -> int:
        """Return something."""
        return 1

    @upper.query(public=True)
    async def get_spoilt(ctx: Read) -> int:
        """Change what the other module returned."""
        (await ctx.call(get_tags)).append("b")
        return await ctx.call(count_tags)

    @lower.query(public=True)
    async def get_wrong(ctx: Read) -> int:
        """Call a module that this one does not use."""
        return await ctx.call(get_upper)

    return App("calling", modules=[lower, upper])


async def test_values_cross_as_copies_and_scopes_are_for_outside_callers() -> None:
    async with Client(calling_app()) as client:
        assert (await client.get("/v1/get-spoilt")).json() == {"value": 1}
        assert (await client.get("/v1/count-tags")).status == 401


async def test_a_module_calls_only_modules_that_it_uses() -> None:
    app = calling_app()
    lines: list[bytes] = []
    await app.start(sink=Sink(lines.append))
    try:
        answer = await Client(app.__call__).get("/v1/get-wrong")
    finally:
        await app.stop()
    assert answer.status == 500
    assert b'write Module(\\"lower\\", uses=[upper])' in b"".join(lines)


async def test_a_call_counts_as_nested() -> None:
    async with Client(calling_app()) as client:
        await client.get("/v1/get-spoilt")
        metrics = render(merge([("0", client.service.runtime.metrics.snapshot())]))
    assert 'trivet_nested_calls_total{operation="lower.get_tags",code="OK"} 1' in metrics


class Rung(Event):
    number: int


async def test_a_query_can_neither_emit_nor_call_a_command_however_it_is_written() -> None:
    bells = Module("bells")

    @bells.command(public=True)
    async def ring(ctx: Write) -> int:
        """Ring."""
        return 1

    @bells.query(public=True)
    async def get_ring(ctx: Read) -> int:
        """Try to ring."""
        return await ctx.call(ring)  # type: ignore[arg-type]  # that is the point

    async with Client(App("bells", modules=[bells])) as client:
        assert (await client.get("/v1/get-ring")).status == 500
        assert (await client.post("/v1/ring")).json() == {"value": 1}


async def test_unavailable_says_when_to_come_back() -> None:
    m = Module("down")

    @m.query(public=True)
    async def get_down(ctx: Read) -> int:
        """Be down."""
        raise Unavailable(retry_after=7)

    async with Client(App("down", modules=[m])) as client:
        answer = await client.get("/v1/get-down")
    assert (answer.status, answer.headers["retry-after"]) == (503, "7")


def test_everything_wrong_with_an_app_is_said_at_once() -> None:
    from trivet import FaultyApp

    wrong = Module("Wrong", version="1")

    @wrong.query()  # type: ignore[call-overload, untyped-decorator]  # that is the point
    async def get_nothing(ctx: Read) -> int:
        return 1

    @wrong.query(public=True)
    async def get_untyped(ctx: Read, id) -> int:  # type: ignore[no-untyped-def]  # that is the point
        return 1

    stranger = Module("stranger")
    wrong.uses = (stranger,)
    with pytest.raises(FaultyApp) as refused:
        App("wrong", modules=[wrong], mounts={"no-slash": echo_app()[0]}).build()
    rules = [fault.rule for fault in refused.value.faults]
    assert set(rules) >= {"module-name", "module-version", "access", "signature", "module-uses", "mount"}
    assert all(fault.place.line > 0 and fault.mend for fault in refused.value.faults)
    assert __file__ in str(refused.value)


def test_the_developer_exists_only_in_development_on_loopback() -> None:
    from trivet.core.principal import ANONYMOUS, DEVELOPER
    from trivet.runtime import default_principal
    from trivet.settings import IdentitySettings, ServerSettings, Settings

    def who(environment: str, host: str, developer: bool = True) -> Principal:
        return default_principal(
            Settings(
                environment=environment,  # type: ignore[arg-type]  # one of two
                server=ServerSettings(host=host),
                identity=IdentitySettings(developer=developer),
            )
        )

    assert who("development", "127.0.0.1") is DEVELOPER
    assert who("development", "0.0.0.0") is ANONYMOUS
    assert who("development", "127.0.0.1", developer=False) is ANONYMOUS
    assert who("production", "127.0.0.1") is ANONYMOUS
