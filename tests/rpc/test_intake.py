"""Streams that come in, over every protocol that has them: what is taken, what is refused, what stays of it."""

from __future__ import annotations

import asyncio
import gzip
import json
import tracemalloc
from collections.abc import AsyncIterator, Callable, MutableMapping
from typing import Any

import pytest

from tests.rpc import belt
from tests.rpc.belt import Parcel, Receipt, app
from tests.rpc.feeding import Feeding
from tests.rpc.speak import envelope, envelopes, reason, violations, web
from trivet import App, Http, Module, Query, Read, Run, Stream, Write
from trivet.contracts.proto import text
from trivet.contracts.proto.descriptor import descriptors
from trivet.core.operation import Intake
from trivet.testing import Client
from trivet.testing.asgi import scope_of

PATH = "/test.belt.v1.BeltService/"
CONNECT = "application/connect+json"
GRPC = "application/grpc+json"
LINES = "application/x-ndjson"
NDJSON = {"content-type": LINES}
BOTH = (CONNECT, GRPC)


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    belt.events.clear()
    async with Client(app, settings=app.settings) as client:
        yield client


def lines(*items: Any) -> bytes:
    return b"".join(json.dumps(item).encode() + b"\n" for item in items)


def parcels(count: int, start: int = 0) -> list[dict[str, Any]]:
    return [{"label": f"p{number}"} for number in range(start, start + count)]


def messages(*items: Any, **first: Any) -> bytes:
    """Items as messages, the first of which says something else as well."""
    said = [{"parcel": item} for item in items]
    if first:
        said = [{**first, **(said[0] if said else {})}, *said[1:]]
    return b"".join(envelope(json.dumps(each).encode()) for each in said)


def answered(fed: Feeding) -> tuple[list[Any], Any]:
    """Return the messages of an answer, and its error: Connect's, or the code of gRPC."""
    found = [(flags, json.loads(content)) for flags, content in envelopes(fed.body)]
    if fed.head["content-type"] == CONNECT:
        return [content for flags, content in found if flags == 0], found[-1][1].get("error")
    code = int(fed.head["grpc-status"])
    return [content for _, content in found], code or None


async def stored(client: Client) -> list[str]:
    page = (await client.get("/v1/stored?page_size=100")).json()
    return sorted(item["label"] for item in page["items"])


# -- what is taken


@pytest.mark.parametrize(
    "content",
    [lines(*parcels(7)), lines(*parcels(7)).rstrip(), lines(*parcels(7)).replace(b"\n", b"\r\n \n")],
    ids=["lines", "a last one without an end", "empty ones between"],
)
async def test_lines_of_json_are_items(content: bytes, client: Client) -> None:
    answer = await client.post("/v1/receive-parcels?shelf=a", content=content, headers=NDJSON)
    assert (answer.status, answer.json()) == (200, {"count": 7, "refused": []})
    assert await stored(client) == [f"p{number}" for number in range(7)]


@pytest.mark.parametrize("content_type", BOTH)
async def test_messages_are_items_and_the_first_one_says_the_rest(content_type: str, client: Client) -> None:
    for start, content in ((0, messages(*parcels(4), shelf="a")), (4, messages(shelf="a") + messages(*parcels(2, 4)))):
        fed = Feeding(client.app, f"{PATH}ReceiveParcels", content_type).feed(content).close()
        count = {"count": "2" if start else "4"}
        assert answered(await fed.done()) == ([{"receipt": count}], None)
    assert len(await stored(client)) == 6


@pytest.mark.parametrize("content_type", BOTH)
async def test_messages_may_come_in_any_pieces(content_type: str, client: Client) -> None:
    content = messages(*parcels(2), shelf="a")
    pieces = [content[at : at + 1] for at in range(len(content))]
    fed = Feeding(client.app, f"{PATH}ReceiveParcels", content_type).feed(*pieces).close()
    assert answered(await fed.done()) == ([{"receipt": {"count": "2"}}], None)


