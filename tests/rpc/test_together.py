"""Messages that are there are sent together, and none is held back while the next one is waited for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trivet.transports.rpc.together import BOUND, Together


class Sent:
    """What was sent, and how much of it was there when each item was asked for."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    async def __call__(self, piece: bytes) -> None:
        await asyncio.sleep(0)
        self.pieces.append(piece)

    @property
    def size(self) -> int:
        return sum(map(len, self.pieces))


async def pump(together: Together, items: AsyncIterator[bytes]) -> None:
    while True:
        try:
            item = await together.next(items)
        except StopAsyncIteration:
            break
        await together.add(item)
    await together.flush()


@given(st.lists(st.tuples(st.integers(1, BOUND // 3), st.integers(0, 2)), max_size=40))
def test_whatever_is_waited_for_all_that_came_before_is_sent(steps: list[tuple[int, int]]) -> None:
    async def run() -> None:
        sent = Sent()
        made = 0

        async def items() -> AsyncGenerator[bytes, None]:
            nonlocal made
            for size, waits in steps:
                for _ in range(waits):
                    await asyncio.sleep(0)
                    assert sent.size == made  # nothing waits with us
                made += size
                yield b"x" * size

        await pump(Together(sent), items())
        assert sent.size == made
        assert all(len(piece) < BOUND + BOUND // 3 for piece in sent.pieces)

    asyncio.run(run())


async def test_what_is_there_is_one_piece() -> None:
    async def items() -> AsyncGenerator[bytes, None]:
        for _ in range(100):
            yield b"x"

    sent = Sent()
    await pump(Together(sent), items())
    assert sent.pieces == [b"x" * 100]


@pytest.mark.parametrize("when", ["waiting", "sending"])
async def test_a_cancelled_reader_reaches_the_producer(when: str) -> None:
    ended: list[str] = []
    blocked = asyncio.Event()

    async def items() -> AsyncGenerator[bytes, None]:
        try:
            yield b"x"
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append("cancelled")
            await asyncio.sleep(0)
            ended.append("cleaned")
            raise

    async def send(piece: bytes) -> None:
        blocked.set()
        if when == "sending":
            await asyncio.Event().wait()

    source = items()
    task = asyncio.ensure_future(pump(Together(send), source))
    await blocked.wait()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == ["cancelled", "cleaned"]
    await source.aclose()


async def test_what_can_not_be_sent_ends_the_producer_too() -> None:
    ended: list[str] = []

    async def items() -> AsyncGenerator[bytes, None]:
        try:
            yield b"x"
            await asyncio.Event().wait()
        finally:
            ended.append("ended")

    async def send(piece: bytes) -> None:
        raise OSError("gone")

    source = items()
    with pytest.raises(OSError, match="gone"):
        await pump(Together(send), source)
    assert ended == ["ended"]
    await source.aclose()


async def test_an_error_of_the_producer_after_waiting_is_raised() -> None:
    async def items() -> AsyncGenerator[bytes, None]:
        yield b"x"
        await asyncio.sleep(0)
        raise ValueError("broken")

    sent = Sent()
    with pytest.raises(ValueError, match="broken"):
        await pump(Together(sent), items())
    assert sent.pieces == [b"x"]
