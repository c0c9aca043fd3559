"""Twenty kills; `make soak` has three hundred."""

from __future__ import annotations

import os

import pytest

from tests.shop.crashes import crash

SEED = int(os.environ.get("TRIVET_SEED", "20261127"))


@pytest.mark.slow
@pytest.mark.parametrize(("engine", "kills"), [("sqlite", 8), ("postgresql", 12)])
async def test_workers_killed_in_the_middle_leave_one_effect_for_each_key(engine: str, kills: int) -> None:
    await crash(engine, kills, SEED)
