"""The databases that have an app's events, and how what is in one of them is named."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, TypeVar

import click
from msgspec.structs import replace

if TYPE_CHECKING:
    from trivet.app import App
    from trivet.data.database import Database

T = TypeVar("T")

HOME = "home"


class Nodes:
    """The open databases by their names; one of them where no table is sharded.

    Args:
        databases: Each node's.
    """

    def __init__(self, databases: Mapping[str, Database]) -> None:
        self.databases = databases

    @property
    def several(self) -> bool:
        """Whether there is more than one."""
        return len(self.databases) > 1

    def named(self, node: str, number: int) -> str:
        """Return how a position or an id of a node is written."""
        return f"{node}/{number}" if self.several else str(number)

    def number(self, text: str) -> tuple[str, int] | None:
        """Return the node and the number that are meant, ``None`` where it is no number.

        Raises:
            UsageError: There is no such node, or it has to be named.
        """
        node, slash, digits = text.rpartition("/")
        if not digits.isdecimal() or int(digits) >= 2**63:
            return None
        if not slash:
            if self.several:
                raise click.UsageError(f"Each node counts for itself: say which, such as {HOME}/{digits}.")
            return next(iter(self.databases)), int(digits)
        if node not in self.databases:
            raise click.UsageError(f"There is no node {node!r}: the nodes are {', '.join(self.databases)}.")
        return node, int(digits)

    def mark(self, text: str | None, otherwise: int) -> dict[str, int]:
        """Return where each node's page begins, from the mark at which the page before it ended.

        Raises:
            UsageError: It is no mark.
        """
        marks = dict.fromkeys(self.databases, otherwise)
        for word in text.split(",") if text else ():
            found = self.number(word)
            if found is None:
                raise click.UsageError(f"{text!r} is no place in a list: it is what the page before it ended with.")
            marks[found[0]] = found[1]
        return marks

    def marked(self, marks: Mapping[str, int]) -> str:
        """Return the mark of these places, one for each node."""
        return ",".join(self.named(node, number) for node, number in marks.items())


def on(app: App, work: Callable[[Nodes], Awaitable[T]]) -> T:
    """Do something with the app's databases, whose tables of the platform have to be there.

    Raises:
        DatabaseUnavailable: With what to do about it.
    """
    from trivet.data.catalog import open_database
    from trivet.data.database import Contention
    from trivet.messaging.tables import tables

    settings = replace(app.settings.database, replicas=())  # everything is read at the primaries

    async def run() -> T:
        async with AsyncExitStack() as stack:
            opened: dict[str, Database] = {}
            for node, url in _urls(app).items():
                database = opened[node] = open_database(url, settings, f"{app.name} trivet events")
                await database.open()
                stack.push_async_callback(database.close)
                await database.check(tables(database.dialect).all)
            return await work(Nodes(opened))

    try:
        return asyncio.run(run())
    except Contention:
        raise click.ClickException("other writers were in the way; what was done stays: try again") from None


def _urls(app: App) -> Mapping[str, str]:
    from trivet.data.catalog import dialect_of, sqlite_file

    settings = app.settings.database
    url = settings.url.reveal()
    if dialect_of(url) == "sqlite":
        file = sqlite_file(url)
        if file is None:
            raise click.ClickException("a private temporary database has no events to look at: name a file")
        if not file.exists():
            raise click.ClickException(
                f"there is no database {file}: serve the app first, or name it with DATABASE_URL"
            )
    elif any(table.shard_by is not None for module in app.modules for table in module.tables):
        return {node: each.reveal() for node, each in settings.nodes.items()}
    return {HOME: url}


async def of_each(nodes: Nodes, ask: Callable[[str, Database], Awaitable[T]]) -> Sequence[tuple[str, T]]:
    """Ask every node, at the same time; return what each answered."""
    answers = await asyncio.gather(*(ask(node, database) for node, database in nodes.databases.items()))
    return list(zip(nodes.databases, answers, strict=True))
