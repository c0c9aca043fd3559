"""``trivet events dead | replay``: dead letters, and trying them again."""

from __future__ import annotations

import heapq
import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from trivet.cli.events.nodes import Nodes, of_each, on
from trivet.cli.events.shown import handler_option, letter, limit_option, time, type_option
from trivet.cli.output import fail, json_option, one_line, print_json, print_table, style
from trivet.cli.target import app_argument, load_for
from trivet.core.clock import SystemClock

if TYPE_CHECKING:
    from trivet.data.database import Database
    from trivet.messaging.dead import DeadLetter

ERROR_COLUMNS = 60
"""How much of an error a table shows."""

ID = re.compile(r"([^/:.]+/)?[0-9]+")


@click.command()
@app_argument
@handler_option
@type_option
@click.option("--after", metavar="ID", help="Only later ones: the next page.")
@limit_option
@json_option
def dead(
    app: str | None, app_dir: str, handler: str | None, type: str | None, after: str | None, limit: int, as_json: bool
) -> int:
    """List dead letters: deliveries that failed too often, with their last error.

    \b
    Examples:
      trivet events dead shop.app:app
      trivet events dead shop.app:app --handler orders.charge_order --json | jq '.dead[].error'
    """
    from trivet.messaging.dead import Selection, count_dead, dead_letters

    selection = Selection(subscriber=handler, type=type)

    async def work(nodes: Nodes) -> tuple[Nodes, Sequence[tuple[str, DeadLetter]], int, dict[str, int]]:
        marks = nodes.mark(after, 0)

        async def ask(node: str, database: Database) -> tuple[Sequence[DeadLetter], int]:
            session = database.session(write=False, reads="primary")
            found = await dead_letters(session, marks[node], limit, selection)
            return found, await count_dead(session, selection)

        answers = await of_each(nodes, ask)
        pages = [[(node, each) for each in found] for node, (found, _) in answers]
        merged = heapq.merge(*pages, key=lambda placed: placed[1].time)
        found = [placed for placed, _ in zip(merged, range(limit), strict=False)]
        count = sum(count for _, (_, count) in answers)
        return nodes, found, count, marks | {node: each.id for node, each in found}

    loaded = load_for(app, app_dir)
    nodes, found, count, marks = on(loaded, work)
    further = nodes.marked(marks) if len(found) == limit else None
    if as_json:
        shown = [letter(node if nodes.several else None, each) for node, each in found]
        print_json({"dead": shown, "count": count, "after": further})
        return 0
    if not count:
        click.echo(style(f"{loaded.name}: no dead letters", fg="green"))
        return 0
    rows = [
        (
            nodes.named(node, each.id),
            each.subscriber,
            each.message.type,
            one_line(each.message.aggregate, 40) or "-",
            str(each.attempts),
            time(each.time),
            one_line(each.error, ERROR_COLUMNS),
        )
        for node, each in found
    ]
    heads = ("ID", "HANDLER", "TYPE", "ABOUT", "ATTEMPTS", "GIVEN UP", "ERROR")
    print_table(heads, rows, dispensable=("ABOUT", "ATTEMPTS", "GIVEN UP", "TYPE"))
    click.echo(f"\n{len(found)} of {count}" + (f"; the next: --after {further}" if further is not None else ""))
    return 0


