"""Jobs on a real app: accepted with a place to ask, and only whoever started one learns how it went."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any
from uuid import uuid4

import pytest

from tests.transports.client import Client
from trivet import App, InvalidArgument, Meta, Module, Run, Struct, Violation
from trivet.settings import DatabaseSettings, IdentitySettings, LogSettings, Settings, Url


class Sum(Struct):
    """What came out."""

    total: int


def app(directory: Path, developer: bool = True) -> App:
    sums = Module("sums")

    @sums.job(scope="sums.write")
    async def add_numbers(ctx: Run, numbers: Annotated[list[int], Meta(max_length=9)]) -> Sum:
        """Add numbers, slowly."""
        if not numbers:
            raise InvalidArgument(violations=(Violation(detail="there are none", pointer="#/numbers"),))
        ctx.progress(1, len(numbers))
        return Sum(total=sum(numbers))

    return App(
        "sums",
        modules=[sums],
        settings=Settings(
            environment="development",
            database=DatabaseSettings(url=Url(f"sqlite:///{directory}/sums.db")),
            identity=IdentitySettings(developer=developer),
            log=LogSettings(level="error"),
        ),
    )


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[App]:
    async with app(tmp_path) as started:
        yield started


async def finished(client: Client, location: str) -> Any:
    async with asyncio.timeout(20):
        while True:
            status = (await client.get(location)).json
            if status["state"] in ("succeeded", "failed"):
                return status
            await asyncio.sleep(0.02)


async def test_a_job_is_accepted_and_its_result_is_found_later(running: App) -> None:
    client = Client(running)
    response = await client.post("/v1/add-numbers", {"numbers": [1, 2, 3]})
    assert (response.status, response.json["state"]) == (202, "queued")
    assert response.headers["location"] == f"/v1/jobs/{response.json['id']}"
    status = await finished(client, response.headers["location"])
    assert (status["state"], status["result"], status["operation"]) == ("succeeded", {"total": 6}, "sums.add_numbers")


async def test_a_job_that_fails_says_why(running: App) -> None:
    client = Client(running)
    response = await client.post("/v1/add-numbers", {"numbers": []})
    status = await finished(client, response.headers["location"])
    assert (status["state"], status["error"]["code"]) == ("failed", "invalid_argument")
    assert status["error"]["errors"] == [{"detail": "there are none", "pointer": "#/numbers"}]


async def test_nobody_else_sees_a_job(running: App, tmp_path: Path) -> None:
    location = (await Client(running).post("/v1/add-numbers", {"numbers": [1]})).headers["location"]
    async with app(tmp_path, developer=False) as for_strangers:
        response = await Client(for_strangers).get(location)
    assert (response.status, response.reason) == (404, "JOB_NOT_FOUND")


async def test_a_job_that_does_not_exist_is_not_found(running: App) -> None:
    response = await Client(running).get(f"/v1/jobs/{uuid4()}")
    assert (response.status, response.reason) == (404, "JOB_NOT_FOUND")
