"""One stream of the events of three nodes: nothing is lost and nothing comes twice, whatever becomes of a node."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress
from datetime import timedelta
from functools import partial
from random import Random
from typing import Any

import pytest

from tests.messaging.contract.test_resume import Reachable
from tests.messaging.contract.world import Happened, World
from tests.postgres import empty_database
from tests.waiting import until
from trivet.contracts.openapi import POSITION_MAX
from trivet.core.module import Module
from trivet.data.catalog import open_database
from trivet.data.database import DatabaseUnavailable
from trivet.messaging.handover import Handovers
from trivet.messaging.merged import MergedFeed, MergedReader
from trivet.messaging.position import Position, PositionExpired, PositionUnknown
from trivet.messaging.positions import NODES_MAX, read_positions, write_positions

KEY = b"k" * 32
NAMES = ("home", "b", "c")
PATIENCE_SECONDS = 60
LAST = 10**6


class Nodes:
    """Three nodes, and what one process sees of them.

    Attributes:
        worlds: The node itself, by its name.
        seen: The same as the process sees it.
    """

    def __init__(self, worlds: Mapping[str, World]) -> None:
        self.worlds = dict(worlds)
        self.seen = {name: Reachable(world.database) for name, world in worlds.items()}

    def feed(self, *names: str) -> MergedFeed:
        """Return the feed of a process whose settings have these nodes; all when none is named."""
        home = self.worlds["home"]
        seen: dict[str, Any] = {name: self.seen[name] for name in names or NAMES}
        return MergedFeed(seen, home.subscribers.names, KEY, clock=home.clock)

    async def emit(self, node: str, *numbers: int, thing: str | None = None) -> None:
        """Emit events about a thing, which is called as its node unless it has another name."""
        await self.worlds[node].emit(*(Happened(thing=thing or node, number=number) for number in numbers))

    async def hand_over(self, source: str, target: str) -> None:
        """Do what a mover does for the order of events; nobody writes at either node meanwhile."""
        handovers = Handovers(self.worlds[source].clock)
        async with self.worlds[source].writing() as there:
            before = await handovers.given_up(there, 1)
        async with self.worlds[target].writing() as here:
            await handovers.taken(here, 1, source, before)


@asynccontextmanager
async def three_worlds() -> AsyncIterator[Nodes]:
    with ExitStack() as urls:
        async with AsyncExitStack() as stack:
            worlds: dict[str, World] = {}
            for name in NAMES:
                database = open_database(urls.enter_context(empty_database(17)))
                await database.open()
                stack.push_async_callback(database.close)
                worlds[name] = World(database, Module("shop"))
                await worlds[name].create()
                worlds[name].clock = worlds["home"].clock
            yield Nodes(worlds)


@pytest.fixture
async def nodes() -> AsyncIterator[Nodes]:
    async with three_worlds() as nodes:
        yield nodes


async def take(feed: MergedFeed, count: int, after: str | None) -> tuple[list[tuple[str, int]], str]:
    """Return the next events, and the position after them."""
    taken: list[tuple[str, int]] = []
    async with feed.follow((Happened,), after) as reader, asyncio.timeout(PATIENCE_SECONDS):
        while len(taken) < count:
            event = await anext(reader)
            if reader.give():
                taken.append((event.thing, event.number))
        return taken, str(reader)


def of_each(taken: Sequence[tuple[str, int]]) -> dict[str, list[int]]:
    """Return the numbers about each thing, in the order in which they came."""
    return {thing: [number for each, number in taken if each == thing] for thing in sorted({t for t, _ in taken})}


async def test_events_of_all_nodes_come_in_the_order_of_each_and_a_reader_goes_on_anywhere(nodes: Nodes) -> None:
    feed = nodes.feed()
    position = await feed.start(None)
    for name in NAMES:
        await nodes.emit(name, *range(20))
    arrived: list[tuple[str, int]] = []
    for count in (1, 7, 2, 30, 20):
        taken, position = await take(feed, count, position)
        arrived += taken
    assert of_each(arrived) == {name: list(range(20)) for name in NAMES}
    await feed.close()


async def test_a_busy_node_does_not_keep_the_others_waiting(nodes: Nodes) -> None:
    feed = nodes.feed()
    position = await feed.start(None)
    await nodes.emit("b", *range(3000))
    await nodes.emit("c", 0)
    before = 0
    async with feed.follow((Happened,), position) as reader, asyncio.timeout(PATIENCE_SECONDS):
        while (await anext(reader)).thing != "c":
            before += 1
    assert before < 3000
    await feed.close()


async def test_a_node_that_is_down_ends_no_stream_and_its_events_come_when_it_is_back(nodes: Nodes) -> None:
    feed = nodes.feed()
    position = await feed.start(None)
    arrived: list[tuple[str, int]] = []

    async def read() -> None:
        async with feed.follow((Happened,), position) as reader:
            async for event in reader:
                arrived.append((event.thing, event.number))

    reading = asyncio.create_task(read())
    await nodes.emit("b", 0)
    await until(partial(has, arrived, ("b", 0)))
    nodes.seen["b"].reachable = False
    await nodes.emit("b", 1, 2)
    await nodes.emit("c", 0)
    await nodes.emit("home", 0)
    await until(partial(has, arrived, ("c", 0), ("home", 0)))
    assert ("b", 1) not in arrived
    nodes.seen["b"].reachable = True
    await until(partial(has, arrived, ("b", 2)))
    assert of_each(arrived) == {"b": [0, 1, 2], "c": [0], "home": [0]}
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    await feed.close()


async def has(arrived: list[tuple[str, int]], *wanted: tuple[str, int]) -> bool:
    return set(wanted) <= set(arrived)


async def test_a_reader_comes_back_while_a_node_is_down_and_misses_nothing_of_it(nodes: Nodes) -> None:
    feed, other = nodes.feed(), nodes.feed()
    position = await feed.start(None)
    for name in NAMES:
        await nodes.emit(name, 0, 1)
    taken, position = await take(feed, 3, position)
    nodes.seen["b"].reachable = False
    await nodes.emit("b", 2)
    await nodes.emit("c", 2)
    left = 7 - 3 - (2 - len(of_each(taken).get("b", [])))
    more, position = await take(other, left, position)  # in a process that never saw it
    nodes.seen["b"].reachable = True
    rest, _ = await take(other, 8 - 3 - left, position)
    assert of_each([*taken, *more, *rest]) == {"b": [0, 1, 2], "c": [0, 1, 2], "home": [0, 1]}
    await feed.close()
    await other.close()


async def test_a_new_reader_begins_while_a_node_is_down_only_where_somebody_knows_its_end(nodes: Nodes) -> None:
    feed = nodes.feed()
    nodes.seen["b"].reachable = False
    with pytest.raises(DatabaseUnavailable):
        await feed.start(None)
    nodes.seen["b"].reachable = True
    async with feed.follow((Happened,)) as reader:
        reading = asyncio.ensure_future(anext(reader))
        await nodes.emit("b", 0)
        await reading
        reading = asyncio.ensure_future(anext(reader))
        await asyncio.sleep(0)
        nodes.seen["b"].reachable = False
        begun: list[str] = []

        async def begins() -> bool:
            with suppress(DatabaseUnavailable):
                begun.append(await feed.start(None))
            return bool(begun)

        await until(begins)
        await nodes.emit("b", 1)
        nodes.seen["b"].reachable = True
        assert (await take(feed, 1, begun[0]))[0] == [("b", 1)]
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
    await feed.close()


async def test_a_node_that_joins_is_read_from_its_beginning_and_one_that_was_there_before_is_not(nodes: Nodes) -> None:
    two, all_of_them = nodes.feed("home", "b"), nodes.feed()
    position = await two.start(None)
    await asyncio.sleep(0.01)
    await nodes.emit("home", 0)
    await nodes.emit("c", 0)
    taken, _ = await take(all_of_them, 2, position)
    assert of_each(taken) == {"c": [0], "home": [0]}
    with pytest.raises(PositionExpired):  # it has events from before the position: which of them were seen?
        await all_of_them.start(await two.start(None))
    with pytest.raises(PositionExpired):  # it has left, and may have events that were not seen
        await two.start(await all_of_them.start(None))
    await two.close()
    await all_of_them.close()


async def test_a_position_from_before_there_were_several_databases_is_one_of_home(nodes: Nodes) -> None:
    feed = nodes.feed()
    position = await nodes.worlds["home"].feed().start(None)
    await asyncio.sleep(0.01)
    await nodes.emit("home", 0)
    await nodes.emit("c", 0)
    taken, _ = await take(feed, 2, position)
    assert of_each(taken) == {"c": [0], "home": [0]}
    await feed.close()


async def test_a_position_is_refused_that_is_too_old_of_other_databases_or_none(nodes: Nodes) -> None:
    feed = nodes.feed()
    position = await feed.start(None)
    for text in ("", "x", position[:-1], position + "A", ("B" if position.startswith("A") else "A") + position[1:]):
        with pytest.raises(PositionUnknown):
            await feed.start(text)
    with pytest.raises(PositionUnknown):
        read_positions(position, NAMES, "home", b"another key")
    positions = read_positions(position, NAMES, "home", KEY)
    ahead = Position(at=10**6, time=positions["c"].time)
    with pytest.raises(PositionExpired):
        await feed.start(write_positions({**positions, "c": ahead}, KEY))
    nodes.worlds["home"].clock.ahead = timedelta(days=7)
    with pytest.raises(PositionExpired):
        await feed.start(position)
    await feed.close()


async def test_a_position_that_could_not_be_checked_is_refused_once_it_can(nodes: Nodes) -> None:
    feed = nodes.feed()
    positions = read_positions(await feed.start(None), NAMES, "home", KEY)
    await feed.close()
    fresh = nodes.feed()
    nodes.seen["c"].reachable = False
    ahead = Position(at=10**6, time=positions["c"].time)
    position = await fresh.start(write_positions({**positions, "c": ahead}, KEY))
    async with fresh.follow((Happened,), position) as reader:
        await nodes.emit("b", 0)
        assert (await anext(reader)).thing == "b"
        nodes.seen["c"].reachable = True
        with pytest.raises(PositionExpired):
            await anext(reader)
    await fresh.close()


async def test_what_follows_a_change_of_nodes_waits_for_what_was_before_it(nodes: Nodes) -> None:
    feed = nodes.feed()
    position = await feed.start(None)
    nodes.seen["b"].reachable = False
    await nodes.emit("b", 1, thing="moves")
    await nodes.hand_over("b", "c")
    await nodes.emit("c", 2, thing="moves")
    await nodes.emit("home", 0)
    async with feed.follow((Happened,), position) as reader:
        assert (await anext(reader)).thing == "home"
        last = asyncio.ensure_future(anext(reader))
        done, _ = await asyncio.wait({last}, timeout=0.7)
        assert not done, "what happened at the new node came before what happened at the old one"
        nodes.seen["b"].reachable = True
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert [(await last).number, (await anext(reader)).number] == [1, 2]
    await feed.close()


def test_the_text_of_a_position_has_a_bound() -> None:
    most = Position(at=10**18 - 1, time=10**17 - 1, items=10**9 - 1)
    positions = {f"{'n' * 60}{number:03}": most for number in range(NODES_MAX)}
    text = write_positions(positions, KEY)
    assert len(text) <= POSITION_MAX
    assert read_positions(text, positions, "home", KEY) == positions


class Schedule:
    """What happens in one seeded schedule: things that move, readers that break off, nodes that are lost sight of."""

    def __init__(self, nodes: Nodes, seed: int) -> None:
        self.random = Random(seed)
        self.nodes = nodes
        self.feeds = [nodes.feed(), nodes.feed()]
        self.where = {f"t{number}": NAMES[number % 3] for number in range(5)}
        self.written: dict[str, list[int]] = {thing: [] for thing in self.where}

    @staticmethod
    def items_of(number: int) -> int:
        """Return how many items the stream makes of an event."""
        return (1, 1, 0, 3, 1)[number % 5]

    async def write(self, rounds: int) -> None:
        for _ in range(rounds):
            for thing, node in list(self.where.items()):
                count = self.random.choice((0, 1, 2, 20))
                numbers = range(len(self.written[thing]), len(self.written[thing]) + count)
                await self.nodes.emit(node, *numbers, thing=thing)
                self.written[thing] += numbers
            if self.random.random() < 0.4:
                thing = self.random.choice(list(self.where))
                source, target = self.where[thing], self.random.choice(NAMES)
                if source != target:
                    await self.nodes.hand_over(source, target)
                    self.where[thing] = target
            self.random.choice(self.feeds).wake()
            await asyncio.sleep(self.random.choice((0, 0.002, 0.02)))

    async def disturb(self) -> None:
        while True:
            await asyncio.sleep(self.random.uniform(0, 0.1))
            if self.random.random() < 0.5:
                index = self.random.randrange(2)
                old, self.feeds[index] = self.feeds[index], self.nodes.feed()
                await old.close()
            else:
                seen = self.nodes.seen[self.random.choice(NAMES)]
                seen.reachable = not seen.reachable

    async def read(self, position: str, arrived: list[tuple[str, int, int]]) -> None:
        """Read on from one connection to the next until the last event of each thing has arrived."""
        while not all((thing, LAST, 0) in arrived for thing in self.where):
            async with self.random.choice(self.feeds).follow((Happened,), position) as reader:
                position = await self._connection(reader, position, arrived)

    async def _connection(
        self, reader: MergedReader[Happened], position: str, arrived: list[tuple[str, int, int]]
    ) -> str:
        """Read until something happens, and return the position that the other side was told last."""
        sent: list[tuple[tuple[str, int, int], str]] = []

        async def run() -> None:
            async for event in reader:
                for part in range(1 if event.number == LAST else self.items_of(event.number)):
                    if reader.give():
                        sent.append(((event.thing, event.number, part), str(reader)))
                    if self.random.random() < 0.1:
                        await asyncio.sleep(0)

        task = asyncio.create_task(run())
        await asyncio.wait({task}, timeout=self.random.choice((0, 0.01, 0.05, 0.3)))
        if task.done() and (failed := task.exception()) is not None:
            raise failed
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        if self.random.random() < 0.5:  # it ended in order
            arrived += [item for item, _ in sent]
            return str(reader)
        for item, place in sent[: self.random.randint(0, len(sent))]:  # the rest was on its way
            arrived.append(item)
            position = place
        return position


@pytest.mark.simulation
@pytest.mark.parametrize("seed", range(8))
async def test_readers_get_what_was_said_of_each_thing_once_and_in_order_wherever_it_goes(
    nodes: Nodes, seed: int
) -> None:
    schedule = Schedule(nodes, seed)
    begin = await schedule.feeds[0].start(None)
    disturbing = asyncio.create_task(schedule.disturb())
    arrivals: list[list[tuple[str, int, int]]] = [[] for _ in range(3)]
    readers = [asyncio.create_task(schedule.read(begin, arrived)) for arrived in arrivals]
    await schedule.write(60)
    disturbing.cancel()
    [ended] = await asyncio.gather(disturbing, return_exceptions=True)
    assert isinstance(ended, asyncio.CancelledError)
    for seen in nodes.seen.values():
        seen.reachable = True
    for thing, node in schedule.where.items():
        await nodes.emit(node, LAST, thing=thing)
    async with asyncio.timeout(PATIENCE_SECONDS):
        await asyncio.gather(*readers)
    for arrived in arrivals:
        for thing, numbers in schedule.written.items():
            wanted = [(number, part) for number in numbers for part in range(schedule.items_of(number))]
            assert [(number, part) for each, number, part in arrived if each == thing] == [*wanted, (LAST, 0)]
    for feed in schedule.feeds:
        await feed.close()