@click.command()
@app_argument
@click.argument("ids", metavar="[ID]...", nargs=-1)
@handler_option
@type_option
@click.option("--all", "everything", is_flag=True, help="Every dead letter.")
@click.option("--dry-run", is_flag=True, help="Say what would be replayed; change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def replay(
    app: str | None,
    app_dir: str,
    ids: tuple[str, ...],
    handler: str | None,
    type: str | None,
    everything: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> int:
    """Let dead letters be delivered again, with all their attempts before them.

    Say which: ids that `dead` lists, or --handler, --type or both, or --all. The workers that run take them up within
    a second. Later events about the same thing may have been handled meanwhile. What fails again is a dead letter
    again. Exits with 1 when there was nothing to replay, or an id is none of a dead letter; then nothing is replayed.

    \b
    Examples:
      trivet events replay shop.app:app 12 15
      trivet events replay shop.app:app --handler orders.charge_order --dry-run
      trivet events replay shop.app:app --all --yes
    """
    from trivet.messaging.dead import Selection

    app, named = _app_and_ids(app, ids)
    selected = handler is not None or type is not None
    if bool(named) + selected + everything != 1:
        raise click.UsageError("Say which: ids, or --handler and --type, or --all.")
    if not (dry_run or yes or sys.stdin.isatty()):
        raise click.UsageError("Nobody is there to be asked: say --yes, or --dry-run.")
    chosen = Chosen(named, Selection(subscriber=handler, type=type))
    loaded = load_for(app, app_dir)
    there, unknown = on(loaded, chosen.count)
    if unknown:
        fail(f"no dead letter has the id {', '.join(unknown)}: nothing was replayed")
        return 1
    if dry_run or not there:
        done = 0
    else:
        if not yes:
            click.confirm(f"Replay {_letters(there)} in {loaded.settings.database.url.shown}?", abort=True, err=True)
        done = on(loaded, chosen.replay)
    if as_json:
        print_json({"dead": there, "replayed": done})
    else:
        click.echo(f"would replay {_letters(there)}" if dry_run else f"replayed {_letters(done)}")
    return 0 if there else 1


class Chosen:
    """Which dead letters are meant: those that are named, or else those that are selected.

    Args:
        named: Ids, as they were given.
        selection: Which ones where none is named.
    """

    def __init__(self, named: Sequence[str], selection: Any) -> None:
        self._named = named
        self._selection = selection

    def _of(self, nodes: Nodes) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for text in self._named:
            place = nodes.number(text)
            if place is not None and place[1] not in found.setdefault(place[0], []):
                found[place[0]].append(place[1])
        return found

    async def count(self, nodes: Nodes) -> tuple[int, list[str]]:
        """Return how many there are, and the names of which there is none."""
        from trivet.messaging.dead import count_dead, dead_letter

        count, unknown = 0, []
        named = self._of(nodes)
        for node, database in nodes.databases.items():
            session = database.session(write=False, reads="primary")
            if not self._named:
                count += await count_dead(session, self._selection)
            for id in named.get(node, ()):
                if await dead_letter(session, id) is None:
                    unknown.append(nodes.named(node, id))
                else:
                    count += 1
        return count, unknown

    async def replay(self, nodes: Nodes) -> int:
        """Replay them, node after node, and return how many that were."""
        from trivet.messaging.brief import briefly
        from trivet.messaging.dead import dead_letter, replay, replay_all

        now, named, count = SystemClock().now(), self._of(nodes), 0
        for node, database in nodes.databases.items():
            ids = named.get(node, [])
            if not self._named:
                count += await replay_all(database, self._selection, now)
            elif ids:

                async def body(session: Any, ids: Sequence[int] = ids) -> int:
                    found = [await dead_letter(session, id) for id in ids]
                    return await replay(session, [each for each in found if each is not None], now)

                count += await briefly(database, body)
        return count


def _app_and_ids(app: str | None, ids: Sequence[str]) -> tuple[str | None, list[str]]:
    """Return the app and the ids: where the settings name the app, the first argument is an id already."""
    words = list(ids)
    if app is not None and ID.fullmatch(app):
        words.insert(0, app)
        app = None
    wrong = [word for word in words if not ID.fullmatch(word) or int(word.rpartition("/")[2]) >= 2**63]
    if wrong:
        raise click.UsageError(f"{wrong[0]!r} is no id of a dead letter: `trivet events dead` lists them.")
    return app, list(dict.fromkeys(words))


def _letters(count: int) -> str:
    return f"{count} dead letter{'' if count == 1 else 's'}"
