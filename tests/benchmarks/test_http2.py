"""The load of gRPC, on gRPC's own server: so many calls, so many at once, and an answer that is none ends it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from benchmarks.driver import UnexpectedAnswer
from benchmarks.http2 import connected
from trivet.transports.rpc.envelope import enveloped

PATH = "/test.v1.EchoService/Echo"
LARGE = bytes(15_000)


class Echo:
    """What the server saw."""

    def __init__(self) -> None:
        self.calls = self.now = self.most = 0

    async def answer(self, request: bytes, context: Any) -> bytes:
        if request == b"refuse":
            await context.abort(grpc.StatusCode.ABORTED, "refused")
        self.calls += 1
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0.001)
        self.now -= 1
        return request


@asynccontextmanager
async def serving() -> AsyncIterator[tuple[Echo, int]]:
    echo, server = Echo(), grpc.aio.server()
    handlers = {"Echo": grpc.unary_unary_rpc_method_handler(echo.answer)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.v1.EchoService", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield echo, port
    finally:
        await server.stop(None)


@pytest.mark.parametrize("message", [b"hello", LARGE], ids=["small", "larger than the window when together"])
async def test_so_many_calls_are_made_and_so_many_at_once(message: bytes) -> None:
    request = enveloped(message)
    async with serving() as (echo, port), connected(PATH, port, request, len(request)) as calls:
        await calls.make(3, at_once=20)
        assert (echo.calls, echo.most <= 3) == (3, True)
        await calls.make(200, at_once=5)
    assert echo.calls == 203
    assert echo.most <= 5


@pytest.mark.parametrize(("message", "least"), [(b"refuse", 0), (b"short", 100)])
async def test_an_answer_that_is_none_ends_it(message: bytes, least: int) -> None:
    async with serving() as (_, port), connected(PATH, port, enveloped(message), max(least, 1)) as calls:
        with pytest.raises(UnexpectedAnswer, match="an answer has"):
            await calls.make(10, at_once=2)
