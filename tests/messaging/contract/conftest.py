"""An empty store of each engine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.messaging.contract.world import ENGINES
from trivet.data.database import Database


@pytest.fixture(scope="session", params=sorted(ENGINES))
def engine(request: pytest.FixtureRequest) -> str:
    name: Any = request.param
    return str(name)


@pytest.fixture
async def database(engine: str, tmp_path: Path) -> AsyncIterator[Database]:
    database = ENGINES[engine](tmp_path)
    await database.open()
    yield database
    await database.close()
