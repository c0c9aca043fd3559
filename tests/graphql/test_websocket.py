"""The protocol `graphql-transport-ws`, message by message."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from tests.transports.library import LIBRARIAN, Library, front
from trivet.core.principal import ANONYMOUS
from trivet.transports.graphql import websocket

SUBSCRIBE = {"type": "subscribe", "id": "1", "payload": {"query": "subscription { watchBooks(count: 2) { title } }"}}
SILENT = "subscription { watchBooks(count: 1, silent: true) { title } }"
INIT = {"type": "connection_init"}


class Socket:
    """The client's end of a socket to an application in this process."""

    def __init__(self, app: Any, subprotocols: list[str]) -> None:
        self._to: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._from: asyncio.Queue[Any] = asyncio.Queue()
        self._to.put_nowait({"type": "websocket.connect"})
        scope = {
            "type": "websocket",
            "path": "/graphql",
            "raw_path": b"/graphql",
            "query_string": b"",
            "root_path": "",
            "headers": [(b"host", b"localhost")],
            "client": ("127.0.0.1", 1),
            "subprotocols": subprotocols,
        }
        self.task = asyncio.ensure_future(app(scope, self._to.get, self._from.put))

    async def next(self) -> Any:
        message = await asyncio.wait_for(self._from.get(), 10)
        if message["type"] == "websocket.send":
            return msgspec.json.decode(message["text"])
        return message

    def say(self, message: Any) -> None:
        text = message if isinstance(message, str) else msgspec.json.encode(message).decode()
        self._to.put_nowait({"type": "websocket.receive", "text": text})

    def leave(self) -> None:
        self._to.put_nowait({"type": "websocket.disconnect", "code": 1000})


@asynccontextmanager
async def opened(
    served: Callable[..., Any], *said: Any, subprotocols: tuple[str, ...] = (websocket.SUBPROTOCOL,)
) -> AsyncIterator[Socket]:
    socket = Socket(served, list(subprotocols))
    accepted = await socket.next()
    assert accepted["type"] == "websocket.accept"
    for message in said:
        socket.say(message)
    try:
        yield socket
    finally:
        socket.leave()
        await asyncio.wait_for(socket.task, 10)


async def closed(socket: Socket) -> int:
    while not (isinstance(message := await socket.next(), dict) and message["type"] == "websocket.close"):
        pass
    return int(message["code"])


async def test_a_subscription_is_followed_to_its_end() -> None:
    async with opened(front(Library()), INIT, SUBSCRIBE) as socket:
        said = [await socket.next() for _ in range(4)]
    assert [message["type"] for message in said] == ["connection_ack", "next", "next", "complete"]
    assert said[1] == {"type": "next", "id": "1", "payload": {"data": {"watchBooks": {"title": "Volume 1"}}}}


async def test_queries_and_mutations_are_answered_too() -> None:
    asked = {"type": "subscribe", "id": "q", "payload": {"query": "{ countBooks }"}}
    async with opened(front(Library()), INIT, asked) as socket:
        said = [await socket.next() for _ in range(3)]
    assert said[1:] == [
        {"type": "next", "id": "q", "payload": {"data": {"countBooks": 5}}},
        {"type": "complete", "id": "q"},
    ]


async def test_what_can_not_be_executed_is_an_error() -> None:
    asked = {"type": "subscribe", "id": "q", "payload": {"query": "{ nope }"}}
    async with opened(front(Library()), INIT, asked) as socket:
        _, error = [await socket.next() for _ in range(2)]
    assert (error["type"], error["id"]) == ("error", "q")
    assert error["payload"][0]["extensions"]["reason"] == "DOCUMENT_INVALID"