async def test_a_stream_of_no_items_is_one(client: Client) -> None:
    empty = await client.post("/v1/sift-parcels", content=b"", headers=NDJSON)
    assert empty.json() == {"count": 0, "refused": []}
    for content_type in BOTH:
        fed = Feeding(client.app, f"{PATH}SiftParcels", content_type).close()
        assert answered(await fed.done()) == ([{"receipt": {"count": "0"}}], None)


async def test_each_item_is_answered_before_the_next_one_is_there(client: Client) -> None:
    for content_type in BOTH:
        fed = Feeding(client.app, f"{PATH}WeighParcels", content_type)
        for number in range(3):
            fed.feed(messages({"label": f"p{number}", "weight": "2"}, **({"rate": "5"} if not number else {})))
            await fed.until(f"p{number}".encode())
        fed.close()
        found, error = answered(await fed.done())
        assert [(each["weighed"]["label"], each["weighed"]["cost"]) for each in found] == [
            ("p0", "10"), ("p1", "10"), ("p2", "10"),
        ]  # fmt: skip
        assert error is None


async def test_an_exchange_over_rest_answers_with_events(client: Client) -> None:
    fed = Feeding(client.app, "/v1/weigh-parcels?rate=2", LINES).feed(lines({"label": "a"}))
    await fed.until(b"data: ")
    fed.feed(lines({"label": "b"})).close()
    await fed.done()
    data = [line.removeprefix(b"data: ") for line in fed.body.split(b"\n") if line.startswith(b"data: ")]
    assert [json.loads(each) for each in data] == [{"label": "a", "cost": 2}, {"label": "b", "cost": 2}]
    assert fed.head["content-type"] == "text/event-stream"


async def test_an_iterator_in_this_process_is_taken_as_it_is(client: Client) -> None:
    async def some() -> AsyncIterator[Parcel]:
        for number in range(4):
            yield Parcel(label=f"p{number}")

    assert await client.call(belt.receive_parcels, some(), "a") == Receipt(count=4)
    weighed = [item.cost async for item in await client.call(belt.weigh_parcels, some(), rate=3)]
    assert weighed == [3, 3, 3, 3]


async def test_nothing_is_read_before_it_is_asked_for(client: Client) -> None:
    """Not even when it is there: what the handler does not take stays with the sender."""
    fed = Feeding(client.app, f"{PATH}SkimParcels", GRPC).feed(
        *(messages({"label": "x", "weight": "4"}) for _ in range(50))
    )
    assert answered(await fed.done()) == ([{"value": "4"}], None)
    assert fed.asked == 1


async def test_a_stream_of_any_length_takes_the_memory_of_a_piece(client: Client) -> None:
    piece = lines(*({"label": f"p{number % 1000}"} for number in range(2000)))
    left = 50

    async def receive() -> MutableMapping[str, Any]:
        nonlocal left
        left -= 1
        return {"type": "http.request", "body": piece, "more_body": left > 0}

    sent: list[Any] = []

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    scope = scope_of("POST", "/v1/sift-parcels", None, {**NDJSON}, b"", False)
    scope["headers"] = [(n, v) for n, v in scope["headers"] if n != b"content-length"]
    tracemalloc.start()
    try:
        await client.app(scope, receive, send)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert json.loads(sent[-1]["body"])["count"] == 100_000
    assert peak < 2**20


# -- what is refused


async def test_what_was_committed_before_a_refused_item_stays(client: Client) -> None:
    items = [*parcels(4), {"label": ""}, *parcels(3, 5)]
    answer = await client.post("/v1/receive-parcels?shelf=a", content=lines(*items), headers=NDJSON)
    assert answer.status == 400
    assert [each["pointer"] for each in answer.json()["errors"]] == ["#/parcels/4/label"]
    assert await stored(client) == ["p0", "p1", "p2"]
    fed = Feeding(client.app, f"{PATH}ReceiveParcels", CONNECT).feed(messages(*parcels(1, 9), {"label": ""}, shelf="a"))
    _, error = answered(await fed.done())
    assert violations(error) == {"parcels[1].label": "expected `str` of length >= 1"}
    assert await stored(client) == ["p0", "p1", "p2"]


