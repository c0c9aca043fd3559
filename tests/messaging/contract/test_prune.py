"""What is removed once nobody needs it."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from tests.messaging.contract.world import Faulty, Happened, World, drained
from tests.waiting import until
from trivet.core.job import JobState, JobStatus
from trivet.core.module import Module
from trivet.data.database import Database
from trivet.data.statement import Statement
from trivet.messaging import jobs
from trivet.messaging.dead import dead_letters, replay
from trivet.messaging.message import Message, MessageKind
from trivet.messaging.prune import BATCH, Pruner
from trivet.messaging.tables import tables

KEPT = Statement(sa.select(tables().outbox.c.id).order_by(tables().outbox.c.position), ())


def application() -> Module:
    shop = Module("shop")

    @shop.on(Happened)
    async def bill(ctx: Any, event: Happened) -> None: ...

    @shop.job(public=True)
    async def export(progress: Any) -> None: ...

    return shop


async def test_delivered_messages_and_ended_jobs_go_after_a_week_and_not_before(database: Database) -> None:
    world = World(database, application())
    await world.create()
    job = world.request(MessageKind.JOB, "shop.export")
    await world.store(job)
    for _ in range(0, BATCH * 2, 100):
        await world.store(*(world.event(Happened(thing=str(n))) for n in range(100)))
    async with world.dispatching():
        await drained(world)
    pruner = Pruner(database, world.subscribers.ids, world.clock)
    for days in (0, 1, 7):
        world.clock.ahead = timedelta(days=days) - timedelta(hours=days == 7)
        await pruner.prune()
        assert len(await world.fetch(KEPT)) == BATCH * 2 + 1
    world.clock.ahead = timedelta(days=9)  # a week after the day was over
    young = world.event(Happened(thing="young"))
    await world.store(young)
    await pruner.prune()
    assert await world.fetch(KEPT) == [(str(young.id),)]
    assert await jobs.get(database.session(write=False), job.id) is None


async def test_what_is_not_delivered_stays_however_old_it_is(database: Database) -> None:
    world = World(database, application())
    await world.create()
    await world.emit(Happened(thing="a"))
    pruner = Pruner(database, world.subscribers.ids, world.clock)
    for days in (1, 100):
        world.clock.ahead = timedelta(days=days)
        await pruner.prune()
    assert len(await world.fetch(KEPT)) == await world.pending() == 1
    assert await dead_letters(database.session(write=False)) == []


async def test_what_waited_a_week_for_a_handler_that_is_gone_becomes_a_dead_letter(database: Database) -> None:
    world = World(database, application())
    await world.create()
    await world.emit(Happened(thing="a"))
    world.clock.ahead = timedelta(days=8)
    await Pruner(database, ["shop.another"], world.clock).prune()
    [dead] = await dead_letters(database.session(write=False))
    assert (dead.subscriber, dead.message.payload) == ("shop.bill", b'{"thing":"a","number":0}')
    assert "nobody handled it" in dead.error


async def job_without_a_handler(world: World) -> Message:
    """Return a job that waited for a week, until it was given up."""
    await world.create()
    job = world.request(MessageKind.JOB, "shop.export")
    await world.store(job)
    world.clock.ahead = timedelta(days=8)
    await Pruner(world.database, ["shop.another"], world.clock).prune()
    return job


async def status(world: World, job: Message) -> JobStatus:
    record = await jobs.get(world.database.session(write=False), job.id)
    assert record is not None
    return record.status


async def test_a_job_that_waited_a_week_for_a_handler_that_is_gone_fails(database: Database) -> None:
    world = World(database, application())
    job = await job_without_a_handler(world)
    failed = await status(world, job)
    assert failed.state is JobState.FAILED
    assert failed.error is not None
    assert (failed.error.code, failed.error.reason) == ("unimplemented", "JOB_ABANDONED")
    assert "no running version" in failed.error.message
    [dead] = await dead_letters(database.session(write=False))
    assert (dead.message.id, dead.time) == (job.id, failed.end_time)


async def test_only_the_job_itself_fails_with_its_delivery(database: Database) -> None:
    world = World(database, application())
    await world.create()
    job = world.request(MessageKind.JOB, "shop.export")
    await world.store(job, world.event(Happened(thing=str(job.id))))
    world.clock.ahead = timedelta(days=8)
    await Pruner(database, ["shop.export"], world.clock).prune()
    assert (await status(world, job)).state is JobState.QUEUED
    assert [dead.subscriber for dead in await dead_letters(database.session(write=False))] == ["shop.bill"]


@pytest.mark.parametrize("days", [0, 8], ids=["soon", "when its status was removed"])
async def test_a_job_without_a_handler_runs_once_it_is_replayed_where_there_is_one(
    database: Database, days: int
) -> None:
    world = World(database, application())
    job = await job_without_a_handler(world)
    world.clock.ahead += timedelta(days=days)
    await Pruner(database, ["shop.another"], world.clock).prune()
    assert (await jobs.get(database.session(write=False), job.id) is None) == bool(days)
    async with world.writing() as session:
        assert await replay(session, await dead_letters(session), world.clock.now()) == 1
    queued = await status(world, job)
    assert (queued.state, queued.error, queued.end_time) == (JobState.QUEUED, None, None)
    async with world.dispatching():
        await drained(world)
    assert (await status(world, job)).state is JobState.SUCCEEDED


async def test_what_nobody_foresaw_is_told_and_pruning_goes_on(database: Database) -> None:
    world = World(database, application())
    await world.create()
    job = world.request(MessageKind.JOB, "shop.export")
    await world.store(job)
    async with world.dispatching():
        await drained(world)
    told: list[Exception] = []
    pruning = asyncio.create_task(
        Pruner(database, [], Faulty(1, timedelta(days=30)), troubled=told.append).run(every=0.01)
    )

    async def gone() -> bool:
        return await jobs.get(database.session(write=False), job.id) is None

    await until(gone)
    pruning.cancel()
    assert [str(error) for error in told] == ["out of time"]
