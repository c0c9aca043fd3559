"""Turns: one at a time, first come first served, and never lost whoever is cancelled and whenever."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trivet.data.turn import Turn


async def steps(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.none() | st.integers(0, 12)), max_size=8))
def test_one_at_a_time_in_order_whoever_is_cancelled(callers: list[tuple[int, int, int | None]]) -> None:
    """Each caller comes after some steps, keeps it for some, and is cancelled after some, or not."""

    async def play() -> None:
        turn = Turn()
        inside: list[int] = []
        came: list[int] = []
        served: list[int] = []

        async def call(number: int, late: int, stays: int) -> None:
            await steps(late)
            came.append(number)
            async with turn:
                assert not inside
                inside.append(number)
                served.append(number)
                try:
                    await steps(stays)
                finally:
                    inside.remove(number)

        async def cancel(task: asyncio.Task[None], after: int) -> None:
            await steps(after)
            task.cancel()

        tasks = [asyncio.create_task(call(number, late, stays)) for number, (late, stays, _) in enumerate(callers)]
        ends = [cancel(task, end) for task, (_, _, end) in zip(tasks, callers, strict=True) if end is not None]
        await asyncio.gather(*ends)
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert not [each for each in ended if isinstance(each, Exception)]
        assert served == [number for number in came if number in served]
        assert {number for number, (_, _, end) in enumerate(callers) if end is None} <= set(served)
        assert not turn.locked()

    asyncio.run(play())


async def test_who_is_cancelled_at_the_moment_at_which_it_is_given_gives_it_on() -> None:
    turn = Turn()
    assert turn.free()
    first, second = (asyncio.create_task(turn.wait()) for _ in range(2))
    await steps(1)
    turn.release()
    assert not turn.free()  # it is the first one's, which does not know it yet
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    await second
    turn.release()
    assert turn.free()
