"""``trivet db shards``: where the shards of an app are, and moving them while it is used."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from shutil import get_terminal_size
from typing import TYPE_CHECKING

import click
import msgspec

from trivet.cli.output import fail, json_option, print_json, print_table
from trivet.cli.target import app_argument, load_for
from trivet.core.fault import FaultyApp
from trivet.core.sharding import SHARDS
from trivet.data.database import DatabaseUnavailable
from trivet.data.sharding.balance import moves_for
from trivet.data.sharding.move import CannotMove

if TYPE_CHECKING:
    from trivet.app import App
    from trivet.data.sharding.database import ShardedDatabase
    from trivet.data.sharding.move import Moved, Progress

CONNECTIONS = 4
"""To one node: a move holds one for its lock, and reads and writes where both sides are."""

BAR = 30
"""Characters at most of the bar that shows how many moves are done."""


@click.group()
def shards() -> None:
    """See where the shards are, and move them to other nodes while the app is used.

    The nodes are `home`, which is the database of `database.url`, and those of `database.shards`. A move that ended in
    the middle, however that came, goes on when it is asked for again.

    \b
    Examples:
      trivet db shards list shop.app:app
      trivet db shards move 17 b shop.app:app
      trivet db shards rebalance shop.app:app --without c
    """


@shards.command(name="list")
@app_argument
@json_option
def list_(app: str | None, app_dir: str, as_json: bool) -> int:
    """Show how many shards each node has, and which are on their way.

    \b
    Examples:
      trivet db shards list shop.app:app
      trivet db shards list shop.app:app --json
    """

    async def run(database: ShardedDatabase, tables: list[Moved]) -> int:
        from trivet.data.sharding.balance import states

        found = await states(database)
        counts = {name: sum(state.node == name for state in found) for name in database.nodes}
        moving = [state for state in found if state.step != "serving"]
        if as_json:
            print_json({"nodes": counts, "moving": moving})
            return 0
        print_table(["NODE", "SHARDS"], [[name, str(count)] for name, count in counts.items()])
        if moving:
            click.echo("")
            rows = [[str(state.shard), state.node, state.target or "", state.step] for state in moving]
            print_table(["SHARD", "FROM", "TO", "STEP"], rows)
            click.echo("\nIf no process moves them any more: trivet db shards move SHARD TO")
        return 0

    return _with_nodes(app, app_dir, run)


@shards.command()
@click.argument("shard", type=click.IntRange(0, SHARDS - 1))
@click.argument("node")
@app_argument
@json_option
def move(shard: int, node: str, app: str | None, app_dir: str, as_json: bool) -> int:
    """Move SHARD to NODE, or go on with that move.

    The app goes on reading and writing the shard; for a moment towards the end whoever wants it waits.

    \b
    Examples:
      trivet db shards move 17 b shop.app:app
      trivet db shards move 17 b shop.app:app --json     a line of JSON for each step
    """

    async def run(database: ShardedDatabase, tables: list[Moved]) -> int:
        await _move_all(database, tables, [(shard, _known(database, node))], as_json)
        return 0

    return _with_nodes(app, app_dir, run)


@shards.command()
@app_argument
@click.option("--without", multiple=True, metavar="NODE", help="Leave nothing on this node; can be repeated.")
@click.option("--dry-run", is_flag=True, help="Say what would be moved, and move nothing.")
@json_option
def rebalance(app: str | None, app_dir: str, without: tuple[str, ...], dry_run: bool, as_json: bool) -> int:
    """Move as few shards as it takes for each node to have as many as the others; moves that ended in the middle first.

    \b
    Examples:
      trivet db shards rebalance shop.app:app                 after a node was added
      trivet db shards rebalance shop.app:app --without c     before a node is removed
      trivet db shards rebalance shop.app:app --dry-run
    """

    async def run(database: ShardedDatabase, tables: list[Moved]) -> int:
        from trivet.data.sharding.balance import states

        names = [name for name in database.nodes if name not in [_known(database, each) for each in without]]
        if not names:
            raise click.UsageError("no node would be left")
        found = await states(database)
        begun = [(state.shard, state.target) for state in found if state.step != "serving" and state.target]
        after = [dict(begun).get(state.shard, state.node) for state in found]
        wanted = [*begun, *moves_for(after, names)]
        if dry_run:
            if as_json:
                print_json([{"shard": shard, "node": node} for shard, node in wanted])
            else:
                print_table(["SHARD", "TO"], [[str(shard), node] for shard, node in wanted])
            return 0
        await _move_all(database, tables, wanted, as_json)
        return 0

    return _with_nodes(app, app_dir, run)


def _known(database: ShardedDatabase, node: str) -> str:
    if node not in database.nodes:
        raise click.UsageError(f"there is no node {node!r}; database.shards has {', '.join(database.nodes)}")
    return node


async def _move_all(
    database: ShardedDatabase, tables: list[Moved], wanted: list[tuple[int, str]], as_json: bool
) -> None:
    from trivet.core.clock import SystemClock
    from trivet.data.sharding.move import Move
    from trivet.messaging.handover import Handovers

    screen, log = Screen(len(wanted), as_json), Handovers(SystemClock())
    for shard, node in wanted:
        moved = await Move(database.nodes, tables, shard, node, screen.show, log).run()
        screen.moved(shard, node, moved)
    screen.end()


class Screen:
    """Shows how far moves are: a bar at a terminal, else a line for each move; lines of JSON for programs.

    Args:
        count: How many moves there will be.
        as_json: Whether a program reads.
    """

    def __init__(self, count: int, as_json: bool) -> None:
        self._count = count
        self._done = 0
        self._json = as_json
        self._step = ""
        self._live = sys.stderr.isatty() and not as_json

    def show(self, progress: Progress) -> None:
        """Show a step, or a batch of rows."""
        if self._json:
            if progress.step != self._step:
                click.echo(msgspec.json.encode(progress).decode())
        elif self._live:
            click.echo(f"\r\x1b[2K{self._line(progress, get_terminal_size().columns - 1)}", nl=False, err=True)
        self._step = progress.step

    def _line(self, progress: Progress, width: int) -> str:
        """Return what is shown of a step; a line that the terminal breaks could not be written over."""
        text = f" {self._done}/{self._count}  shard {progress.shard}  {progress.step}"
        if progress.pass_:
            text += f"  pass {progress.pass_}, {progress.done} rows, {progress.copied} copied"
        room = max(0, min(BAR, width - len(text) - 2))
        full = room * self._done // max(self._count, 1)
        return f"[{'#' * full}{'-' * (room - full)}]{text}"[:width]

    def moved(self, shard: int, node: str, moved: bool) -> None:
        """Say that a move has ended."""
        self._done += 1
        self._step = ""
        if not self._json and not self._live:
            click.echo(f"shard {shard} is on {node}" + ("" if moved else " already"))

    def end(self) -> None:
        """Say that all have."""
        if self._live:
            click.echo("\r\x1b[2K", nl=False, err=True)
        if not self._json and (self._live or not self._count):
            click.echo(f"{self._count} moved" if self._count else "Nothing to move.")


def _with_nodes(app: str | None, app_dir: str, run: Callable[[ShardedDatabase, list[Moved]], Awaitable[int]]) -> int:
    """Run with the open nodes of an app, and say what stands in the way as one line."""
    loaded = load_for(app, app_dir)
    _, faults = loaded.describe()
    if faults:
        raise FaultyApp(loaded.name, faults)
    if not any(table.shard_by is not None for module in loaded.modules for table in module.tables):
        fail(f"{loaded.name} has no sharded table: declare one with Table(..., shard_by=...)")
        return 1
    if loaded.settings.database.url.reveal().startswith("sqlite"):
        fail("SQLite has all shards in one file: name PostgreSQL databases with DATABASE_URL and database.shards")
        return 1
    try:
        return asyncio.run(_opened(loaded, run))
    except (DatabaseUnavailable, CannotMove) as failed:
        fail(str(failed))
        return 1


async def _opened(app: App, run: Callable[[ShardedDatabase, list[Moved]], Awaitable[int]]) -> int:
    from trivet.data.catalog import open_sharded, schema
    from trivet.data.sharding.move import moved
    from trivet.messaging.tables import platform_tables

    given = app.settings.database
    size = max(given.pool_size, CONNECTIONS)
    settings = msgspec.structs.replace(given, pool_size=size, replicas=(), shard_replicas=None)  # primaries only
    database = open_sharded(settings, "trivet db shards")
    await database.open()
    try:
        wanted = [*schema(app.modules, database.dialect), *platform_tables(database.dialect)]
        create = app.settings.development if settings.create is None else settings.create
        await (database.create(wanted) if create else database.check(wanted))
        return await run(database, moved(wanted))
    finally:
        await database.close()
