"""One shop for the tests that only look, and add what they need."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import httpx2
import pytest

from tests.shop.serving import PATIENCE_SECONDS, Serving, serving


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A served shop, with what it starts with."""
    with serving(tmp_path_factory.mktemp("shop")) as running:
        yield running


@pytest.fixture
async def client(shop: Serving) -> AsyncIterator[httpx2.AsyncClient]:
    """The developer, talking to the shop."""
    async with httpx2.AsyncClient(base_url=shop.url, timeout=PATIENCE_SECONDS) as client:
        yield client
