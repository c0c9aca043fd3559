"""Other people's clients and ours send streams to a real server: at its pace, to the end, or not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from itertools import count
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

import grpc
import pytest
from google.protobuf import descriptor_pool, message_factory
from pyqwest import Client as Http
from pyqwest import HTTPTransport, HTTPVersion

from tests.adversity.hardship import size_of
from tests.rpc import belt
from tests.rpc.belt import Parcel
from trivet import DeadlineExceeded, InvalidArgument, PageRequest
from trivet.contracts.proto.descriptor import descriptors
from trivet.rpc import Client
from trivet.testing import Served, serve
from trivet.transports.rpc.envelope import enveloped

ROOT = Path(__file__).resolve().parents[2]
PATH = "/test.belt.v1.BeltService/"
HANG_SECONDS = 60
GROWTH = 32 * 2**20
"""Bytes that the workers may grow."""


def classes() -> dict[str, Any]:
    """Google's own classes of the messages."""
    contract, _ = belt.app.contract()
    pool = descriptor_pool.DescriptorPool()
    for file in descriptors(contract.packages):
        pool.Add(file)
    return {
        m.name: message_factory.GetMessageClass(pool.FindMessageTypeByName(m.full_name))
        for m in contract.packages[0].messages
    }


MESSAGES = classes()


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    """The belt behind Envoy."""
    with serve("tests.rpc.belt:app", app_dir=ROOT, environ={"TRIVET_SERVER__KIND": "envoy"}) as served:
        yield served


@pytest.fixture
async def channel(served: Served) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(served.url.removeprefix("http://")) as channel:
        yield channel


@pytest.fixture(params=["connect", "grpc"])
async def client(request: pytest.FixtureRequest, served: Served) -> AsyncIterator[Client]:
    async with Client(served.url, belt.app, protocol=request.param) as client:
        yield client.with_options(timeout=HANG_SECONDS)


def method(channel: grpc.aio.Channel, name: str, streams: bool = False) -> Any:
    make = channel.stream_stream if streams else channel.stream_unary
    return make(
        f"{PATH}{name}",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=MESSAGES[f"{name}Response"].FromString,
    )


def request(name: str, label: str | None = None, weight: int = 1, **more: Any) -> Any:
    made = MESSAGES[f"{name}Request"](**more)
    if label is not None:
        made.parcel.label, made.parcel.weight = label, weight
    return made


async def events(channel: grpc.aio.Channel) -> list[str]:
    seen = channel.unary_unary(f"{PATH}ListEvents", response_deserializer=MESSAGES["ListEventsResponse"].FromString)
    return list((await seen(b"")).items)


async def closed(channel: grpc.aio.Channel, before: int) -> None:
    """Return when one more handler was closed."""
    async with asyncio.timeout(HANG_SECONDS):
        while (await events(channel)).count("closed") <= before:  # noqa: ASYNC110 - it is in another process
            await asyncio.sleep(0.02)


# -- gRPC's own client


async def test_grpcio_streams_in(channel: grpc.aio.Channel) -> None:
    label = uuid4().hex
    sent = [request("ReceiveParcels", f"{label}{number}") for number in range(7)]
    sent[0].shelf = "a"
    answer = await method(channel, "ReceiveParcels")(iter(sent), timeout=HANG_SECONDS)
    assert answer.receipt.count == 7


async def test_grpcio_streams_both_ways_and_half_closes(channel: grpc.aio.Channel) -> None:
    call = method(channel, "WeighParcels", streams=True)(timeout=HANG_SECONDS)
    for number in range(1, 4):
        await call.write(request("WeighParcels", "a", number, **({"rate": 3} if number == 1 else {})))
        assert (await call.read()).weighed.cost == number * 3  # before the next one is sent
    before = (await events(channel)).count("ended")
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF
    assert await call.code() is grpc.StatusCode.OK
    assert (await events(channel)).count("ended") == before + 1


async def test_grpcio_compresses_what_it_sends(channel: grpc.aio.Channel) -> None:
    sent = [request("SiftParcels", "a" * 10_000) for _ in range(5)]
    call = method(channel, "SiftParcels")(iter(sent), timeout=HANG_SECONDS, compression=grpc.Compression.Gzip)
    assert (await call).receipt.count == 5


async def test_grpcio_cancels_in_the_middle(channel: grpc.aio.Channel) -> None:
    before = (await events(channel)).count("closed")
    call = method(channel, "WeighParcels", streams=True)(timeout=HANG_SECONDS)
    await call.write(request("WeighParcels", "a"))
    await call.read()
    call.cancel()
    await closed(channel, before)


async def test_grpcio_gives_up_at_its_deadline(channel: grpc.aio.Channel) -> None:
    before = (await events(channel)).count("closed")
    call = method(channel, "WeighParcels", streams=True)(timeout=0.5)
    await call.write(request("WeighParcels", "a"))
    assert (await call.read()).weighed.cost == 1
    with pytest.raises(grpc.aio.AioRpcError) as late:
        await call.read()
    assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await closed(channel, before)


@pytest.mark.parametrize(
    ("label", "code"),
    [("", "INVALID_ARGUMENT"), ("taken", "ALREADY_EXISTS"), ("x" * 2**21, "RESOURCE_EXHAUSTED")],
    ids=["wrong", "refused by the handler", "too large"],
)
async def test_grpcio_is_told_in_the_middle(label: str, code: str, channel: grpc.aio.Channel) -> None:
    call = method(channel, "WeighParcels", streams=True)(timeout=HANG_SECONDS)
    await call.write(request("WeighParcels", "a"))
    assert (await call.read()).weighed.cost == 1
    await call.write(request("WeighParcels", label))
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call.read()
    assert refused.value.code().name == code