async def test_a_client_that_has_enough_ends_the_stream() -> None:
    library = Library()
    asked = {"type": "subscribe", "id": "1", "payload": {"query": SILENT}}
    async with opened(front(library), INIT, asked) as socket:
        await socket.next()
        assert (await socket.next())["type"] == "next"
        socket.say({"type": "complete", "id": "1"})
        await asyncio.wait_for(library.journal.closed.wait(), 10)
        socket.say({"type": "ping"})
        assert await socket.next() == {"type": "pong"}


async def test_a_client_that_goes_away_ends_its_streams() -> None:
    library = Library()
    async with opened(front(library), INIT, {"type": "subscribe", "id": "1", "payload": {"query": SILENT}}) as socket:
        await socket.next()
        await socket.next()
    await asyncio.wait_for(library.journal.closed.wait(), 10)


async def test_a_process_that_ends_closes_sockets_so_that_clients_come_back() -> None:
    library = Library()
    served = front(library)
    async with opened(served, INIT, {"type": "subscribe", "id": "1", "payload": {"query": SILENT}}) as socket:
        await socket.next()
        await socket.next()
        served.runtime.end_streams()
        assert await closed(socket) == 1012
        await asyncio.wait_for(library.journal.closed.wait(), 10)
    async with opened(served) as late:
        assert await closed(late) == 1012


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ([SUBSCRIBE], 4401),
        ([INIT, INIT], 4429),
        ([INIT, "nonsense"], 4400),
        ([INIT, {"type": "unknown"}], 4400),
        ([INIT, {"type": "subscribe", "id": "1"}], 4400),
        ([INIT, {"type": "subscribe", "payload": {"query": "{ countBooks }"}}], 4400),
        ([INIT, {"type": "subscribe", "id": "1", "payload": {"query": 1}}], 4400),
        ([INIT, *[{"type": "subscribe", "id": "1", "payload": {"query": SILENT}}] * 2], 4409),
        ([INIT, '{"type":"ping","payload":"' + "x" * (1 << 20) + '"}'], 1009),
    ],
    ids=str,
)
async def test_who_breaks_the_protocol_is_closed(said: list[Any], code: int) -> None:
    async with opened(front(Library()), *said) as socket:
        assert await closed(socket) == code


async def test_who_speaks_another_protocol_is_closed() -> None:
    async with opened(front(Library()), subprotocols=("graphql-ws",)) as socket:
        assert await closed(socket) == 4406


async def test_who_does_not_introduce_itself_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "INIT_SECONDS", 0.05)
    async with opened(front(Library())) as socket:
        assert await closed(socket) == 4408


async def test_one_socket_runs_so_many_operations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "MAX_OPERATIONS", 2)
    asked = [{"type": "subscribe", "id": str(n), "payload": {"query": SILENT}} for n in range(3)]
    async with opened(front(Library()), INIT, *asked) as socket:
        said = [await socket.next() for _ in range(4)]
    [refused] = [message for message in said if message["type"] == "error"]
    assert (refused["id"], refused["payload"][0]["extensions"]["reason"]) == ("2", "TOO_MANY_OPERATIONS")


async def test_credentials_come_with_the_introduction() -> None:
    init = {"type": "connection_init", "payload": {"Authorization": "Bearer nonsense"}}
    asked = {"type": "subscribe", "id": "q", "payload": {"query": "{ countBooks }"}}
    async with opened(front(Library(), ANONYMOUS), init, asked) as socket:
        _, error = [await socket.next() for _ in range(2)]
    assert error["payload"][0]["extensions"]["code"] == "UNAUTHENTICATED"


async def test_each_operation_has_a_line_in_the_log() -> None:
    served = front(Library(), LIBRARIAN)
    async with opened(served, INIT, SUBSCRIBE) as socket:
        for _ in range(4):
            await socket.next()
    lines = [msgspec.json.decode(line) for line in b"".join(served.lines).splitlines()]
    assert [(line["operation"], line["protocol"], line["code"]) for line in lines if line["message"] == "request"] == [
        ("graphql.execute", "graphql", "OK")
    ]
