"""One shop for the tests that only look, and add what they need."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import httpx2
import pytest

from tests.shop.serving import PATIENCE_SECONDS, shop
from trivet.testing import Served


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def served(request: pytest.FixtureRequest) -> Iterator[Served]:
    """A shop with what it starts with, on each engine."""
    with shop(engine=request.param) as served:
        yield served


@pytest.fixture
async def client(served: Served) -> AsyncIterator[httpx2.AsyncClient]:
    """The developer, talking to the shop."""
    async with httpx2.AsyncClient(base_url=served.url, timeout=PATIENCE_SECONDS) as client:
        yield client
