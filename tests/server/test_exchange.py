"""What pyvoy is asked for is left alone by whoever stops waiting for it, and goes to whoever asks next."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable
from contextvars import ContextVar
from typing import Any

import pytest

from trivet.server.envoy.exchange import Exchange
from trivet.telemetry.log import Logger, Sink

BODY = {"type": "http.request", "body": b"content", "more_body": False}
PART = {"type": "http.request", "body": b"part", "more_body": True}


class Pyvoy:
    """Gives futures of its own, as pyvoy does, and notes what became of them."""

    def __init__(self) -> None:
        self.asked: list[asyncio.Future[Any]] = []

    def receive(self) -> Awaitable[Any]:
        self.asked.append(asyncio.get_running_loop().create_future())
        return self.asked[-1]

    def send(self, message: Any) -> Awaitable[Any]:
        return self.receive()


def exchange() -> tuple[Pyvoy, Exchange]:
    pyvoy = Pyvoy()
    return pyvoy, Exchange(pyvoy.receive, pyvoy.send, Logger(Sink(lambda _: None)))


async def test_who_stops_waiting_leaves_the_message_to_who_asks_next() -> None:
    pyvoy, between = exchange()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await between.receive()
    assert not pyvoy.asked[0].done()
    pyvoy.asked[0].set_result(PART)
    assert await between.receive() == PART
    assert len(pyvoy.asked) == 1


async def test_a_cancelled_task_says_what_it_was_told() -> None:
    pyvoy, between = exchange()
    waiting = asyncio.create_task(between.receive())
    await asyncio.sleep(0)
    waiting.cancel("enough")
    with pytest.raises(asyncio.CancelledError, match="enough"):
        await waiting
    assert waiting.cancelled()
    pyvoy.asked[0].set_result(BODY)  # as pyvoy does, whoever waits


async def test_a_task_that_is_cancelled_as_its_message_comes_is_cancelled() -> None:
    pyvoy, between = exchange()
    waiting = asyncio.create_task(between.receive())
    await asyncio.sleep(0)
    pyvoy.asked[0].set_result(PART)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await between.receive() == PART


async def test_a_task_that_is_cancelled_before_it_waits_does_not_wait() -> None:
    pyvoy, between = exchange()

    async def ask() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await between.receive()

    with pytest.raises(asyncio.CancelledError):
        await asyncio.create_task(ask())
    assert not pyvoy.asked[0].done()


@pytest.mark.parametrize("first", ["the client goes", "the task is cancelled"])
async def test_that_the_client_goes_is_no_news_to_who_does_not_wait_any_more(first: str) -> None:
    pyvoy, between = exchange()
    unheard: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unheard.append(context))
    sending = asyncio.gather(between.send({"type": "http.response.start", "status": 200, "headers": []}))
    await asyncio.sleep(0)
    if first == "the client goes":
        pyvoy.asked[0].set_exception(ConnectionResetError())
        sending.cancel()
    else:
        sending.cancel()
        await asyncio.sleep(0)
        pyvoy.asked[0].set_exception(ConnectionResetError())
    with pytest.raises(asyncio.CancelledError):
        await sending
    await asyncio.sleep(0)
    pyvoy.asked.clear()
    del sending
    gc.collect()
    assert unheard == []


async def test_sending_waits_until_it_is_sent_and_fails_as_it_fails() -> None:
    pyvoy, between = exchange()
    variable = ContextVar("variable", default=0)

    async def answer() -> int:
        variable.set(1)
        await between.send({"type": "http.response.start", "status": 200, "headers": []})
        return variable.get()

    answering = asyncio.create_task(answer())
    await asyncio.sleep(0.01)
    assert not answering.done()
    pyvoy.asked[0].set_result(None)
    assert await answering == 1
    sending = asyncio.gather(between.send({"type": "http.response.body", "body": b""}), return_exceptions=True)
    await asyncio.sleep(0)
    pyvoy.asked[1].set_exception(ConnectionResetError())
    [failed] = await sending
    assert isinstance(failed, ConnectionResetError)