async def test_an_answer_may_come_before_all_was_sent(channel: grpc.aio.Channel) -> None:
    call = method(channel, "SkimParcels")(timeout=HANG_SECONDS)
    await call.write(request("SkimParcels", "a", 9))
    assert (await call).value == 9


async def test_grpcio_sends_thousands_without_waiting(channel: grpc.aio.Channel) -> None:
    one = request("SiftParcels", "p" * 20)
    call = method(channel, "SiftParcels")((one for _ in range(5000)), timeout=HANG_SECONDS)
    assert (await call).receipt.count == 5000


async def test_a_hundred_thousand_items_take_the_memory_of_one(served: Served) -> None:
    message = request("SiftParcels", "p" * 20).SerializeToString()
    thousand = enveloped(message) * 1000

    async def content() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield thousand

    before = size_of(served)
    async with HTTPTransport(http_version=HTTPVersion.HTTP2, timeout=HANG_SECONDS) as transport:
        headers = {"content-type": "application/grpc+proto", "te": "trailers"}
        answer = await Http(transport).post(f"{served.url}{PATH}SiftParcels", headers=headers, content=content())
    assert answer.trailers["grpc-status"] == "0"
    assert MESSAGES["SiftParcelsResponse"].FromString(answer.content[5:]).receipt.count == 100_000
    assert size_of(served).rss - before.rss < GROWTH


@pytest.mark.slow
async def test_who_does_not_read_its_answers_is_not_read_either(channel: grpc.aio.Channel, served: Served) -> None:
    """The server's answers wait for their reader, its items for the server: both stand still, and nothing grows."""
    before, sent = size_of(served), 0
    large = request("WeighParcels", "x" * 500_000)

    async def endless() -> AsyncIterator[Any]:
        nonlocal sent
        for _ in count():
            yield large
            sent += 1

    call = method(channel, "WeighParcels", streams=True)(endless(), timeout=HANG_SECONDS)
    stands = -1
    while sent != stands:
        stands = sent
        await asyncio.sleep(0.5)
    assert size_of(served).rss - before.rss < GROWTH
    call.cancel()


# -- ours


def several(*labels: str) -> AsyncIterator[Parcel]:
    async def give() -> AsyncIterator[Parcel]:
        for label in labels:
            yield Parcel(label=label)

    return give()


async def test_our_client_sends_what_an_iterator_gives(client: Client) -> None:
    label = uuid4().hex
    receipt = await client.call(belt.receive_parcels, several(*(f"{label}{n}" for n in range(4))), shelf="b")
    assert receipt == belt.Receipt(count=4)
    assert await client.call(belt.sift_parcels, several()) == belt.Receipt(count=0)


async def test_our_client_is_answered_item_by_item(client: Client) -> None:
    told: asyncio.Queue[str] = asyncio.Queue()

    async def asked() -> AsyncIterator[Parcel]:
        while label := await told.get():
            yield Parcel(label=label)

    told.put_nowait("a")
    answers = await client.call(belt.weigh_parcels, asked(), rate=2)
    assert await anext(answers) == belt.Weighed(label="a", cost=2)
    told.put_nowait("b")
    assert await anext(answers) == belt.Weighed(label="b", cost=2)
    told.put_nowait("")
    assert [each async for each in answers] == []


async def test_our_client_gets_errors_as_the_classes_that_they_are(client: Client) -> None:
    with pytest.raises(InvalidArgument) as wrong:
        await client.call(belt.receive_parcels, several("ok", ""), shelf="b")
    assert [violation.pointer for violation in wrong.value.violations] == ["#/parcels/1/label"]
    answers = await client.call(belt.weigh_parcels, several("a", "taken"))
    assert (await anext(answers)).cost == 1
    with pytest.raises(belt.LabelTaken) as taken:
        await anext(answers)
    assert taken.value.label == "taken"


async def test_what_fails_while_it_is_sent_fails_as_itself(client: Client) -> None:
    async def broken() -> AsyncIterator[Parcel]:
        yield Parcel(label="a")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await client.call(belt.sift_parcels, broken())
    with pytest.raises(ZeroDivisionError):
        async for _ in await client.call(belt.weigh_parcels, broken()):
            pass


async def test_our_client_gives_up_in_time(client: Client) -> None:
    async def slowly() -> AsyncIterator[Parcel]:
        yield Parcel(label="a")
        await asyncio.sleep(HANG_SECONDS)

    with pytest.raises(DeadlineExceeded):
        await client.with_options(timeout=0.3).call(belt.sift_parcels, slowly())


async def test_over_http_1_a_stream_is_sent_before_it_is_answered() -> None:
    environ = {"TRIVET_SERVER__KIND": "uvicorn"}
    version: Literal["1.1"] = "1.1"
    with serve("tests.rpc.belt:app", app_dir=ROOT, environ=environ) as served:
        async with Client(served.url, belt.app, http_version=version) as client:
            receipt = await client.call(belt.receive_parcels, several(*"abcd"), shelf="b")
            assert receipt.count == 4
            weighed = [each.cost async for each in await client.call(belt.weigh_parcels, several(*"ab"), rate=5)]
            assert weighed == [5, 5]
            listed = await client.call(belt.list_stored, PageRequest())
            assert [each.label for each in listed.items] == [*"abcd"]
