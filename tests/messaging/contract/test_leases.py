"""Random schedules of two holders that claim, settle, fail, dawdle and die: order and exactly one effect survive."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.messaging.contract.world import ENGINES, Happened, World, effect, empty_store
from trivet.core.module import Module
from trivet.data.catalog import open_database
from trivet.data.statement import Statement
from trivet.messaging.deliveries import Claimed, Deliveries, LeaseLost, Queue
from trivet.messaging.tables import micros, tables

LEASE = 10_000_000

holders = st.sampled_from("AB")
actions = st.one_of(
    st.tuples(st.just("emit"), st.sampled_from("xyz")),
    st.tuples(st.just("claim"), holders, st.integers(1, 4), st.integers(1, 3)),
    st.tuples(st.just("settle"), holders, st.integers(0, 5)),
    st.tuples(st.just("fail"), holders, st.integers(0, 5)),
    st.tuples(st.just("die"), holders),
    st.tuples(st.just("pass"), st.sampled_from((1_000_000, 6_000_000, 70_000_000))),
)


class Schedule:
    """The store under test beside what must be true of it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.deliveries = Deliveries(world.subscribers.ids, world.database.dialect)
        self.now = micros(world.clock.now())
        self.held: dict[str, list[Claimed]] = {"A": [], "B": []}
        self.ends: dict[str, int] = {}
        """When the newest lease of each queue ends."""
        self.emitted: dict[str, list[int]] = defaultdict(list)
        self.done: dict[str, list[int]] = defaultdict(list)
        self.freed: list[Queue] = []
        self.claims = 0

    async def emit(self, thing: str) -> None:
        number = sum(map(len, self.emitted.values()))
        message = self.world.event(Happened(thing=thing, number=number))
        await self.world.store(message)
        self.now = max(self.now, micros(message.create_time))
        self.emitted[thing].append(number)

    async def claim(self, holder: str, hands: int, size: int) -> int:
        self.claims += 1
        async with self.world.writing() as session:
            batch = await self.deliveries.claim(
                session,
                self.now,
                hands,
                str(self.claims),
                lambda *_: self.now + LEASE,
                self.freed,
                size=lambda subscriber: size,
            )
        self.freed = []
        assert len(batch.hands) <= hands
        assert all(len(hand) <= size for hand in batch.hands)
        queues = [queue for hand in batch.hands for queue in {claimed.queue for claimed in hand}]
        assert len(set(queues)) == len(queues), "each queue is in one hand"
        for hand in batch.hands:
            places: Counter[str] = Counter()
            for claimed in hand:
                assert places[claimed.queue] or self.ends.get(claimed.queue, 0) <= self.now, "nobody else holds it"
                assert self._number(claimed) == self._next(claimed.queue, places[claimed.queue]), "in their order"
                places[claimed.queue] += 1
            for queue in places:
                self.ends[queue] = self.now + LEASE
        self.held[holder] += batch.claimed
        return len(batch.claimed) + batch.blocked

    async def settle(self, holder: str, index: int) -> None:
        """Settle a delivery together with those before it in its queue."""
        claimed = self._pick(holder, index)
        if claimed is not None:
            before, _ = self._beside(holder, claimed)
            await self._settle([*before, claimed])

    async def _settle(self, those: list[Claimed]) -> bool:
        try:
            async with self.world.writing() as session:
                await self.deliveries.settle(session, those)
        except LeaseLost:
            assert those[0].attempts < self.claims  # somebody claimed it since
            return False
        for claimed in those:
            self.done[claimed.queue].append(self._number(claimed))
            self.ends[claimed.queue] = 0
        self.freed.append((those[0].subscriber, those[0].queue))
        return True

    async def fail(self, holder: str, index: int) -> None:
        """Settle what is before it, give back what is behind it, and let it be tried again."""
        claimed = self._pick(holder, index)
        if claimed is None:
            return
        before, behind = self._beside(holder, claimed)
        if before and not await self._settle(before):
            return
        due = self.now + 3_000_000
        try:
            async with self.world.writing() as session:
                if behind:
                    await self.deliveries.give_back(session, behind, self.now, tried=False)
                await self.deliveries.again(session, claimed, due, claimed.attempts, RuntimeError("failed"))
        except LeaseLost:
            return
        self.ends[claimed.queue] = due

    def _beside(self, holder: str, claimed: Claimed) -> tuple[list[Claimed], list[Claimed]]:
        """Take those of the same queue and claim from the holder: those before it, and those behind it."""
        beside = [each for each in self.held[holder] if (each.queue, each.lease) == (claimed.queue, claimed.lease)]
        self.held[holder] = [each for each in self.held[holder] if each not in beside]
        return [each for each in beside if each.id < claimed.id], [each for each in beside if each.id > claimed.id]

    async def finish(self) -> None:
        """Let every lease end and deliver what is left."""
        self.held = {"A": [], "B": []}
        while await self.world.pending():
            self.now += 70_000_000
            while await self.claim("A", 10, 2):
                for _ in list(self.held["A"]):
                    await self.settle("A", 0)
        assert self.done == self.emitted

    def _pick(self, holder: str, index: int) -> Claimed | None:
        held = self.held[holder]
        return held.pop(index % len(held)) if held else None

    def _next(self, queue: str, further: int) -> int:
        return self.emitted[queue][len(self.done[queue]) + further]

    @staticmethod
    def _number(claimed: Claimed) -> int:
        return msgspec.json.decode(claimed.message.payload, type=Happened).number


async def play(url: str, steps: list[tuple[Any, ...]]) -> None:
    shop = Module("shop")

    @shop.on(Happened)
    async def bill(ctx: Any, event: Happened) -> None: ...

    database = open_database(url)
    await database.open()
    try:
        world = World(database, shop)
        await world.create()
        async with world.writing() as session:
            for table in (*tables().all, effect):  # what the example before left
                await session.execute(Statement(sa.delete(table)), ())
        schedule = Schedule(world)
        for name, *values in steps:
            if name == "die":
                schedule.held[values[0]].clear()
            elif name == "pass":
                schedule.now += values[0]
            else:
                await getattr(schedule, name)(*values)
        await schedule.finish()
    finally:
        await database.close()


@pytest.mark.parametrize("engine", ENGINES)
def test_every_schedule_delivers_everything_once_and_in_order(engine: str, tmp_path: Path) -> None:
    with empty_store(engine, tmp_path) as url:

        @settings(max_examples=60)
        @given(steps=st.lists(actions, max_size=40))
        def every_schedule(steps: list[tuple[Any, ...]]) -> None:
            asyncio.run(play(url, steps))

        every_schedule()