async def test_an_error_of_the_operation_ends_the_stream(client: Client) -> None:
    for content_type in BOTH:
        fed = Feeding(client.app, f"{PATH}WeighParcels", content_type).feed(
            messages({"label": "a"}, {"label": "taken"})
        )
        found, error = answered(await fed.done())
        assert (len(found), error if isinstance(error, int) else reason(error)) in ((1, 6), (1, "LABEL_TAKEN"))
    twice = await client.post("/v1/receive-parcels?shelf=a", content=lines(*parcels(1) * 2), headers=NDJSON)
    assert (twice.status, twice.json()["reason"]) == (409, "LABEL_TAKEN")


async def test_a_handler_may_let_refused_items_pass(client: Client) -> None:
    content = (
        lines({"label": "a"}, {"label": 7}, {"label": "b", "weight": 0}) + b'{"label":\n[]\n' + lines({"label": "c"})
    )
    answer = await client.post("/v1/sift-parcels", content=content, headers=NDJSON)
    assert answer.json() == {
        "count": 2,
        "refused": ["#/parcels/1/label", "#/parcels/2/weight", "#/parcels/3", "#/parcels/4"],
    }


@pytest.mark.parametrize(
    ("content", "wrong"),
    [
        (messages({"label": "a"}), {"shelf": "is required"}),
        (b"", {"shelf": "is required"}),
        (messages({"label": "a"}, shelf="a") + messages(shelf="b"), {"parcels[1]": "is required"}),
        (
            messages({"label": "a"}, shelf="a") + messages({"label": "b"}, shelf="b"),
            {"parcels[1]": "shelf: only the first message says that"},
        ),
    ],
    ids=["without an argument", "nothing at all", "no item", "an argument later"],
)
async def test_what_messages_may_say_depends_on_their_place(
    content: bytes, wrong: dict[str, str], client: Client
) -> None:
    fed = Feeding(client.app, f"{PATH}ReceiveParcels", CONNECT).feed(content).close()
    found, error = answered(await fed.done())
    assert (found, error["code"]) == ([], "invalid_argument")
    assert set(violations(error)) == set(wrong)
    assert next(iter(violations(error).values())) in (*wrong.values(), "Object missing required field `shelf`")


CODES: dict[str, tuple[bytes, dict[str, str], int]] = {
    "cut in its message": (envelope(b"{}" * 20)[:-1], {}, 3),
    "cut in its head": (b"\0\0\0", {}, 3),
    "unknown flags": (envelope(b"{}", 64), {}, 3),
    "compressed without a word": (envelope(gzip.compress(b"{}"), 1), {}, 13),
    "another coding": (b"", {"grpc_encoding": "br"}, 12),
    "too large": (envelope(b"{" + b" " * 2**20), {}, 8),
    "said to be 4 GiB": (b"\0\xff\xff\xff\xff", {}, 8),
    "a bomb": (envelope(gzip.compress(bytes(10_000_000)), 1), {"grpc_encoding": "gzip"}, 8),
}


@pytest.mark.parametrize("case", CODES)
async def test_a_message_that_is_none_ends_the_stream(case: str, client: Client) -> None:
    content, fields, code = CODES[case]
    good = messages({"label": "a"})
    fed = Feeding(client.app, f"{PATH}SiftParcels", GRPC, **fields).feed(good, content).close()
    assert answered(await fed.done()) == ([], code)


