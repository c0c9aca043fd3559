"""``trivet events``: what is stored for delivery, what became of it, and dead letters tried again."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

import click
import msgspec

from trivet.cli.output import ENCODER, fail, json_option, one_line, print_json, print_table, style
from trivet.cli.target import app_argument, load_for
from trivet.core.clock import SystemClock

if TYPE_CHECKING:
    from trivet.app import App
    from trivet.data.database import Database
    from trivet.messaging.dead import DeadLetter
    from trivet.messaging.message import Message
    from trivet.messaging.stored import Stored

T = TypeVar("T")

LIMIT_MAX = 1000
ERROR_COLUMNS = 60
"""How much of an error a table shows."""

limit_option = click.option(
    "--limit", type=click.IntRange(1, LIMIT_MAX), default=20, show_default=True, help="How many at most."
)
type_option = click.option("--type", "type", metavar="TYPE", help="Only of one type, such as orders.OrderPlaced.")
handler_option = click.option("--handler", metavar="NAME", help="Only of one handler, such as orders.charge_order.")


@click.group()
def command() -> None:
    """Look at events and requests for later, and try again what failed.

    The database is the one that the settings name (DATABASE_URL). Nothing but `replay` changes it.

    \b
    Examples:
      trivet events status shop.app:app           what each handler has before it
      trivet events list shop.app:app --pending   messages that somebody has not handled
      trivet events dead shop.app:app             what failed too often, and why
      trivet events replay shop.app:app --all     when the cause is mended
      trivet events tail shop.app:app             follow what is committed
    """


@command.command()
@app_argument
@json_option
def status(app: str | None, app_dir: str, as_json: bool) -> int:
    """Say what each handler has before it; exit with 1 where there are dead letters.

    \b
    Examples:
      trivet events status shop.app:app
      trivet events status shop.app:app --json | jq '.[] | select(.dead > 0)'
    """
    from trivet.messaging.backlog import backlog

    async def work(database: Database) -> Any:
        return await backlog(database.session(write=False, reads="primary"))

    loaded = load_for(app, app_dir)
    found = _on(loaded, work)
    if as_json:
        print_json(found)
    elif found:
        now = SystemClock().now()
        rows = [
            (b.subscriber, str(b.waiting), str(b.retrying), str(b.dead), _age(now, b.oldest) if b.oldest else "-")
            for b in found
        ]
        print_table(("HANDLER", "WAITING", "RETRYING", "DEAD", "OLDEST"), rows)
    else:
        click.echo(style(f"{loaded.name}: everything is delivered", fg="green"))
    return 1 if any(each.dead for each in found) else 0


@command.command("list")
@app_argument
@click.option("--pending", is_flag=True, help="Only what somebody has not handled.")
@handler_option
@type_option
@click.option("--about", metavar="ID", help="Only about one thing, such as an order's id.")
@click.option("--before", metavar="POSITION", type=click.IntRange(min=1), help="Only older ones: the next page.")
@limit_option
@json_option
def list_(
    app: str | None,
    app_dir: str,
    pending: bool,
    handler: str | None,
    type: str | None,
    about: str | None,
    before: int | None,
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
    from trivet.messaging.horizon import EVERYTHING
    from trivet.messaging.stored import Filter, Messages

    filter = Filter(type=type, about=about, handler=handler, pending=pending)

    async def work(database: Database) -> Sequence[Stored]:
        return await Messages(database, SystemClock()).page(filter, before or EVERYTHING, limit)

    found = _on(load_for(app, app_dir), work)
    further = found[-1].position if len(found) == limit else None
    if as_json:
        print_json({"messages": [_document(each) for each in found], "before": further})
        return 0
    rows = [
        (
            str(each.position),
            _time(each.message.create_time),
            each.message.type,
            one_line(each.message.aggregate, 40) or "-",
            _left(each),
        )
        for each in found
    ]
    print_table(("POSITION", "TIME", "TYPE", "ABOUT", "LEFT"), rows, dispensable=("ABOUT", "TIME"))
    if further is not None:
        click.echo(f"\nThere may be more: --before {further}")
    return 0


@command.command()
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
    wanted = _position_or_id(which)

    async def work(database: Database) -> Stored | None:
        return await Messages(database, SystemClock()).get(wanted)

    found = _on(load_for(app, app_dir), work)
    if found is None:
        fail(f"there is no message {which}: it was removed (a week after its delivery), or never committed")
        return 1
    if as_json:
        print_json(_document(found, payload=True))
        return 0
    message = found.message
    said = {
        "position": str(found.position),
        "id": str(message.id),
        "kind": message.kind.value,
        "type": message.type,
        "about": message.aggregate or "-",
        "time": _time(message.create_time),
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
        click.echo(
            f"\n{style(each.subscriber, bold=True)}: {each.state.value}{attempts}, {_time(each.time)} [{each.id}]"
        )
        if each.error:
            click.echo(f"    {one_line(each.error)}")
    return 0


@command.command()
@app_argument
@handler_option
@type_option
@click.option("--after", metavar="ID", type=click.IntRange(min=0), default=0, help="Only later ones: the next page.")
@limit_option
@json_option
def dead(
    app: str | None, app_dir: str, handler: str | None, type: str | None, after: int, limit: int, as_json: bool
) -> int:
    """List dead letters: deliveries that failed too often, with their last error.

    \b
    Examples:
      trivet events dead shop.app:app
      trivet events dead shop.app:app --handler orders.charge_order --json | jq '.dead[].error'
    """
    from trivet.messaging.dead import Selection, count_dead, dead_letters

    selection = Selection(subscriber=handler, type=type)

    async def work(database: Database) -> tuple[Sequence[DeadLetter], int]:
        session = database.session(write=False, reads="primary")
        return await dead_letters(session, after, limit, selection), await count_dead(session, selection)

    loaded = load_for(app, app_dir)
    found, count = _on(loaded, work)
    further = found[-1].id if len(found) == limit else None
    if as_json:
        print_json({"dead": [_letter(each) for each in found], "count": count, "after": further})
        return 0
    if not count:
        click.echo(style(f"{loaded.name}: no dead letters", fg="green"))
        return 0
    rows = [
        (
            str(each.id),
            each.subscriber,
            each.message.type,
            one_line(each.message.aggregate, 40) or "-",
            str(each.attempts),
            _time(each.time),
            one_line(each.error, ERROR_COLUMNS),
        )
        for each in found
    ]
    heads = ("ID", "HANDLER", "TYPE", "ABOUT", "ATTEMPTS", "GIVEN UP", "ERROR")
    print_table(heads, rows, dispensable=("ABOUT", "ATTEMPTS", "GIVEN UP", "TYPE"))
    click.echo(f"\n{len(found)} of {count}" + (f"; the next: --after {further}" if further is not None else ""))
    return 0


@command.command()
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
    from trivet.messaging.brief import briefly
    from trivet.messaging.dead import Selection, count_dead, dead_letter, replay_all
    from trivet.messaging.dead import replay as again

    app, numbers = _app_and_ids(app, ids)
    selected = handler is not None or type is not None
    if bool(numbers) + selected + everything != 1:
        raise click.UsageError("Say which: ids, or --handler and --type, or --all.")
    if not (dry_run or yes or sys.stdin.isatty()):
        raise click.UsageError("Nobody is there to be asked: say --yes, or --dry-run.")
    selection = Selection(subscriber=handler, type=type)

    async def count(database: Database) -> tuple[int, list[int]]:
        session = database.session(write=False, reads="primary")
        if not numbers:
            return await count_dead(session, selection), []
        unknown = [id for id in numbers if await dead_letter(session, id) is None]
        return len(numbers) - len(unknown), unknown

    async def work(database: Database) -> int:
        now = SystemClock().now()
        if not numbers:
            return await replay_all(database, selection, now)

        async def body(session: Any) -> int:
            found = [await dead_letter(session, id) for id in numbers]
            return await again(session, [each for each in found if each is not None], now)

        return await briefly(database, body)

    loaded = load_for(app, app_dir)
    there, unknown = _on(loaded, count)
    if unknown:
        fail(f"no dead letter has the id {', '.join(map(str, unknown))}: nothing was replayed")
        return 1
    if dry_run or not there:
        done = 0
    else:
        if not yes:
            click.confirm(
                f"Replay {_dead_letters(there)} in {loaded.settings.database.url.shown}?", abort=True, err=True
            )
        done = _on(loaded, work)
    if as_json:
        print_json({"dead": there, "replayed": done})
    else:
        click.echo(f"would replay {_dead_letters(there)}" if dry_run else f"replayed {_dead_letters(done)}")
    return 0 if there else 1


@command.command()
@app_argument
@click.option(
    "-n", "--last", type=click.IntRange(0, LIMIT_MAX), default=10, show_default=True, help="Begin with so many."
)
@type_option
@click.option("--about", metavar="ID", help="Only about one thing, such as an order's id.")
@json_option
def tail(app: str | None, app_dir: str, last: int, type: str | None, about: str | None, as_json: bool) -> int:
    """Follow what is committed, in commit order, until interrupted.

    With --json each message is one line. A transaction that is still writing holds back what comes after its messages,
    so that nothing is left out.

    \b
    Examples:
      trivet events tail shop.app:app
      trivet events tail shop.app:app --type orders.OrderPlaced --last 0 --json
    """
    from trivet.cli.output import width
    from trivet.messaging.stored import Filter, Messages

    filter = Filter(type=type, about=about)

    async def work(database: Database) -> None:
        async for each in Messages(database, SystemClock()).tail(filter, last):
            message = each.message
            if as_json:
                line = ENCODER.encode(_document(each, payload=True)).decode()
            else:
                head = f"{_time(message.create_time)} {each.position} {style(message.type, bold=True)} "
                line = head + one_line(message.payload.decode(), max(40, width() - len(click.unstyle(head))))
            click.echo(line)  # which flushes

    _on(load_for(app, app_dir), work)
    return 0


# -- the database


def _on(app: App, work: Callable[[Database], Awaitable[T]]) -> T:
    """Do something with the app's database, whose tables of the platform have to be there.

    Raises:
        DatabaseUnavailable: With what to do about it.
    """
    from trivet.data.catalog import dialect_of, open_database, sqlite_file
    from trivet.data.database import Contention
    from trivet.messaging.tables import tables

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

    async def run() -> T:
        database = open_database(url, settings, f"{app.name} trivet events")
        await database.open()
        try:
            await database.check(tables(database.dialect).all)
            return await work(database)
        finally:
            await database.close()

    try:
        return asyncio.run(run())
    except Contention:
        raise click.ClickException("other writers were in the way; what was done stays: try again") from None


# -- what was given


def _app_and_ids(app: str | None, ids: Sequence[str]) -> tuple[str | None, list[int]]:
    """Return the app and the ids: where the settings name the app, the first argument is an id already."""
    words = list(ids)
    if app is not None and app.isdecimal():
        words.insert(0, app)
        app = None
    wrong = [word for word in words if not word.isdecimal() or int(word) >= 2**63]
    if wrong:
        raise click.UsageError(f"{wrong[0]!r} is no id of a dead letter: `trivet events dead` lists them.")
    return app, list(dict.fromkeys(map(int, words)))


def _position_or_id(text: str | None) -> int | UUID:
    if text is None:
        raise click.UsageError("Which message? `trivet events list` shows their positions.")
    if text.isdecimal() and int(text) < 2**63:
        return int(text)
    try:
        return UUID(text)
    except ValueError:
        raise click.UsageError(f"{text!r} is neither a position nor the id of a message.") from None


# -- what is printed


def _document(stored: Stored, *, payload: bool = False) -> Mapping[str, Any]:
    message = stored.message
    more = {"payload": msgspec.Raw(message.payload)} if payload else {}
    return {"position": stored.position, **_head(message), "deliveries": stored.deliveries, **more}


def _letter(letter: DeadLetter) -> Mapping[str, Any]:
    return {
        "id": letter.id,
        "handler": letter.subscriber,
        "attempts": letter.attempts,
        "error": letter.error,
        "time": letter.time,
        "message": {
            "position": letter.position,
            **_head(letter.message),
            "payload": msgspec.Raw(letter.message.payload),
        },
    }


def _head(message: Message) -> Mapping[str, Any]:
    return {
        "id": message.id,
        "kind": message.kind,
        "type": message.type,
        "about": message.aggregate or None,
        "time": message.create_time,
        "tenant": message.tenant,
        "principal": message.principal.subject if message.principal else None,
        "request_id": message.request_id or None,
        "trace": message.trace,
    }


def _left(stored: Stored) -> str:
    """Return the deliveries that are left: each handler, how far it is, and after how many attempts."""
    shown = [
        f"{each.subscriber} {each.state.value}" + (f" ({each.attempts})" if each.attempts else "")
        for each in stored.deliveries
    ]
    return ", ".join(shown) or "-"


def _dead_letters(count: int) -> str:
    return f"{count} dead letter{'' if count == 1 else 's'}"


def _time(instant: datetime) -> str:
    return instant.strftime("%Y-%m-%d %H:%M:%SZ")


def _age(now: datetime, then: datetime) -> str:
    """Return how long ago something was, in the largest units that say it."""
    seconds = max(0, int((now - then).total_seconds()))
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
