"""``trivet events status``: what each handler has before it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click
import msgspec

from trivet.cli.events.nodes import Nodes, of_each, on
from trivet.cli.events.shown import age
from trivet.cli.output import json_option, print_json, print_table, style
from trivet.cli.target import app_argument, load_for
from trivet.core.clock import SystemClock

if TYPE_CHECKING:
    from trivet.data.database import Database
    from trivet.messaging.backlog import Backlog

Found = Sequence[tuple[str, "Sequence[Backlog]"]]


@click.command()
@app_argument
@json_option
def status(app: str | None, app_dir: str, as_json: bool) -> int:
    """Say what each handler has before it; exit with 1 where there are dead letters.

    Where there are several nodes, the columns are their sum, and each node's part of it has a column of its own.

    \b
    Examples:
      trivet events status shop.app:app
      trivet events status shop.app:app --json | jq '.[] | select(.dead > 0)'
    """
    from trivet.messaging.backlog import backlog, together

    async def ask(node: str, database: Database) -> Sequence[Backlog]:
        return await backlog(database.session(write=False, reads="primary"))

    async def work(nodes: Nodes) -> Found:
        return await of_each(nodes, ask)

    loaded = load_for(app, app_dir)
    by_node = on(loaded, work)
    found = sorted(together([each for _, part in by_node for each in part]), key=lambda each: each.subscriber)
    several = [node for node, _ in by_node] if len(by_node) > 1 else []
    parts = {(each.subscriber, node): each for node, part in by_node for each in part}
    if as_json:
        print_json(
            [
                msgspec.to_builtins(each)
                | (
                    {"nodes": {n: parts[each.subscriber, n] for n in several if (each.subscriber, n) in parts}}
                    if several
                    else {}
                )
                for each in found
            ]
        )
    elif found:
        now = SystemClock().now()
        rows = [
            (
                each.subscriber,
                str(each.waiting),
                str(each.retrying),
                str(each.dead),
                age(now, each.oldest) if each.oldest else "-",
                *(_part(parts.get((each.subscriber, node))) for node in several),
            )
            for each in found
        ]
        print_table(("HANDLER", "WAITING", "RETRYING", "DEAD", "OLDEST", *map(str.upper, several)), rows)
    else:
        click.echo(style(f"{loaded.name}: everything is delivered", fg="green"))
    return 1 if any(each.dead for each in found) else 0


def _part(found: Backlog | None) -> str:
    """Return what a handler has before it on one node: what is to be delivered, and what was given up."""
    if found is None:
        return "-"
    return f"{found.waiting + found.retrying}" + (f", {found.dead} dead" if found.dead else "")
