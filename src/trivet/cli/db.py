"""``trivet db``: the tables of an app, and how they change."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
import msgspec

from trivet.cli.output import fail, json_option, near, print_json, print_table, style
from trivet.cli.shards import shards
from trivet.cli.target import app_argument, load_for
from trivet.core.fault import FaultyApp

if TYPE_CHECKING:
    import sqlalchemy as sa

    from trivet.app import App
    from trivet.migrations.part import Part
    from trivet.settings import DatabaseSettings, Url

T = TypeVar("T")

MISSING = "migrations need Alembic, which is not installed: pip install 'trivet[migrate]'"

TENANTS_HINT = (
    "the rows of tenants are there once you say whose: SET trivet.tenant = 'acme'; or SET trivet.all_tenants = 'on';"
)


@click.group()
def command() -> None:
    """Look at the tables of an app, and change them without downtime.

    A revision is a file beside the module whose tables it changes. `diff` writes it, you read it, `check` judges it,
    `migrate` applies it. The database is the one that the settings name (DATABASE_URL); where tables are sharded, all
    of those that shards are on are migrated and judged together.

    \b
    Examples:
      trivet db diff shop.app:app            write what the tables lack as revisions
      trivet db check shop.app:app           in continuous integration, after `migrate`
      trivet db migrate shop.app:app         before a release is rolled out
      trivet db status shop.app:app --json   what was applied, for programs
    """


command.add_command(shards)


@command.command()
@app_argument
@click.option("--sql", "as_sql", is_flag=True, help="Print the statements for an empty database; change nothing.")
@json_option
def migrate(app: str | None, app_dir: str, as_sql: bool, as_json: bool) -> int:
    """Apply every revision that was not applied.

    Several processes may do so at once: one does, the others wait. Each revision is a transaction of its own; what
    was applied stays when a later one fails. Statements wait a few seconds for locks, then try again: traffic is
    never held up for long.

    \b
    Examples:
      trivet db migrate shop.app:app
      trivet db migrate shop.app:app --sql > shop.sql    for whoever may create tables
    """
    from trivet.migrations.apply import sql_of, upgrade

    loaded, parts = _parts(app, app_dir)
    if as_sql:
        if loaded.settings.database.url.reveal().startswith("sqlite"):
            raise click.UsageError("--sql prints PostgreSQL: name a server with DATABASE_URL")
        sql_of(parts, lambda text: click.echo(text, nl=False))
        return 0
    done: list[Any] = []

    def work(node: str | None, connection: sa.Connection) -> int:
        def applied(revision: Any, seconds: float) -> None:
            found = {"part": revision.part, "revision": revision.id, "title": revision.title, "seconds": seconds}
            done.append(_at(node, found))
            if not as_json:
                part = style(revision.part, bold=True)
                click.echo(f"{_before(node)}{part} {revision.id} {revision.title} ({seconds:.2f} s)")

        return upgrade(connection, parts, applied)

    _everywhere(loaded, work, alone=True)
    if as_json:
        print_json(done)
    elif not done:
        click.echo(style(f"{loaded.name}: everything is applied", fg="green"))
    return 0


@command.command()
@app_argument
@json_option
def status(app: str | None, app_dir: str, as_json: bool) -> int:
    """Say what was applied; exit with 1 where something is left to apply.

    \b
    Examples:
      trivet db status shop.app:app
      trivet db status shop.app:app --json | jq '.[].pending'
    """
    from trivet.migrations.state import state_of

    loaded, parts = _parts(app, app_dir)

    def work(node: str | None, connection: sa.Connection) -> list[tuple[str | None, Any]]:
        return [(node, state_of(connection, part, parts)) for part in parts]

    states = [state for found in _everywhere(loaded, work) for state in found]
    if as_json:
        print_json([_at(node, msgspec.structs.asdict(state)) for node, state in states])
    else:
        rows = [
            (f"{_before(node)}{s.part}", s.applied or "-", s.newest or "-", str(len(s.pending) or "-"), _remark(s))
            for node, s in states
        ]
        print_table(("PART", "APPLIED", "NEWEST", "PENDING", ""), rows)
    return 1 if any(state.pending or state.unrecorded or state.newest is None for _, state in states) else 0


@command.command()
@app_argument
@json_option
def history(app: str | None, app_dir: str, as_json: bool) -> int:
    """List the revisions of every part, the oldest first.

    \b
    Examples:
      trivet db history shop.app:app
    """
    from trivet.migrations.revisions import revision_of, scripts_of

    _, parts = _parts(app, app_dir)
    revisions = [revision_of(part, script) for part in parts for script in scripts_of(part)]
    if as_json:
        print_json(revisions)
    else:
        rows = [(r.part, r.id, r.title, near(r.file)) for r in revisions]
        print_table(("PART", "REVISION", "TITLE", "FILE"), rows, dispensable=("FILE",))
    return 0


@command.command()
@app_argument
@click.option("-m", "--message", metavar="TEXT", help="What it does, in a line; made of the changes when left out.")
@click.option("--module", "module", metavar="NAME", help="Only of one module.")
def diff(app: str | None, app_dir: str, message: str | None, module: str | None) -> int:
    """Write what the tables lack that the shapes say, as a new revision of each module concerned.

    The database has to have every revision applied. Read what was written before you apply it: a renamed field looks
    like one that goes and one that comes.

    \b
    Examples:
      trivet db diff shop.app:app
      trivet db diff shop.app:app --module catalog -m "add tags to products"
    """
    from trivet.migrations.diff import written
    from trivet.migrations.lint import lint
    from trivet.migrations.part import PLATFORM
    from trivet.migrations.state import state_of

    loaded, parts = _parts(app, app_dir)
    wanted = [part for part in parts if part.name == module or (module is None and part.name != PLATFORM)]
    if module is not None and module not in [part.name for part in parts]:
        raise click.UsageError(f"{module!r} has no tables; these have: {', '.join(part.name for part in parts[1:])}.")

    def work(connection: sa.Connection) -> list[tuple[Part, Path, str]]:
        for part in wanted:
            state = state_of(connection, part, parts)
            if state.pending:
                raise click.ClickException(f"{part.name} has {len(state.pending)} revisions to apply: migrate first")
            if state.unrecorded:
                raise click.ClickException(
                    f"the tables of {part.name} were created at start, so that there is nothing to compare with: "
                    "name an empty database with DATABASE_URL, migrate it, and write the revision from there"
                )
        found = [(part, written(connection, part, parts, message)) for part in wanted]
        return [(part, *each) for part, each in found if each is not None]

    files = _on(loaded, work)
    for part, path, content in files:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
        click.echo(f"wrote {near(path)}")
        for fault in lint(part):
            if fault.place.file == str(path):
                click.echo(f"    {style('careful', fg='yellow', bold=True)}: {fault.problem}\n    {fault.mend}")
    if not files:
        click.echo(style(f"{loaded.name}: the tables are what the shapes say", fg="green"))
    return 0


@command.command()
@app_argument
@click.option("--offline", is_flag=True, help="Judge the revisions only; ask no database.")
@json_option
def check(app: str | None, app_dir: str, offline: bool, as_json: bool) -> int:
    """Say what is dangerous in the revisions, and where they do not lead to what the shapes say.

    The database, unless --offline is given, has to have every revision applied: in continuous integration, an empty
    one that `trivet db migrate` has filled.

    \b
    Examples:
      trivet db check shop.app:app --offline
      DATABASE_URL=postgresql:///ci trivet db check shop.app:app
    """
    from trivet.migrations.lint import lint
    from trivet.migrations.state import differences, state_of

    loaded, parts = _parts(app, app_dir)
    faults = [fault for part in parts for fault in lint(part)]
    wrong: list[str] = []

    def work(node: str | None, connection: sa.Connection) -> None:
        for part in parts:
            state, name = state_of(connection, part, parts), f"{_before(node)}{part.name}"
            if state.pending:
                wrong.append(f"{name}: {len(state.pending)} revisions are not applied: trivet db migrate")
            else:
                wrong.extend(f"{name}: {line}" for line in differences(connection, part, parts))

    if not offline:
        _everywhere(loaded, work)
    if as_json:
        print_json({"faults": faults, "differences": wrong})
        return 1 if faults or wrong else 0
    for fault in faults:
        click.echo(f"{near(fault.place)}: {style('danger', fg='red', bold=True)}: {fault.problem}")
        click.echo(f"    {fault.mend} [{fault.rule}]")
    for line in wrong:
        click.echo(f"{style('difference', fg='red', bold=True)}: {line}")
    if not faults and not wrong:
        click.echo(style(f"{loaded.name}: nothing to mend", fg="green"))
    return 1 if faults or wrong else 0


@command.command()
@app_argument
def stamp(app: str | None, app_dir: str) -> int:
    """Record the newest revisions as applied, for tables that were created at start.

    Nothing is recorded where a table is not what the shapes say.

    \b
    Examples:
      trivet db stamp shop.app:app
    """
    from trivet.migrations.apply import stamp as record

    loaded, parts = _parts(app, app_dir)
    found = _everywhere(loaded, lambda node, connection: (node, record(connection, parts)), alone=True)
    names = [f"{_before(node)}{name}" for node, recorded in found for name in recorded]
    click.echo(f"recorded: {', '.join(names)}" if names else "nothing to record")
    return 0


@command.command()
@app_argument
@click.option("--yes", is_flag=True, help="Do not ask.")
def reset(app: str | None, app_dir: str, yes: bool) -> int:
    """Drop every table of the app with what is in it, and apply all revisions; in development only.

    \b
    Examples:
      TRIVET_ENVIRONMENT=development trivet db reset shop.app:app
    """
    from trivet.migrations.apply import drop, upgrade

    loaded, parts = _parts(app, app_dir)
    if not loaded.settings.development:
        raise click.ClickException(
            "this is no development environment: nothing was dropped. Set TRIVET_ENVIRONMENT=development if it is one"
        )
    shown = " and ".join(url.shown for url in loaded.settings.database.nodes.values())
    if not yes:
        click.confirm(f"Drop all tables of {loaded.name} in {shown}?", abort=True)

    def work(_: str | None, connection: sa.Connection) -> int:
        drop(connection, parts)
        return upgrade(connection, parts)

    count = sum(_everywhere(loaded, work, alone=True))
    click.echo(f"dropped everything; {count} revisions applied")
    return 0


@command.command()
@app_argument
def seed(app: str | None, app_dir: str) -> int:
    """Fill an empty database with what the app starts with in development.

    \b
    Examples:
      trivet db seed shop.app:app
    """
    from trivet.app import Seeding

    loaded = load_for(app, app_dir)
    fill = loaded.seed
    if fill is None:
        raise click.ClickException(f"{loaded.name} has nothing to fill with: App(..., seed=...)")

    async def run() -> bool:
        service = loaded.build()
        await service.runtime.open(service.deliveries)
        try:
            return await Seeding(service.runtime).run(fill)
        finally:
            await service.close()

    filled = asyncio.run(run())
    click.echo("filled" if filled else "there are rows already: nothing was changed")
    return 0 if filled else 1


@command.command()
@app_argument
def prune(app: str | None, app_dir: str) -> int:
    """Forget what is old enough, as workers do every ten minutes: messages, jobs, idempotency keys.

    On PostgreSQL the messages of a day are dropped together, which only the owner of their table may do. Where the
    user of the app is another one, run this as the owner, once a day.

    \b
    Examples:
      DATABASE_URL=postgresql://owner@/shop trivet db prune shop.app:app
    """
    from trivet.cli.events.nodes import Nodes, on
    from trivet.messaging.prune import Pruner

    loaded = load_for(app, app_dir)
    runtime = loaded.build().runtime
    obstacles: list[str] = []

    async def work(nodes: Nodes) -> None:
        for database in nodes.databases.values():
            known, clock = runtime.subscribers.ids, runtime.clock
            await Pruner(database, known, clock, inbox=runtime.sharded, warn=obstacles.append).prune()

    on(loaded, work)
    for obstacle in obstacles:
        fail(obstacle)
    return 1 if obstacles else 0


@command.command()
@app_argument
def shell(app: str | None, app_dir: str) -> int:
    """Open the engine's own shell (psql, sqlite3) on the database.

    \b
    Examples:
      trivet db shell shop.app:app
    """
    import shutil

    settings = load_for(app, app_dir).settings.database
    words, environ = _shell_of(settings)
    if settings.row_security != "off":
        click.echo(TENANTS_HINT, err=True)
    program = shutil.which(words[0])
    if program is None:
        raise click.ClickException(f"{words[0]}, the engine's own shell, is not installed")
    sys.stdout.flush()
    os.execve(program, words, {**os.environ, **environ})  # noqa: S606 - becomes that shell; no other one is involved


def _shell_of(settings: DatabaseSettings) -> tuple[list[str], Mapping[str, str]]:
    """Return the command that opens a database, and the variables that it is told more with."""
    from trivet.data.catalog import dialect_of, sqlite_file

    url = settings.url.reveal()
    if dialect_of(url) == "sqlite":
        file = sqlite_file(url)
        if file is None:
            raise click.ClickException("a private temporary database is nobody else's to open: name a file")
        return ["sqlite3", str(file)], {}
    from trivet.data.postgresql.address import address_of, for_libpq

    address, variables = for_libpq(address_of(url, settings, "trivet db shell"))
    return ["psql", address], variables


def _parts(app: str | None, app_dir: str) -> tuple[App, list[Part]]:
    """Import an app and return what is migrated together.

    Raises:
        FaultyApp: With everything that is wrong.
    """
    from importlib.util import find_spec

    if find_spec("alembic") is None:
        raise click.ClickException(MISSING)
    from trivet.data.catalog import dialect_of
    from trivet.migrations.part import parts_of

    loaded = load_for(app, app_dir)
    _, faults = loaded.describe()
    if faults:
        raise FaultyApp(loaded.name, faults)
    database = loaded.settings.database
    guarded = database.row_security != "off"
    return loaded, parts_of(loaded.modules, dialect_of(database.url.reveal()), guarded=guarded)


def _everywhere(app: App, work: Callable[[str | None, sa.Connection], T], *, alone: bool = False) -> list[T]:
    """Do something on each of the app's databases; it is told the name of each, where there are several."""
    nodes = app.settings.database.nodes
    several = len(nodes) > 1
    return [_on(app, partial(work, name if several else None), alone=alone, url=url) for name, url in nodes.items()]


def _at(node: str | None, found: dict[str, Any]) -> dict[str, Any]:
    """Return what a program is told of one database."""
    return found if node is None else {"node": node, **found}


def _before(node: str | None) -> str:
    """Return what the name of a part begins with for people."""
    return "" if node is None else f"{node}: "


def _on(app: App, work: Callable[[sa.Connection], T], *, alone: bool = False, url: Url | None = None) -> T:
    """Do something on one of the app's databases, its first if no other is named; say what fails as one line."""
    from trivet.migrations.apply import CannotMigrate
    from trivet.migrations.connection import connected
    from trivet.migrations.revisions import WrongRevisions

    settings = app.settings.database
    if url is not None:
        settings = msgspec.structs.replace(settings, url=url)
    try:
        return asyncio.run(connected(settings, work, alone=alone, say=lambda text: click.echo(text, err=True)))
    except (CannotMigrate, WrongRevisions) as failed:
        fail(str(failed))
        raise click.exceptions.Exit(1) from None


def _remark(state: Any) -> str:
    if state.unknown:
        return "a later release migrated it"
    if state.unrecorded:
        return "created without revisions"
    if state.newest is None:
        return "has no revisions: trivet db diff"
    return ""