async def test_a_line_may_have_the_limit_and_no_more(client: Client) -> None:
    limit = app.settings.limits.body
    for size, status in ((limit, 200), (limit + 1, 413)):
        label = "x" * (size - len('{"label":""}'))
        line = b'{"label":"%b"}' % label.encode()
        fed = Feeding(client.app, "/v1/sift-parcels", LINES).feed(line[: size // 2], line[size // 2 :], b"\n").close()
        assert (await fed.done()).status == status
    endless = Feeding(client.app, "/v1/sift-parcels", LINES)
    endless.feed(*[b"x" * 65536] * 40)
    assert (await endless.done()).status == 413
    assert endless.asked < 20


async def test_compressed_messages_are_opened_one_by_one(client: Client) -> None:
    content = envelope(gzip.compress(b'{"parcel":{"label":"a"}}'), 1) + messages({"label": "b"})
    fed = Feeding(client.app, f"{PATH}SiftParcels", GRPC, grpc_encoding="gzip").feed(content).close()
    assert answered(await fed.done()) == ([{"receipt": {"count": "2"}}], None)


async def test_a_web_client_is_told_what_else_to_speak(client: Client) -> None:
    for kind in ("application/grpc-web+json", "application/grpc-web-text"):
        answer = await client.post(f"{PATH}SiftParcels", content=b"", headers={"content-type": kind})
        assert (answer.status, web(answer)[1]["grpc-status"]) == (200, "12")
        assert "use gRPC, Connect or REST" in answer.headers["grpc-message"]


async def test_an_idempotency_key_is_refused(client: Client) -> None:
    answer = await client.post("/v1/sift-parcels", content=b"", headers={**NDJSON, "idempotency-key": "k"})
    assert (answer.status, answer.json()["errors"][0]["pointer"]) == (400, "#/idempotency-key")
    fed = Feeding(client.app, f"{PATH}SiftParcels", CONNECT, idempotency_key="k").close()
    _, error = answered(await fed.done())
    assert "idempotency-key" in violations(error)


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"content-type": "application/json"}, 415),
        ({}, 415),
        ({"content-type": f"{LINES}; charset=latin-1"}, 415),
        ({**NDJSON, "content-encoding": "gzip"}, 415),
        ({**NDJSON, "accept": "text/html"}, 406),
        ({"content-type": "application/json-seq"}, 415),
        ({"content-type": "application/jsonl"}, 200),
    ],
)
async def test_the_format_of_items_over_rest_is_checked(fields: dict[str, str], status: int, client: Client) -> None:
    answer = await client.post("/v1/sift-parcels", content=b"", headers=fields)
    assert answer.status == status
    if status == 415 and "content-encoding" not in fields:
        assert "application/x-ndjson" in answer.json()["detail"]


async def test_who_may_not_call_is_told_before_anything_is_read(client: Client) -> None:
    for path, kind in (("/v1/guarded-parcels", LINES), (f"{PATH}GuardedParcels", CONNECT)):
        fed = Feeding(client.app, path, kind).feed(b"nonsense")
        await fed.done()
        assert fed.asked == 0
        assert b"UNAUTHENTICATED" in fed.body


@pytest.mark.parametrize("content_type", ["application/json", "application/proto", "text/plain"])
async def test_a_unary_content_type_does_not_fit_a_stream(content_type: str, client: Client) -> None:
    answer = await client.post(f"{PATH}SiftParcels", content=b"{}", headers={"content-type": content_type})
    assert answer.status == 415


# -- how it ends


@pytest.mark.parametrize("content_type", BOTH)
async def test_items_that_do_not_come_end_the_stream(content_type: str, client: Client) -> None:
    """After the idle time that the operation declares; what was stored stays."""
    fed = Feeding(client.app, f"{PATH}ReceiveParcels", content_type).feed(messages(*parcels(4), shelf="a"))
    _, error = answered(await fed.done())
    assert error == 4 if content_type == GRPC else error["code"] == "deadline_exceeded"
    assert await stored(client) == ["p0", "p1", "p2"]


