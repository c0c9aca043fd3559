"""``trivet events list | show | tail``: messages, as they are stored and as they come."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Sequence
from typing import TYPE_CHECKING
from uuid import UUID

import click
import msgspec

from trivet.cli.events.nodes import Nodes, of_each, on
from trivet.cli.events.shown import (
    LIMIT_MAX,
    about_option,
    document,
    handler_option,
    left,
    limit_option,
    time,
    type_option,
)
from trivet.cli.output import ENCODER, fail, json_option, one_line, print_json, print_table, style, width
from trivet.cli.target import app_argument, load_for
from trivet.core.clock import SystemClock

if TYPE_CHECKING:
    from trivet.data.database import Database
    from trivet.messaging.stored import Stored

Placed = tuple[str, "Stored"]
"""A message, and the node that has it."""


@click.command("list")
@app_argument
@click.option("--pending", is_flag=True, help="Only what somebody has not handled.")
@handler_option
@type_option
@about_option
@click.option("--before", metavar="POSITION", help="Only older ones: the next page.")
@limit_option
@json_option
def list_(
    app: str | None,
    app_dir: str,
    pending: bool,
    handler: str | None,
    type: str | None,
    about: str | None,
    before: str | None,
    limit: int,
    as_json: bool,
) -> int:
    """List what is in the outbox, the newest first, with the deliveries that are left.

    A message without one is delivered, or nobody handles its type. With --handler, only what that handler has before
    it. Delivered messages stay for a week.

    \b
    Examples:
      trivet events list shop.app:app
      trivet events list shop.app:app --pending --type orders.OrderPlaced
      trivet events list shop.app:app --about 0197a9c2-7d5e-7000-8000-0123456789ab
      trivet events list shop.app:app --limit 1000 --json | jq '.messages[].type'
    """
    from trivet.messaging.stored import END, Filter, Messages

    filter = Filter(type=type, about=about, handler=handler, pending=pending)

    async def work(nodes: Nodes) -> tuple[Nodes, Sequence[Placed], dict[str, int]]:
        marks = nodes.mark(before, END)

        async def ask(node: str, database: Database) -> Sequence[Placed]:
            found = await Messages(database, SystemClock()).page(filter, marks[node], limit)
            return [(node, each) for each in found]

        pages = [page for _, page in await of_each(nodes, ask)]
        merged = heapq.merge(*pages, key=lambda placed: placed[1].message.create_time, reverse=True)
        found = [placed for placed, _ in zip(merged, range(limit), strict=False)]
        return nodes, found, marks | {node: each.position for node, each in found}

    nodes, found, marks = on(load_for(app, app_dir), work)
    further = nodes.marked(marks) if len(found) == limit else None
    if as_json:
        messages = [document(node if nodes.several else None, each) for node, each in found]
        print_json({"messages": messages, "before": further})
        return 0
    rows = [
        (
            nodes.named(node, each.position),
            time(each.message.create_time),
            each.message.type,
            one_line(each.message.aggregate, 40) or "-",
            left(each),
        )
        for node, each in found
    ]
    print_table(("POSITION", "TIME", "TYPE", "ABOUT", "LEFT"), rows, dispensable=("ABOUT", "TIME"))
    if further is not None:
        click.echo(f"\nThere may be more: --before {further}")
    return 0


@click.command()
@app_argument
@click.argument("which", metavar="POSITION|ID", required=False)
@json_option
def show(app: str | None, app_dir: str, which: str | None, as_json: bool) -> int:
    """Show one message, what it says, and each of its deliveries that are left.

    It is named by its position in the outbox or by its id. With one argument, the app is the one in the settings.

    \b
    Examples:
      trivet events show shop.app:app 4711
      trivet events show shop.app:app 0197a9c2-7d5e-7000-8000-0123456789ab --json
    """
    from trivet.messaging.stored import Messages

    if which is None:
        app, which = None, app
    if which is None:
        raise click.UsageError("Which message? `trivet events list` shows their positions.")
    wanted = which

    async def work(nodes: Nodes) -> tuple[Nodes, Placed | None]:
        place = nodes.number(wanted)
        if place is not None:
            node, position = place
            found = await Messages(nodes.databases[node], SystemClock()).get(position)
            return nodes, None if found is None else (node, found)
        id = _id(wanted)
        for node, database in nodes.databases.items():
            found = await Messages(database, SystemClock()).get(id)
            if found is not None:
                return nodes, (node, found)
        return nodes, None

    if not wanted.rpartition("/")[2].isdecimal():
        _id(wanted)  # is refused before anything is opened
    nodes, placed = on(load_for(app, app_dir), work)
    if placed is None:
        fail(f"there is no message {which}: it was removed (a week after its delivery), or never committed")
        return 1
    if as_json:
        print_json(document(placed[0] if nodes.several else None, placed[1], payload=True))
    else:
        _print(nodes, *placed)
    return 0


def _id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise click.UsageError(f"{text!r} is neither a position nor the id of a message.") from None


def _print(nodes: Nodes, node: str, found: Stored) -> None:
    message = found.message
    said = {
        "position": nodes.named(node, found.position),
        "id": str(message.id),
        "kind": message.kind.value,
        "type": message.type,
        "about": message.aggregate or "-",
        "time": time(message.create_time),
        "tenant": message.tenant or "-",
        "caused by": message.principal.subject if message.principal and message.principal.subject else "-",
        "request": message.request_id or "-",
    }
    for name, text in said.items():
        click.echo(f"{name + ':':<11}{one_line(text)}")
    click.echo(msgspec.json.format(message.payload, indent=2).decode())
    if not found.deliveries:
        click.echo("\nno delivery is left")
    for each in found.deliveries:
        attempts = f", {each.attempts} attempts" if each.attempts else ""
        named = nodes.named(node, each.id)
        click.echo(f"\n{style(each.subscriber, bold=True)}: {each.state.value}{attempts}, {time(each.time)} [{named}]")
        if each.error:
            click.echo(f"    {one_line(each.error)}")


@click.command()
@app_argument
@click.option(
    "-n", "--last", type=click.IntRange(0, LIMIT_MAX), default=10, show_default=True, help="Begin with so many."
)
@type_option
@about_option
@json_option
def tail(app: str | None, app_dir: str, last: int, type: str | None, about: str | None, as_json: bool) -> int:
    """Follow what is committed, in commit order, until interrupted.

    With --json each message is one line. A transaction that is still writing holds back what comes after its messages,
    so that nothing is left out. Where there are several nodes, each is followed in its own order and begins with its
    own last ones.

    \b
    Examples:
      trivet events tail shop.app:app
      trivet events tail shop.app:app --type orders.OrderPlaced --last 0 --json
    """
    from trivet.messaging.stored import Filter, Messages

    filter = Filter(type=type, about=about)

    async def work(nodes: Nodes) -> None:
        async def follow(node: str, database: Database) -> None:
            async for each in Messages(database, SystemClock()).tail(filter, last):
                click.echo(_line(nodes, node, each, as_json))  # which flushes

        async with asyncio.TaskGroup() as following:
            for node, database in nodes.databases.items():
                following.create_task(follow(node, database))

    on(load_for(app, app_dir), work)
    return 0


def _line(nodes: Nodes, node: str, stored: Stored, as_json: bool) -> str:
    message = stored.message
    if as_json:
        return ENCODER.encode(document(node if nodes.several else None, stored, payload=True)).decode()
    head = f"{time(message.create_time)} {nodes.named(node, stored.position)} {style(message.type, bold=True)} "
    return head + one_line(message.payload.decode(), max(40, width() - len(click.unstyle(head))))
