"""An empty database whose owner the wall holds, and a store on it with rows of two tenants."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.data.conftest import OWNER, Store
from tests.data.postgresql.rowsecurity.book import fill, opened
from tests.postgres import empty_database


@pytest.fixture
def url() -> Iterator[str]:
    with empty_database(owner=OWNER) as url:
        yield url


@pytest.fixture
async def store(url: str) -> AsyncIterator[Store]:
    opened_ = await opened(url, pool_size=2)
    await fill(opened_)
    yield opened_
    await opened_.database.close()