@pytest.mark.parametrize("method", ["SkimParcels", "WeighParcels"])
async def test_the_caller_says_how_long_it_waits(method: str, client: Client) -> None:
    more = {"slowly": True} if method == "SkimParcels" else {"rate": "2"}
    for content_type in BOTH:
        said = {"connect_timeout_ms": "150"} if content_type == CONNECT else {"grpc_timeout": "150m"}
        fed = Feeding(client.app, f"{PATH}{method}", content_type, **said).feed(messages({"label": "a"}, **more))
        found, error = answered(await fed.done())
        assert len(found) == (method == "WeighParcels")
        assert error == 4 if content_type == GRPC else error["code"] == "deadline_exceeded"
    assert belt.events.count("closed") == 2


@pytest.mark.parametrize(("path", "kind"), [("/v1/weigh-parcels", LINES), (f"{PATH}WeighParcels", GRPC)])
async def test_a_client_that_goes_away_ends_the_handler(path: str, kind: str, client: Client) -> None:
    one = lines({"label": "a"}) if kind == LINES else messages({"label": "a"})
    fed = Feeding(client.app, path, kind).feed(one)
    await fed.until(b"cost")
    await fed.leave().done()
    assert belt.events == ["begun", "closed"]


@pytest.mark.parametrize(("path", "kind"), [("/v1/skim-parcels?slowly=true", LINES), (f"{PATH}SkimParcels", GRPC)])
async def test_a_client_that_goes_away_after_its_last_item_ends_the_handler(
    path: str, kind: str, client: Client
) -> None:
    one = lines({"label": "a"}) if kind == LINES else messages({"label": "a"}, slowly=True)
    fed = Feeding(client.app, path, kind).feed(one).close()
    while "begun" not in belt.events:  # noqa: ASYNC110 - the handler knows nothing of this test
        await asyncio.sleep(0.01)
    await fed.leave().done()
    assert belt.events == ["begun", "closed"]


@pytest.mark.parametrize("content_type", BOTH)
async def test_a_first_message_that_does_not_come_in_time_is_not_waited_for(content_type: str, client: Client) -> None:
    said = {"connect_timeout_ms": "100"} if content_type == CONNECT else {"grpc_timeout": "100m"}
    fed = Feeding(client.app, f"{PATH}WeighParcels", content_type, **said)
    found, error = answered(await fed.done())
    assert found == []
    assert error == 4 if content_type == GRPC else error["code"] == "deadline_exceeded"
    assert belt.events == []


@pytest.mark.parametrize(("path", "kind"), [("/v1/weigh-parcels", LINES), (f"{PATH}WeighParcels", CONNECT)])
async def test_a_process_that_ends_says_so_to_who_is_being_answered(path: str, kind: str, client: Client) -> None:
    fed = Feeding(client.app, path, kind).feed(
        lines({"label": "a"}) if kind == LINES else messages({"label": "a"}, rate="1")
    )
    await fed.until(b"cost")
    client.service.runtime.end_streams()
    await fed.done()
    assert b"DRAINING" in fed.body
    assert belt.events == ["begun", "closed"]


async def test_a_process_that_ends_says_so_to_who_sends() -> None:
    async with Client(app, settings=app.settings) as client:
        fed = Feeding(client.app, f"{PATH}ReceiveParcels", CONNECT).feed(messages(*parcels(4), shelf="a"))
        while await stored(client) != ["p0", "p1", "p2"]:  # noqa: ASYNC110 - likewise
            await asyncio.sleep(0.01)
        client.service.runtime.end_streams()
        _, error = answered(await fed.done())
        assert (error["code"], reason(error)) == ("unavailable", "DRAINING")
        late = Feeding(client.app, f"{PATH}WeighParcels", CONNECT).feed(messages({"label": "a"}))
        _, error = answered(await late.done())
        assert reason(error) == "DRAINING"


# -- what the contract says


