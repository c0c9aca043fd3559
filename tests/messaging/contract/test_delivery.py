"""What the dispatcher promises about events and requested commands."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from datetime import timedelta
from typing import Any

from tests.messaging.contract.world import Happened, Other, SimpleRunner, SimpleTransaction, World, drained
from tests.waiting import until
from trivet.core.module import Module
from trivet.core.principal import Principal
from trivet.data.database import Contention, Database
from trivet.messaging.dead import dead_letters, replay
from trivet.messaging.deliveries import Deliveries
from trivet.messaging.message import Message, MessageKind
from trivet.messaging.runner import Settle
from trivet.messaging.tables import micros


async def test_every_subscriber_handles_a_committed_event_once(database: Database) -> None:
    shop = Module("shop")

    @shop.on(Happened)
    async def bill(ctx: Any, event: Happened) -> None:
        await ctx.record(event.thing, event.number)

    @shop.on(Happened)
    async def pack(ctx: Any, event: Happened) -> None:
        await ctx.record(event.thing, event.number)

    @shop.on(Other)
    async def ignore(ctx: Any, event: Other) -> None:
        await ctx.record("never")

    world = World(database, shop)
    await world.create()
    async with world.dispatching() as dispatcher:
        await world.emit(*(Happened(thing=f"t{n % 7}", number=n) for n in range(50)))
        dispatcher.wake()
        await drained(world)
    expected = Counter((who, f"t{n % 7}", n) for who in ("shop.bill", "shop.pack") for n in range(50))
    assert Counter(await world.effects()) == expected


async def test_what_was_rolled_back_is_not_delivered(database: Database) -> None:
    shop = Module("shop")

    @shop.on(Happened)
    async def bill(ctx: Any, event: Happened) -> None:
        await ctx.record(event.thing)

    world = World(database, shop)
    await world.create()
    await world.store(world.event(Happened(thing="phantom")), commit=False)
    async with world.dispatching():
        await world.emit(Happened(thing="real"))
        await drained(world)
    assert await world.effects() == [("shop.bill", "real", 0)]


async def test_what_another_process_commits_is_found_without_a_wake(database: Database) -> None:
    shop = Module("shop")

    @shop.on(Happened)
    async def bill(ctx: Any, event: Happened) -> None:
        await ctx.record(event.thing)

    world = World(database, shop)
    await world.create()
    async with world.dispatching():
        await asyncio.sleep(0.1)
        await world.emit(Happened(thing="a"))
        await drained(world)
    assert len(await world.effects()) == 1


async def test_events_of_one_aggregate_keep_their_order_through_failures_and_two_dispatchers(
    database: Database,
) -> None:
    shop = Module("shop")
    failing: Counter[int] = Counter()

    @shop.on(Happened)
    async def bill(ctx: Any, event: Happened) -> None:
        await asyncio.sleep(0)
        failing[event.number] += 1
        if event.number % 5 == 0 and failing[event.number] < 3:
            raise RuntimeError("not yet")
        await ctx.record(event.thing, event.number)

    world = World(database, shop)
    await world.create()
    await world.emit(*(Happened(thing=f"t{n % 3}", number=n) for n in range(60)))
    async with world.dispatching(), world.dispatching():
        await drained(world)
    order: dict[str, list[int]] = defaultdict(list)
    for _, thing, number in await world.effects():
        order[thing].append(number)
    assert order == {f"t{rest}": [n for n in range(60) if n % 3 == rest] for rest in range(3)}
    assert world.observer.counts["retried"] == 2 * 12


async def test_a_failing_aggregate_holds_up_only_itself(database: Database) -> None:
    shop = Module("shop")

    @shop.on(Happened)
    async def bill(ctx: Any, event: Happened) -> None:
        if event.thing == "stuck":
            raise RuntimeError("always")
        await ctx.record(event.thing, event.number)

    world = World(database, shop)
    await world.create()
    await world.emit(*(Happened(thing="stuck", number=n) for n in range(100)))
    await world.emit(*(Happened(thing="free", number=n) for n in range(20)))

    async def free_done() -> bool:
        return len(await world.effects()) == 20

    async with world.dispatching(concurrency=2):
        await until(free_done)
    assert await world.pending() == 100
    assert [number for _, _, number in await world.effects()] == list(range(20))


async def test_an_effect_is_rolled_back_with_the_failure_of_its_handler(database: Database) -> None:
    shop = Module("shop")
    attempts = 0

    @shop.on(Happened)
    async def bill(ctx: Any, event: Happened) -> None:
        nonlocal attempts
        attempts += 1
        await ctx.record(event.thing)
        if attempts < 4:
            raise ValueError("after the write")

    world = World(database, shop)
    await world.create()
    await world.emit(Happened(thing="a"))
    async with world.dispatching():
        await drained(world)
    assert attempts == 4
    assert await world.effects() == [("shop.bill", "a", 0)]


async def test_after_the_last_attempt_it_is_a_dead_letter_and_the_next_event_goes_on(database: Database) -> None:
    shop = Module("shop")
    broken = True

    @shop.on(Happened)
    async def bill(ctx: Any, event: Happened) -> None:
        if broken and event.number == 0:
            raise ValueError("bad number")
        await ctx.record(event.thing, event.number)

    world = World(database, shop)
    await world.create()
    await world.emit(Happened(thing="a", number=0), Happened(thing="a", number=1))

    async def one_left() -> bool:
        return await world.pending() == 1

    async with world.dispatching() as dispatcher:
        await until(one_left)
        session = database.session(write=False)
        [dead] = await dead_letters(session)
        assert (dead.subscriber, dead.attempts, dead.error) == ("shop.bill", 12, "ValueError: bad number")
        assert dead.message.type == world.subscribers.names.of(Happened)
        assert await world.effects() == [("shop.bill", "a", 1)]

        broken = False
        async with world.writing() as writing:
            assert await replay(writing, [dead], world.clock.now()) == 1
            assert await replay(writing, [dead], world.clock.now()) == 0
        dispatcher.wake()
        await drained(world)
    assert await world.effects() == [("shop.bill", "a", 1), ("shop.bill", "a", 0)]
    assert world.observer.counts == world.observer.counts | {"delivered": 2, "retried": 11, "buried": 1}


async def test_contention_is_tried_again_more_often_than_failures_are(database: Database) -> None:
    shop = Module("shop")
    attempts = 0

    @shop.on(Happened)
    async def bill(ctx: Any, event: Happened) -> None:
        nonlocal attempts
        attempts += 1
        if attempts <= 20:
            raise Contention()
        await ctx.record(event.thing)

    world = World(database, shop)
    await world.create()
    await world.emit(Happened(thing="a"))
    async with world.dispatching():
        await drained(world)
    assert len(await world.effects()) == 1


async def test_a_handler_whose_lease_ended_can_not_commit(database: Database) -> None:
    shop = Module("shop")
    entered, finish = asyncio.Event(), asyncio.Event()
    first = True

    @shop.on(Happened)
    async def bill(ctx: Any, event: Happened) -> None:
        nonlocal first
        if first:
            first = False
            entered.set()
            await finish.wait()
            await ctx.record("stale")
        else:
            await ctx.record("fresh")

    world, other = World(database, shop), World(database, shop)
    other.clock.ahead = timedelta(hours=1)
    await world.create()
    await world.emit(Happened(thing="a"))
    async with world.dispatching():
        await entered.wait()
        async with other.dispatching():
            await drained(world)
        finish.set()

        async def lost() -> bool:
            return world.observer.counts["lost"] == 1

        await until(lost)
    assert await world.effects() == [("shop.bill", "fresh", 0)]


async def test_a_handler_that_takes_too_long_is_cancelled_and_tried_again(database: Database) -> None:
    shop = Module("shop")
    attempts = 0

    @shop.command(internal=True, timeout=0.05)
    async def crawl(ctx: Any) -> None:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            await asyncio.Event().wait()
        await ctx.record("done")

    world = World(database, shop)
    await world.create()
    await world.store(world.request(MessageKind.COMMAND, "shop.crawl"))
    async with world.dispatching():
        await drained(world)
    assert isinstance(world.observer.errors[0], TimeoutError)
    assert len(await world.effects()) == 1


async def test_a_requested_command_runs_on_behalf_of_its_sender(database: Database) -> None:
    shop = Module("shop")

    @shop.command(internal=True)
    async def charge(ctx: Any, order: str, cents: int) -> None:
        await ctx.record(order, cents)

    senders: list[Principal | None] = []

    class Noting(SimpleRunner):
        async def command(self, operation: Any, message: Message, settle: Settle) -> None:
            senders.append(message.principal)
            await super().command(operation, message, settle)

    world = World(database, shop)
    await world.create()
    await world.store(world.request(MessageKind.COMMAND, "shop.charge", order="o1", cents=250))
    async with world.dispatching(Noting(database)):
        await drained(world)
    assert await world.effects() == [("shop.charge", "o1", 250)]
    assert senders == [Principal(subject="ann", tenant="acme")]


async def test_stopping_lets_handlers_finish_and_releases_those_that_do_not(database: Database) -> None:
    shop = Module("shop")
    entered: set[str] = set()
    everybody, finish = asyncio.Event(), asyncio.Event()

    @shop.on(Happened)
    async def bill(ctx: Any, event: Happened) -> None:
        entered.add(event.thing)
        if len(entered) == 2:
            everybody.set()
        if event.thing == "quick":
            await finish.wait()
        else:
            await asyncio.Event().wait()
        await ctx.record(event.thing)

    world = World(database, shop)
    await world.create()
    await world.emit(Happened(thing="quick"), Happened(thing="slow"))
    dispatcher = world.dispatcher()
    dispatcher.start()
    await everybody.wait()
    finish.set()
    await dispatcher.stop(grace=0.5)
    assert await world.effects() == [("shop.bill", "quick", 0)]

    again = World(database, next_release())
    async with again.dispatching():
        await drained(again)
    assert (await again.effects())[-1] == ("shop.bill", "slow", 2)


def next_release() -> Module:
    """Return the module again, with a handler of the same name that does something else."""
    shop = Module("shop")

    @shop.on(Happened)
    async def bill(ctx: Any, event: Happened) -> None:
        await ctx.record(event.thing, 2)

    return shop


async def test_a_message_that_kills_its_process_each_time_is_a_dead_letter_in_the_end(database: Database) -> None:
    shop = Module("shop")

    @shop.on(Happened)
    async def bill(ctx: Any, event: Happened) -> None:
        raise AssertionError("it is not run again")

    world = World(database, shop)
    await world.create()
    await world.emit(Happened(thing="poison"))
    deliveries = Deliveries(world.subscribers.ids, database.dialect)
    for number in range(12):  # claimed, and never heard of again
        now = micros(world.clock.now())
        async with world.writing() as session:
            batch = await deliveries.claim(session, now, 1, f"gone.{number}", lambda *_: now + 1_000_000)  # noqa: B023 - used before the next round
        assert len(batch.claimed) == 1
        world.clock.ahead += timedelta(hours=1)
    async with world.dispatching():

        async def buried() -> bool:
            return world.observer.counts["buried"] == 1

        await until(buried)
    [dead] = await dead_letters(database.session(write=False))
    assert "the process ended" in dead.error


async def test_deliveries_of_handlers_that_this_process_does_not_have_are_left_alone(database: Database) -> None:
    new, old = Module("shop"), Module("shop")

    @new.on(Happened)
    async def later(ctx: Any, event: Happened) -> None:
        await ctx.record("new")

    @old.on(Happened)
    async def earlier(ctx: Any, event: Happened) -> None:
        await ctx.record("old")

    world, other = World(database, new), World(database, old)
    await world.create()
    await world.emit(Happened(thing="a"))
    await other.emit(Happened(thing="a"))

    async def one_left() -> bool:
        return await world.pending() == 1

    async with other.dispatching():
        await until(one_left)
    assert await world.effects() == [("shop.earlier", "old", 0)]
    assert world.observer.counts["delivered"] == 0


async def test_an_event_that_a_newer_version_wrote_is_read(database: Database) -> None:
    shop = Module("shop")

    @shop.on(Happened)
    async def bill(ctx: Any, event: Happened) -> None:
        await ctx.record(event.thing, event.number)

    world = World(database, shop)
    await world.create()
    message = world.event(Happened(thing="a", number=3))
    payload = b'{"thing":"a","number":3,"colour":"red"}'
    newer = Message(**{name: getattr(message, name) for name in message.__struct_fields__} | {"payload": payload})
    await world.store(newer)
    async with world.dispatching():
        await drained(world)
    assert await world.effects() == [("shop.bill", "a", 3)]


async def test_a_runner_that_does_not_settle_is_told_so(database: Database) -> None:
    shop = Module("shop")

    @shop.on(Happened)
    async def bill(ctx: Any, event: Happened) -> None: ...

    class Forgetful(SimpleTransaction):
        async def commit(self, settle: Settle) -> None:
            return None

    class Runner(SimpleRunner):
        def transaction(self, *, shared: bool) -> SimpleTransaction:
            return Forgetful(database, shared)

    world = World(database, shop)
    await world.create()
    await world.emit(Happened(thing="a"))

    async def retried() -> bool:
        return world.observer.counts["retried"] > 0

    async with world.dispatching(Runner(database)):
        await until(retried)
    assert "settle" in str(world.observer.errors[0])


async def test_an_idle_dispatcher_only_looks(database: Database) -> None:
    shop = Module("shop")

    @shop.on(Happened)
    async def bill(ctx: Any, event: Happened) -> None: ...

    world = World(database, shop)
    await world.create()

    async def looked_often() -> bool:
        return world.observer.counts["looked"] > 5

    holder = database.session(write=True)
    try:
        await holder.execute(_touch(), ())  # whoever wanted to write now would have to wait
        async with world.dispatching(poll=0.01):
            await until(looked_often)
    finally:
        await holder.close()
    assert world.observer.errors == []


def _touch() -> Any:
    import sqlalchemy as sa

    from tests.messaging.contract.world import effect
    from trivet.data.statement import Statement

    return Statement(sa.delete(effect), ())
