"""Many clients change the same product at once, over several workers: none undoes what another did."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx2
import pytest

from tests.shop.serving import PATIENCE_SECONDS, kill_a_worker, shop
from trivet.testing import Served

NEW = {"name": "Race", "brand": "Race", "price": {"amount": "1.00", "currency": "EUR"}, "stock": 0}
CLIENTS = 6
CHANGES = 15

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with shop(workers=2) as served:
        yield served


@pytest.fixture
async def client(served: Served) -> AsyncIterator[httpx2.AsyncClient]:
    limits = httpx2.Limits(max_connections=CLIENTS, max_keepalive_connections=0)  # each request meets any worker
    async with httpx2.AsyncClient(base_url=served.url, timeout=PATIENCE_SECONDS, limits=limits) as client:
        yield client


async def created(client: httpx2.AsyncClient, sku: str) -> tuple[str, str]:
    made = await client.post("/v1/products", json={**NEW, "sku": sku})
    assert made.status_code == 201
    return made.headers["location"], made.headers["etag"]


async def count_up(client: httpx2.AsyncClient, path: str, changes: int) -> list[int]:
    """Read, add one, write, each time only from what was read; return the statuses of the writes."""
    statuses: list[int] = []
    while statuses.count(200) < changes:
        seen = await client.get(path)
        assert seen.status_code == 200
        stock = seen.json()["stock"] + 1
        changed = await client.patch(path, json={"stock": stock}, headers={"If-Match": seen.headers["etag"]})
        statuses.append(changed.status_code)
        assert changed.status_code in (200, 412, 503)
    return statuses


async def test_no_update_is_lost_between_two_workers(client: httpx2.AsyncClient) -> None:
    path, _ = await created(client, "RACE-1")
    racing = await asyncio.gather(*(count_up(client, path, CHANGES) for _ in range(CLIENTS)))
    made = sum(statuses.count(200) for statuses in racing)
    final: dict[str, Any] = (await client.get(path)).json()
    assert (final["stock"], final["version"]) == (made, 1 + made) == (CLIENTS * CHANGES, 1 + CLIENTS * CHANGES)
    assert sum(statuses.count(412) for statuses in racing) > 0, "nobody was in anybody's way"


async def test_of_those_who_start_from_one_version_one_wins(client: httpx2.AsyncClient) -> None:
    path, tag = await created(client, "RACE-2")
    answers = await asyncio.gather(
        *(client.patch(path, json={"stock": n}, headers={"If-Match": tag}) for n in range(1, 9))
    )
    assert sorted(answer.status_code for answer in answers) == [200] + [412] * 7
    [winner] = [answer for answer in answers if answer.status_code == 200]
    final = await client.get(path)
    assert (final.json(), final.headers["etag"]) == (winner.json(), winner.headers["etag"])


async def test_no_update_is_lost_when_a_worker_dies(served: Served, client: httpx2.AsyncClient) -> None:
    """A change whose answer never came may have been made, never twice."""
    path, _ = await created(client, "RACE-3")
    unknown = 0

    async def one() -> int:
        nonlocal unknown
        made = 0
        while made < CHANGES:
            try:
                seen = await client.get(path)
                change = {"stock": seen.json()["stock"] + 1}
            except httpx2.TransportError:
                continue
            try:
                changed = await client.patch(path, json=change, headers={"If-Match": seen.headers["etag"]})
            except httpx2.TransportError:
                unknown += 1
                continue
            made += changed.status_code == 200
        return made

    racing = asyncio.gather(*(one() for _ in range(CLIENTS)))
    for index in range(3):
        await asyncio.sleep(0.2)
        kill_a_worker(served, index)
    made = sum(await racing)
    final = (await client.get(path)).json()
    assert final["version"] == 1 + final["stock"]
    assert made <= final["stock"] <= made + unknown