def test_a_method_streams_in_the_directions_of_its_operation() -> None:
    contract, faults = app.contract()
    assert not faults
    [package] = contract.packages
    written = text.text_of(package)
    assert "rpc ReceiveParcels(stream ReceiveParcelsRequest) returns (ReceiveParcelsResponse);" in written
    assert "rpc WeighParcels(stream WeighParcelsRequest) returns (stream WeighParcelsResponse);" in written
    service = descriptors(contract.packages)[-1].service[0]
    directions = {m.name: (m.client_streaming, m.server_streaming) for m in service.method}
    assert directions["ReceiveParcels"] == (True, False)
    assert directions["WeighParcels"] == (True, True)
    assert directions["ListStored"] == (False, False)


async def test_openapi_says_what_a_line_is(client: Client) -> None:
    document = (await client.get("/openapi.json")).json()
    content = document["paths"]["/v1/receive-parcels"]["post"]["requestBody"]["content"]
    assert content[LINES]["schema"]["contentSchema"] == {"$ref": "#/components/schemas/Parcel"}


async def test_graphql_leaves_such_operations_out(client: Client) -> None:
    answer = await client.post("/graphql", json={"query": "{ __schema { mutationType { fields { name } } } }"})
    assert "sift" not in answer.text


def test_the_direction_decides_what_a_stream_is() -> None:
    assert isinstance(belt.receive_parcels, Intake)
    assert isinstance(belt.weigh_parcels, Stream)
    assert belt.weigh_parcels.takes
    assert not isinstance(belt.list_stored, Intake | Stream)
    assert isinstance(belt.list_stored, Query)


def by_two(module: Module) -> None:
    @module.stream(public=True)
    async def take(ctx: Run, ones: AsyncIterator[int], others: AsyncIterator[int]) -> None:
        """Take two streams."""


def by_the_second(module: Module) -> None:
    @module.stream(public=True)  # type: ignore[arg-type]  # what is to be refused
    async def take(ctx: Run, name: int, ones: AsyncIterator[int]) -> None:
        """Take a stream after something else."""


def by_a_query(module: Module) -> None:
    @module.query(public=True)
    async def get_sum(ctx: Read, ones: AsyncIterator[int]) -> int:
        """Take a stream."""
        return 0


def by_nobody(module: Module) -> None:
    @module.stream(public=True)  # type: ignore[arg-type]  # what is to be refused
    async def take(ctx: Read) -> int:
        """Take nothing, and yield nothing."""
        return 0


def in_a_transaction(module: Module) -> None:
    @module.stream(public=True)  # type: ignore[arg-type]  # what is to be refused
    async def take(ctx: Write, ones: AsyncIterator[int]) -> None:
        """Take a stream in a transaction."""


def under_get(module: Module) -> None:
    @module.stream(public=True, http=Http(method="GET"))
    async def take(ctx: Run, ones: AsyncIterator[int]) -> None:
        """Take a stream without a body."""


def beside_a_shape(module: Module) -> None:
    @module.stream(public=True)
    async def take(ctx: Run, ones: AsyncIterator[int], parcel: Parcel) -> None:
        """Take a stream and what does not fit a URL."""


FAULTS: dict[Callable[[Module], None], str] = {
    by_two: "items come in by one parameter",
    by_the_second: "the first one after the context",
    by_a_query: "declare it with @module.stream",
    by_nobody: "a stream yields items, takes them, or both",
    in_a_transaction: "a stream gets `ctx: Run`, not `Write`",
    under_get: "has no body for ones",
    beside_a_shape: "parcel can not stand in the URL",
}


@pytest.mark.parametrize("declare", FAULTS, ids=lambda declare: declare.__name__)
def test_a_declaration_that_makes_no_sense_keeps_the_app_from_starting(declare: Callable[[Module], None]) -> None:
    module = Module("things")
    declare(module)
    faults = "\n".join(str(fault) for fault in App("test", modules=[module]).describe()[1])
    assert FAULTS[declare] in faults


async def test_a_stream_is_not_called_from_another_operation(client: Client) -> None:
    async with client.context(belt.belt, write=False) as ctx:
        with pytest.raises(TypeError, match="only callers from outside"):
            await ctx.call(belt.sift_parcels, None)  # type: ignore[arg-type]  # what is to be refused
