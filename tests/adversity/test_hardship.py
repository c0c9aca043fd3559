"""Under each hardship the server stays available, its memory bounded, and in the end everything is reaped.

The soak does the same with ten thousand connections each of which had a request (`make soak`).
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.adversity import hardship
from tests.adversity.hardship import Beside, Hardship, reaped, size_of
from tests.adversity.serving import serving
from trivet.testing import Served

pytestmark = pytest.mark.usefixtures("kind")

GROWTH = 32 * 2**20
"""How much the workers may grow in any case; their first requests alone make them grow by a third of that."""

CONNECTION = 64 * 2**10
"""What a connection may cost besides, while it lasts."""

IDLE_CONNECTION = 32 * 2**10
"""What one may cost on which nothing was said."""

CASES: list[tuple[Hardship, int, int]] = [
    (hardship.silent, 1_000, CONNECTION),
    (hardship.kept, 500, CONNECTION),
    (hardship.slow_heads, 200, CONNECTION),
    (hardship.slow_bodies, 100, CONNECTION),
    (hardship.slow_readers, 20, 3 * 2**20),
    (hardship.churn, 1_000, CONNECTION),
    (hardship.resets, 1_000, CONNECTION),
    (hardship.oversize, 60, 2 * 2**20),
]
"""What happens, on how many connections, and what each may cost."""


@pytest.fixture(scope="module")
def strained(kind: str) -> Iterator[Served]:
    """A server that is impatient, so that it is seen to give up."""
    impatient = {
        "TRIVET_SERVER__HEAD_TIMEOUT": "3",
        "TRIVET_SERVER__KEEP_ALIVE": "3",
        "TRIVET_SERVER__SEND_TIMEOUT": "2",
    }
    with serving(1, **impatient) as served:
        yield served


@pytest.mark.parametrize(("happens", "count", "cost"), CASES, ids=lambda value: getattr(value, "__name__", ""))
async def test_a_server_survives(happens: Hardship, count: int, cost: int, strained: Served) -> None:
    port = int(strained.url.rpartition(":")[2])
    await hardship.churn(port, 20)
    before = size_of(strained)
    async with Beside(port) as beside:
        await happens(port, count)
        assert size_of(strained).rss - before.rss < GROWTH + count * cost
        await reaped(strained, before)
    assert beside.answers > 0
    assert strained.process.poll() is None
    assert "Traceback" not in strained.log.read_text()


CROWD = 10_000


@pytest.mark.slow
async def test_ten_thousand_idle_connections_leave_the_server_available_and_are_reaped(kind: str) -> None:
    with serving(1, TRIVET_SERVER__HEAD_TIMEOUT="20") as served:
        port = int(served.url.rpartition(":")[2])
        await hardship.churn(port, 20)
        before = size_of(served)
        async with Beside(port) as beside:
            async with hardship.crowd(served, CROWD):
                full, answers = size_of(served), beside.answers
                assert full.rss - before.rss < GROWTH + CROWD * IDLE_CONNECTION
                await reaped(served, before)
            assert beside.answers > answers > 0
        assert served.process.poll() is None
        assert "Traceback" not in served.log.read_text()
