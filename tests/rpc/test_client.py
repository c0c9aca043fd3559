"""`trivet.rpc.Client` calls operations of another process as they are called in this one, over Connect and gRPC."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

import msgspec
import pytest
import trustme

from shop.app import app as shop
from shop.catalog import (
    NewProduct,
    ProductId,
    SkuTaken,
    create_product,
    get_product,
    get_products,
    list_products,
    reserve_stock,
    update_product,
)
from shop.orders import export_orders
from tests.rpc import apart
from tests.rpc.speak import envelope
from trivet import (
    Code,
    DeadlineExceeded,
    Internal,
    InvalidArgument,
    JobStatus,
    Money,
    NotFound,
    Page,
    PageRequest,
    Patch,
    Unauthenticated,
)
from trivet.core.idempotency import IdempotencyKeyReused
from trivet.rpc import Client, Tls, Unreachable
from trivet.rpc.dialect import Refused, connect_error, grpc_status
from trivet.testing import Client as InProcess
from trivet.testing import Served, serve

ROOT = Path(__file__).resolve().parents[2]
PROTOCOLS: tuple[Literal["connect", "grpc"], ...] = ("connect", "grpc")
HANG_SECONDS = 60


@pytest.fixture(params=PROTOCOLS)
async def client(request: pytest.FixtureRequest, served: Served) -> AsyncIterator[Client]:
    async with Client(served.url, shop, protocol=request.param) as client:
        yield client.with_options(timeout=HANG_SECONDS)


@pytest.fixture(scope="session")
def depot() -> Iterator[Served]:
    """The depot in a process of its own."""
    with serve("tests.rpc.apart:depot_app", app_dir=ROOT, environ={"TRIVET_SERVER__KIND": "envoy"}) as served:
        yield served


@pytest.fixture
async def desk(depot: Served, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[InProcess]:
    monkeypatch.setenv("DEPOT_URL", depot.url)
    async with InProcess(apart.desk_app, settings=apart.desk_app.settings) as client:
        yield client


def new_product(**more: Any) -> NewProduct:
    sku = f"TST-{uuid4().hex[:12].upper()}"
    return NewProduct(sku=sku, name="Stool", brand="Holm", price=Money(amount=Decimal("12.50"), currency="EUR"), **more)


# -- values


async def test_results_are_what_the_operation_returns(client: Client) -> None:
    page = await client.call(list_products, PageRequest(page_size=2))
    assert isinstance(page, Page)
    assert len(page.items) == 2
    following = await client.call(list_products, page=PageRequest(page_size=2, page_token=page.next_page_token))
    assert following.items[0] not in page.items
    first = page.items[0]
    assert await client.call(get_product, first.id) == first
    unknown = ProductId(uuid4())
    assert list(await client.call(get_products, [first.id, unknown])) == [first, None]


async def test_a_patch_changes_what_it_names_and_no_more(client: Client) -> None:
    created = await client.call(create_product, new_product(stock=3, tags=["a"]))
    assert (created.name, created.price.amount, created.stock) == ("Stool", Decimal("12.50"), 3)
    changes: Patch[NewProduct] = Patch({"price": Patch({"amount": Decimal(13)}), "tags": []})
    changed = await client.call(update_product, created.id, changes)
    assert (changed.price, list(changed.tags), changed.name) == (
        Money(amount=Decimal(13), currency="EUR"), [], "Stool",
    )  # fmt: skip


async def test_a_job_is_accepted(client: Client) -> None:
    status = await client.call(export_orders, date(2026, 1, 1), date(2026, 1, 2))
    assert isinstance(status, JobStatus)
    assert status.operation == "orders.export_orders"


# -- errors


async def test_declared_errors_come_back_as_their_classes_with_their_fields(client: Client) -> None:
    product = new_product()
    await client.call(create_product, product)
    with pytest.raises(SkuTaken) as taken:
        await client.call(create_product, product)
    assert taken.value == SkuTaken(sku=product.sku)
    with pytest.raises(NotFound):
        await client.call(get_product, ProductId(uuid4()))


async def test_what_is_wrong_with_an_input_is_said_by_pointer(client: Client) -> None:
    wrong = new_product(stock=-1)
    with pytest.raises(InvalidArgument) as refused:
        await client.call(create_product, wrong)
    assert [violation.pointer for violation in refused.value.violations] == ["#/product/stock"]


async def test_a_key_makes_a_command_take_effect_once(client: Client) -> None:
    keyed = client.with_options(idempotency_key=uuid4().hex)
    product = new_product()
    assert await keyed.call(create_product, product) == await keyed.call(create_product, product)
    with pytest.raises(IdempotencyKeyReused):
        await keyed.call(create_product, new_product())


async def test_what_is_not_served_there_is_a_mistake(client: Client) -> None:
    with pytest.raises(TypeError, match="internal"):
        await client.call(reserve_stock, [])
    with pytest.raises(TypeError, match="not in that app"):
        await client.call(apart.look)


async def test_credentials_are_needed_and_sent(depot: Served) -> None:
    async with Client(depot.url, apart.depot_app) as client:
        with pytest.raises(Unauthenticated):
            await client.call(apart.guarded)
    given: list[str] = []

    def authorization() -> str:
        given.append("Bearer none")
        return given[-1]

    async with Client(depot.url, apart.depot_app, authorization=authorization) as client:
        with pytest.raises(Unauthenticated):  # there are no tokens yet, so that none is accepted
            await client.call(apart.look)
    assert given


# -- streams


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_stream_yields_items_as_they_come(protocol: Literal["connect", "grpc"], depot: Served) -> None:
    async with asyncio.timeout(HANG_SECONDS), Client(depot.url, apart.depot_app, protocol=protocol) as client:
        good = await client.call(apart.create_good, "pen", 5)
        async with aclosing(await client.call(apart.watch_goods)) as items:
            await client.call(apart.take_good, good.id, 2)
            assert await anext(items) == apart.Taken(good=good.id, left=3)
            await client.call(apart.take_good, good.id, 3)
            assert await anext(items) == apart.Taken(good=good.id, left=0)


async def test_a_stream_goes_on_after_its_last_item_when_its_process_ends(tmp_path: Path) -> None:
    port = free_port()
    environ = {"TRIVET_SERVER__PORT": str(port), "TRIVET_DATABASE__URL": f"sqlite:///{tmp_path}/depot.db"}
    url = f"http://127.0.0.1:{port}"
    async with asyncio.timeout(HANG_SECONDS), Client(url, apart.depot_app, http_version="1.1") as client:
        with serve("tests.rpc.apart:depot_app", app_dir=ROOT, environ=environ):
            good = await client.call(apart.create_good, "pen", 5)
            items = await client.call(apart.watch_goods)
            await client.call(apart.take_good, good.id, 1)
            assert (await anext(items)).left == 4
            following = asyncio.ensure_future(anext(items))
            await asyncio.sleep(0)
        with serve("tests.rpc.apart:depot_app", app_dir=ROOT, environ=environ):
            await client.call(apart.take_good, good.id, 1)
            assert (await following).left == 3


# -- on behalf of a call


async def test_a_handler_calls_another_process_as_it_would_call_a_module(desk: InProcess, depot: Served) -> None:
    async with Client(depot.url, apart.depot_app) as client:
        good = await client.call(apart.create_good, "pen", 5)
    assert await desk.call(apart.get_ordered, good.id) == good
    with pytest.raises(apart.Short) as short:  # declared by both, so that it passes through
        await desk.call(apart.create_pick, good.id, 6)
    assert short.value == apart.Short(wanted=6, stock=5, names=["pen"])


async def test_time_trace_and_token_travel_along(desk: InProcess) -> None:
    trace_id = "a" * 32
    fields = {"traceparent": f"00-{trace_id}-{'b' * 16}-01", "request-id": "mine", "consistency-token": "t"}
    path = next(op.path for op in desk.service.api.operations if op.id == "desk.looked")
    seen = msgspec.convert((await desk.get(path, headers=fields)).json(), apart.Seen)
    assert (seen.trace_id, seen.request_id, seen.token) == (trace_id, "mine", "t")
    assert seen.parent_id not in ("", "b" * 16)  # the span of the call in between
    assert 0 < seen.remaining <= 3


async def test_what_takes_longer_than_there_is_time_is_late(desk: InProcess, depot: Served) -> None:
    with pytest.raises(DeadlineExceeded):
        await desk.call(apart.impatient)
    await logged(depot, "depot.wait", {"DEADLINE_EXCEEDED", "CANCELLED"})


async def logged(served: Served, operation: str, codes: set[str]) -> None:
    """Return when the log has such a line."""
    until = time.monotonic() + HANG_SECONDS
    while time.monotonic() < until:
        lines = [json.loads(line) for line in served.log.read_text().splitlines() if '"request"' in line]
        if any(line.get("operation") == operation and line.get("code") in codes for line in lines):
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"{operation} did not end as {codes}")


async def test_a_cancelled_call_is_cancelled_over_there(depot: Served) -> None:
    async with Client(depot.url, apart.depot_app) as client:
        task = asyncio.ensure_future(client.call(apart.wait, 50))
        await client.call(apart.look)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await logged(depot, "depot.wait", {"CANCELLED"})


async def test_a_command_that_is_made_again_takes_effect_over_there_once(desk: InProcess, depot: Served) -> None:
    async with Client(depot.url, apart.depot_app) as client:
        good = await client.call(apart.create_good, "pen", 5)
        apart.fails[:] = ["once more", "once more"]
        path = next(op.path for op in desk.service.api.operations if op.id == "desk.create_pick")
        asked = {"json": {"id": str(good.id), "count": 2}, "headers": {"idempotency-key": uuid4().hex}}
        statuses = [(await desk.post(path, **asked)).status for _ in range(3)]
        assert statuses[:2] == [503, 503]
        assert statuses[2] in (200, 201)
        assert (await client.call(apart.get_good, good.id)).stock == 3
        asked["headers"] = {"idempotency-key": uuid4().hex}
        await desk.post(path, **asked)  # another key is another request
        assert (await client.call(apart.get_good, good.id)).stock == 1


async def test_a_command_that_is_sent_runs_over_there(desk: InProcess, depot: Served) -> None:
    async with Client(depot.url, apart.depot_app) as client:
        good = await client.call(apart.create_good, "pen", 5)
        await desk.call(apart.create_request, good.id, 2)
        await desk.settle(HANG_SECONDS)
        assert (await client.call(apart.get_good, good.id)).stock == 3


async def test_calls_are_held_to_the_rules_between_modules(desk: InProcess, depot: Served) -> None:
    async with Client(depot.url, apart.depot_app) as client:
        good = await client.call(apart.create_good, "pen", 5)
    with pytest.raises(Internal) as refused:
        await desk.call(apart.take_by_query, good.id)
    assert "a query can not call it" in str(refused.value.__cause__)
    with pytest.raises(Internal) as refused:
        await desk.call(apart.create_blocker, good.id)
    assert "declare uses=[there]" in str(refused.value.__cause__)
    with pytest.raises(Internal) as refused:
        await desk.call(apart.create_join, good.id)
    assert "ctx.send it" in str(refused.value.__cause__)
    with pytest.raises(Internal) as refused:  # our own credentials are not the caller's fault
        await desk.call(apart.unwelcome)


# -- repetition, bounds


class Shaky:
    """A server of HTTP/1.1 whose answers are given; with none left it answers well."""

    def __init__(self, *answers: bytes | None) -> None:
        self.answers = list(answers)
        self.keys: list[str] = []
        self.open = self.most = 0
        self.hold = 0.0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
                await reader.readexactly(int(fields.get("content-length", "0")))
                self.keys.append(fields.get("idempotency-key", ""))
                self.open += 1
                self.most = max(self.most, self.open)
                await asyncio.sleep(self.hold)
                self.open -= 1
                answer = self.answers.pop(0) if self.answers else OK
                if answer is None:
                    return
                writer.write(answer)
                if isinstance(answer, Cut):
                    return
        except asyncio.IncompleteReadError:
            return  # the client has closed its connection
        finally:
            writer.close()


class Cut(bytes):
    """An answer after which the connection ends."""


GOOD = b'{"good":{"id":"0198c1f2-7a00-7000-8000-0000000fffff","name":"pen","stock":"1"}}'
OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(GOOD), GOOD)
BUSY = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\nbusy"


async def shaky(server: Shaky, **options: Any) -> tuple[asyncio.Server, Client]:
    listening = await asyncio.start_server(server, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    return listening, Client(f"http://127.0.0.1:{port}", apart.depot_app, http_version="1.1", **options)


async def test_what_may_be_over_in_a_moment_is_asked_again_with_the_same_key() -> None:
    server = Shaky(BUSY, None)
    listening, client = await shaky(server)
    async with listening, client:
        good = await client.call(apart.create_good, "pen", 1)
    assert good.name == "pen"
    assert len(server.keys) == 3
    assert len(set(server.keys)) == 1
    assert server.keys[0]


def streamed(number: int) -> Cut:
    """Return the beginning of a stream: one item, then the connection ends."""
    taken = {"taken": {"good": "0198c1f2-7a00-7000-8000-0000000fffff", "left": str(number)}, "position": str(number)}
    piece = envelope(json.dumps(taken).encode())
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/connect+json\r\ntransfer-encoding: chunked\r\n\r\n"
    return Cut(head + b"%x\r\n%b\r\n" % (len(piece), piece))


async def test_a_stream_that_gives_something_is_resumed_however_often_its_connection_ends() -> None:
    server = Shaky(*map(streamed, range(20)))
    listening, client = await shaky(server)
    async with asyncio.timeout(HANG_SECONDS), listening, client:
        items = await client.call(apart.watch_goods)
        assert [(await anext(items)).left for _ in range(20)] == list(range(20))
        await items.aclose()


async def test_a_server_that_fails_again_and_again_is_not_asked_again() -> None:
    server = Shaky(*[BUSY] * 50)
    listening, client = await shaky(server)
    async with listening, client:
        for _ in range(10):
            with pytest.raises(Exception, match="busy"):
                await client.call(apart.look)
    assert 10 <= len(server.keys) < 20  # 30 without a budget


async def test_calls_wait_for_one_another_beyond_the_bound() -> None:
    server = Shaky()
    server.hold = 0.02
    listening, client = await shaky(server, calls_max=3)
    async with listening, client:
        await asyncio.gather(*(client.call(apart.create_good, "pen", 1) for _ in range(12)))
    assert server.most <= 3


async def test_an_answer_that_is_too_large_is_not_read() -> None:
    large = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 90000\r\n\r\n" + b"x" * 90_000
    listening, client = await shaky(Shaky(large), answer_max=50_000)
    async with listening, client:
        with pytest.raises(Exception, match="more than 50000 bytes"):
            await client.call(apart.look)


async def test_nobody_there_is_unreachable() -> None:
    async with Client(f"http://127.0.0.1:{free_port()}", apart.depot_app) as client:
        with pytest.raises(Unreachable):
            await client.call(apart.look)


def free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port: int = bound.getsockname()[1]
        return port


# -- TLS


async def test_both_sides_show_certificates(tmp_path: Path) -> None:
    ours, theirs = trustme.CA(), trustme.CA()
    files = {
        name: tmp_path / name
        for name in ("server.pem", "server.key", "ca.pem", "client.pem", "client.key", "clients.pem")
    }
    issued = ours.issue_cert("localhost")
    files["server.key"].write_bytes(issued.private_key_pem.bytes())
    files["server.pem"].write_bytes(b"".join(part.bytes() for part in issued.cert_chain_pems))
    ours.cert_pem.write_to_path(str(files["ca.pem"]))
    known = theirs.issue_cert("desk.internal")
    files["client.key"].write_bytes(known.private_key_pem.bytes())
    files["client.pem"].write_bytes(b"".join(part.bytes() for part in known.cert_chain_pems))
    theirs.cert_pem.write_to_path(str(files["clients.pem"]))
    environ = {
        "TRIVET_SERVER__KIND": "envoy",
        "TRIVET_TLS__CERTIFICATE": str(files["server.pem"]),
        "TRIVET_TLS__KEY": str(files["server.key"]),
        "TRIVET_TLS__CLIENT_CA": str(files["clients.pem"]),
        "TRIVET_TLS__CLIENT_CERTIFICATE": "required",
    }
    with serve("tests.rpc.apart:depot_app", app_dir=ROOT, environ=environ) as served:
        url = f"https://localhost:{served.url.rpartition(':')[2]}"
        mutual = Tls(ca=files["ca.pem"], certificate=files["client.pem"], key=files["client.key"])
        for protocol in PROTOCOLS:
            async with Client(url, apart.depot_app, protocol=protocol, tls=mutual) as client:
                assert (await client.call(apart.look)).remaining > 0
        async with Client(url, apart.depot_app, tls=Tls(ca=files["ca.pem"])) as client:
            with pytest.raises(Exception, match=r"reached|connection"):  # without one of our own
                await client.call(apart.look)
        async with Client(url, apart.depot_app, tls=Tls(ca=files["clients.pem"])) as client:
            with pytest.raises(Unreachable):  # somebody else's server
                await client.call(apart.look)


def test_the_extra_is_named_where_it_is_missing() -> None:
    script = (
        "import sys; sys.modules['pyqwest'] = None\n"
        "from trivet import App, Module\nfrom trivet.rpc import Client\n"
        "Client('http://localhost', App('a', modules=[Module('m')]))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert "pip install 'trivet[client]'" in done.stderr


DETAILS = {"no base64": "!", "half of base64": "a", "no protobuf": "/////w", "no message inside": "GgUSAwoBYQ"}


@pytest.mark.parametrize("details", DETAILS.values(), ids=DETAILS)
def test_details_that_can_not_be_read_take_nothing_from_the_error(details: str) -> None:
    said = {"grpc-status": "5", "grpc-message": "gone", "grpc-status-details-bin": details}
    with pytest.raises(Refused) as over_grpc:
        grpc_status(said)
    kind = "google.rpc.ErrorInfo"
    error = {"code": "not_found", "message": "gone", "details": [{"type": kind, "value": details}]}
    over_connect = connect_error(json.dumps(error).encode(), 404)
    for found in (over_grpc.value.said, over_connect):
        assert (found.code, found.text) == (Code.NOT_FOUND, "gone")


@pytest.mark.parametrize("details", [1, [1], ["x"], [{}], [{"type": 1, "value": 2}]])
def test_details_of_another_form_take_nothing_from_the_error(details: Any) -> None:
    error = {"code": "not_found", "message": "gone", "details": details}
    found = connect_error(json.dumps(error).encode(), 404)
    assert (found.code, found.text) == (Code.NOT_FOUND, "gone")
