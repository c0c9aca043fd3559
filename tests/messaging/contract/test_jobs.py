"""What holds for jobs: asked for in a transaction, run beside any, their status told."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from tests.messaging.contract.world import World, drained
from tests.waiting import until
from trivet.core.error import InvalidArgument, NotFound, Unavailable, Violation
from trivet.core.job import JobError, JobProgress, JobState
from trivet.core.module import Module
from trivet.data.database import Database
from trivet.messaging import jobs
from trivet.messaging.jobs import JobRecord, queued
from trivet.messaging.message import Message, MessageKind


class NoSuchYear(NotFound):
    """There are no orders in that year."""

    year: int


async def record(world: World, id: UUID) -> JobRecord:
    found = await jobs.get(world.database.session(write=False), id)
    assert found is not None
    return found


async def test_a_job_is_queued_with_its_transaction_and_its_result_is_kept(database: Database) -> None:
    shop = Module("shop")

    @shop.job(public=True)
    async def export(progress: Any, year: int) -> dict[str, int]:
        progress(3, 12)
        return {"rows": year}

    world = World(database, shop)
    await world.create()
    message = world.request(MessageKind.JOB, "shop.export", year=2026)
    await world.store(message)
    before = await record(world, message.id)
    assert before == JobRecord(status=queued(message), creator="ann", tenant="acme")
    async with world.dispatching():
        await drained(world)
    status = (await record(world, message.id)).status
    assert (status.state, status.result, status.error) == (JobState.SUCCEEDED, {"rows": 2026}, None)
    assert status.progress == JobProgress(done=3, total=12)
    assert status.create_time <= status.start_time <= status.end_time  # type: ignore[operator]  # they are there


async def test_a_job_whose_transaction_was_rolled_back_does_not_exist(database: Database) -> None:
    shop = Module("shop")
    world = World(database, shop)
    await world.create()
    message = world.request(MessageKind.JOB, "shop.export")
    await world.store(message, commit=False)
    assert await jobs.get(database.session(write=False), message.id) is None


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        pytest.param(
            NoSuchYear(year=1900),
            JobError(code="not_found", reason="NO_SUCH_YEAR", message="There are no orders in that year."),
            id="domain error",
        ),
        pytest.param(
            InvalidArgument(detail="No such days.", violations=(Violation(detail="is a Sunday", pointer="#/days/1"),)),
            JobError(
                code="invalid_argument",
                reason="INVALID_ARGUMENT",
                message="No such days.",
                errors=(Violation(detail="is a Sunday", pointer="#/days/1"),),
            ),
            id="violations",
        ),
        pytest.param(
            ValueError("password=hunter2"),
            JobError(code="internal", reason="INTERNAL", message="Something went wrong on our side."),
            id="bug",
        ),
    ],
)
async def test_an_error_ends_a_job_and_is_shown_as_far_as_it_is_safe(
    database: Database, error: Exception, shown: JobError
) -> None:
    shop = Module("shop")

    @shop.job(public=True)
    async def export(progress: Any) -> None:
        raise error

    world = World(database, shop)
    await world.create()
    message = world.request(MessageKind.JOB, "shop.export")
    await world.store(message)
    async with world.dispatching():
        await drained(world)
    status = (await record(world, message.id)).status
    assert (status.state, status.error) == (JobState.FAILED, shown)


async def test_a_job_that_something_was_unavailable_for_runs_again(database: Database) -> None:
    shop = Module("shop")
    attempts = 0

    @shop.job(public=True)
    async def export(progress: Any) -> int:
        nonlocal attempts
        attempts += 1
        if attempts < 3:
            raise Unavailable()
        return attempts

    world = World(database, shop)
    await world.create()
    message = world.request(MessageKind.JOB, "shop.export")
    await world.store(message)
    async with world.dispatching():
        await drained(world)
    assert (await record(world, message.id)).status.result == 3


async def test_a_job_that_stays_unavailable_fails_with_its_last_error(database: Database) -> None:
    shop = Module("shop")

    @shop.job(public=True)
    async def export(progress: Any) -> int:
        raise Unavailable()

    world = World(database, shop)
    await world.create()
    message = world.request(MessageKind.JOB, "shop.export")
    await world.store(message)

    async def failed() -> bool:
        return (await record(world, message.id)).status.state is JobState.FAILED

    async with world.dispatching():
        await until(failed)
    error = (await record(world, message.id)).status.error
    assert error is not None
    assert error.code == "unavailable"


async def test_a_running_job_tells_how_far_it_is_and_holds_up_no_writer(database: Database) -> None:
    shop = Module("shop")
    finish = asyncio.Event()

    @shop.job(public=True)
    async def export(progress: Any) -> None:
        for step in range(1000):
            progress(step + 1, 1000)
        await finish.wait()

    world = World(database, shop)
    await world.create()
    message = world.request(MessageKind.JOB, "shop.export")
    await world.store(message)

    async def told() -> bool:
        status = (await record(world, message.id)).status
        return status.state is JobState.RUNNING and status.progress == JobProgress(done=1000, total=1000)

    async with world.dispatching():
        await until(told)
        await world.store(world.request(MessageKind.JOB, "shop.unknown"))  # a writer is not in its way
        finish.set()

        async def succeeded() -> bool:
            return (await record(world, message.id)).status.state is JobState.SUCCEEDED

        await until(succeeded)


async def test_a_job_cut_off_by_a_stop_is_queued_again_and_runs_elsewhere(database: Database) -> None:
    shop = Module("shop")
    entered, blocked = asyncio.Event(), True

    @shop.job(public=True)
    async def export(progress: Any) -> str:
        entered.set()
        if blocked:
            await asyncio.Event().wait()
        return "done"

    world = World(database, shop)
    await world.create()
    message = world.request(MessageKind.JOB, "shop.export")
    await world.store(message)
    dispatcher = world.dispatcher()
    dispatcher.start()
    await entered.wait()
    await dispatcher.stop(grace=0.05)
    assert (await record(world, message.id)).status.state is JobState.QUEUED
    blocked = False
    async with world.dispatching():
        await drained(world)
    assert (await record(world, message.id)).status.result == "done"


async def test_a_job_taken_over_by_another_process_has_one_result(database: Database) -> None:
    shop = Module("shop")
    runs = 0
    entered, finish = asyncio.Event(), asyncio.Event()

    @shop.job(public=True)
    async def export(progress: Any) -> int:
        nonlocal runs
        runs += 1
        mine = runs
        if mine == 1:
            entered.set()
            await finish.wait()
        return mine

    world, other = World(database, shop), World(database, shop)
    other.clock.ahead = timedelta(hours=1)
    await world.create()
    message = world.request(MessageKind.JOB, "shop.export")
    await world.store(message)
    async with world.dispatching():
        await entered.wait()
        async with other.dispatching():
            await drained(world)
        finish.set()

        async def lost() -> bool:
            return world.observer.counts["lost"] == 1

        await until(lost)
    assert (await record(world, message.id)).status.result == 2


async def cancelled(world: World, message: Message) -> None:
    """Cancel a job as another process would."""
    status = (await record(world, message.id)).status
    async with world.writing() as session:
        await jobs.cancel(session, status, world.clock.now())


async def test_a_job_that_is_cancelled_while_it_waits_never_runs(database: Database) -> None:
    shop = Module("shop")
    runs: list[int] = []

    @shop.job(public=True)
    async def export(progress: Any, number: int) -> None:
        runs.append(number)

    world = World(database, shop)
    await world.create()
    first, second = (world.request(MessageKind.JOB, "shop.export", number=number) for number in (1, 2))
    await world.store(first, second)
    await cancelled(world, first)
    status = (await record(world, first.id)).status
    assert (status.state, status.start_time) == (JobState.CANCELLED, None)
    assert status.end_time is not None
    async with world.dispatching():
        await drained(world)
    assert runs == [2]


async def test_a_job_that_is_cancelled_while_it_runs_is_cut_off_and_not_tried_again(database: Database) -> None:
    shop = Module("shop")
    entered, cut = asyncio.Event(), asyncio.Event()
    runs = 0

    @shop.job(public=True)
    async def export(progress: Any) -> None:
        nonlocal runs
        runs += 1
        entered.set()
        try:
            await asyncio.Event().wait()
        finally:
            cut.set()

    world = World(database, shop)
    await world.create()
    message = world.request(MessageKind.JOB, "shop.export")
    await world.store(message)
    async with world.dispatching():
        await entered.wait()
        await cancelled(world, message)
        async with asyncio.timeout(5):
            await cut.wait()

        async def told() -> bool:
            return world.observer.counts["cancelled"] == 1

        await until(told)
    status = (await record(world, message.id)).status
    assert (status.state, status.result, status.error, runs) == (JobState.CANCELLED, None, None, 1)
    assert (world.observer.counts["lost"], world.observer.errors) == (0, [])


async def test_a_job_that_ended_is_not_cancelled(database: Database) -> None:
    shop = Module("shop")

    @shop.job(public=True)
    async def export(progress: Any, fails: bool) -> str:
        if fails:
            raise NoSuchYear(year=1900)
        return "done"

    world = World(database, shop)
    await world.create()
    messages = [world.request(MessageKind.JOB, "shop.export", fails=fails) for fails in (False, True)]
    await world.store(*messages)
    async with world.dispatching():
        await drained(world)
    before = [await record(world, message.id) for message in messages]
    for message in messages:
        await cancelled(world, message)
    assert [await record(world, message.id) for message in messages] == before


async def test_a_job_that_ends_while_it_is_cancelled_has_one_end(database: Database) -> None:
    shop = Module("shop")

    @shop.job(public=True)
    async def export(progress: Any, number: int) -> int:
        await asyncio.sleep(number / 500)
        return number

    world = World(database, shop)
    await world.create()
    messages = [world.request(MessageKind.JOB, "shop.export", number=number) for number in range(1, 41)]
    await world.store(*messages)
    async with world.dispatching(concurrency=40):
        for message in messages:
            await cancelled(world, message)
        seen = [(await record(world, message.id)).status.state for message in messages]
        await drained(world)
    after = [(await record(world, message.id)).status for message in messages]
    assert [status.state for status in after] == seen
    assert {state for state in seen if not state.final} == set()
    assert [status.result for status in after] == [
        number if status.state is JobState.SUCCEEDED else None for number, status in enumerate(after, 1)
    ]
    assert (world.observer.counts["lost"], world.observer.counts["retried"]) == (0, 0)
