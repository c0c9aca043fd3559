"""The directory as one process knows it: on which node each logical shard is. It may be old; nodes know better."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from trivet.core.sharding import SHARDS
from trivet.data.database import Database, DatabaseUnavailable
from trivet.data.sharding.tables import statements

HOME = "home"
"""The name of the node that `database.url` is; everything that is not sharded is there."""


def dealt(shards: int, nodes: Iterable[str]) -> list[str]:
    """Return a node for each shard, so that each node gets as many as any other, give or take one."""
    names = list(nodes)
    return [names[shard * len(names) // shards] for shard in range(shards)]


def by_node(nodes: Sequence[str], among: Iterable[int] | None = None) -> dict[str, list[int]]:
    """Return the logical shards of each node that has some; of `among` only, where that is given.

    Args:
        nodes: The node of each logical shard.
        among: Logical shards.
    """
    found: dict[str, list[int]] = {}
    for shard in range(len(nodes)) if among is None else among:
        found.setdefault(nodes[shard], []).append(shard)
    return found


class Directory:
    """What this process knows.

    Args:
        home: The database that has the directory.
        nodes: The names of the nodes that the settings have.

    Attributes:
        nodes: The node of each logical shard.
        epochs: How often each was moved, and so which holder of it is meant.
        version: How new it is: each move of a shard makes one epoch greater by one, and none is ever less.
    """

    def __init__(self, home: Database, nodes: Iterable[str]) -> None:
        self._home = home
        self._known = frozenset(nodes)
        self.nodes: list[str] = [HOME] * SHARDS
        self.epochs: list[int] = [1] * SHARDS
        self.version = sum(self.epochs)
        self._reading: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"Directory({', '.join(f'{node}: {len(held)}' for node, held in self.by_node().items())})"

    def by_node(self, among: Iterable[int] | None = None) -> dict[str, list[int]]:
        """Return the logical shards of each node that has some; of `among` only, where that is given."""
        return by_node(self.nodes, among)

    async def refresh(self) -> None:
        """Read the directory again; of many that ask at once, one does it.

        Raises:
            DatabaseUnavailable: It can not be read, is incomplete, or names a node that the settings do not have.
        """
        reading = self._reading
        if reading is None:
            reading = self._reading = asyncio.create_task(self._read())
            reading.add_done_callback(self._was_read)
        await asyncio.shield(reading)

    def _was_read(self, reading: asyncio.Task[None]) -> None:
        self._reading = None
        if not reading.cancelled():
            reading.exception()  # whoever waits for it has it

    async def _read(self) -> None:
        session = self._home.session(write=False, reads="primary")
        try:
            rows = await session.fetch(statements().directory, ())
        finally:
            await session.close()
        if len(rows) != SHARDS:
            raise DatabaseUnavailable.because(
                f"{self._home}: the directory has {len(rows)} of {SHARDS} shards: start one process of the app, "
                "which fills an empty one; restore one that has lost rows"
            )
        unknown = sorted({node for _, node, _ in rows} - self._known)
        if unknown:
            raise DatabaseUnavailable.because(
                f"shards are on the node {unknown[0]!r}, which the settings do not have: write its URL into "
                f'[database.shards] as {unknown[0]} = "postgresql://..."'
            )
        nodes, epochs = list(self.nodes), list(self.epochs)
        for logical, node, epoch in rows:
            nodes[logical], epochs[logical] = node, epoch
        self.nodes, self.epochs, self.version = nodes, epochs, sum(epochs)
