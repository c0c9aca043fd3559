"""``trivet contract``: the contract of an app, written to files."""

from __future__ import annotations

from pathlib import Path

import click

from trivet.cli.output import near, style
from trivet.cli.target import app_argument, load_for
from trivet.core.fault import FaultyApp


@click.group()
def command() -> None:
    """Write the contracts of an app.

    \b
    Examples:
      trivet contract proto shop.app:app               write proto/ and the lock of its numbers
      trivet contract proto shop.app:app --check       say what would be written, in continuous integration
      trivet contract sdl shop.app:app                 print the schema of GraphQL
    """


@command.command()
@app_argument
@click.option(
    "--out", default="proto", metavar="DIR", show_default=True, type=click.Path(file_okay=False), help="Where to write."
)
@click.option("--check", is_flag=True, help="Write nothing; fail where something would be written.")
def proto(app: str | None, app_dir: str, out: str, check: bool) -> int:
    """Write the RPC contract as .proto files, and keep the numbers of its fields.

    The lock with the numbers, rpc.lock, is beside the file that makes the app. Keep it in version control: a number
    that was given out never means anything else, and what is gone stays reserved.
    """
    from trivet.contracts.proto import lock, text

    loaded = load_for(app, app_dir)
    contract, faults = loaded.contract()
    if faults:
        raise FaultyApp(loaded.name, faults)
    path = Path(contract.lock)
    entries = lock.merged(contract.packages, lock.read(path))
    if contract.locked:  # what is gone is reserved from now on: the files say so too
        lock.assign(contract.packages, entries, loaded.place)
    written = {path: lock.written(entries)}
    written |= {Path(out) / name: content for name, content in text.files(contract.packages).items()}
    changed = [file for file, content in written.items() if _text(file) != content]
    for file in changed:
        if not check:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(written[file], encoding="utf-8")
        click.echo(f"{'would write' if check else 'wrote'} {near(file)}")
    if not changed:
        click.echo(style(f"{loaded.name}: {len(written)} files are as they should be", fg="green"))
    return 1 if check and changed else 0


@command.command()
@app_argument
def sdl(app: str | None, app_dir: str) -> int:
    """Print the GraphQL contract in the Schema Definition Language."""
    from trivet.contracts.graphql.schema import schema_of, sdl_of

    loaded = load_for(app, app_dir)
    graph, faults = loaded.graph()
    if faults:
        raise FaultyApp(loaded.name, faults)
    if graph is None:
        raise click.UsageError(f"{loaded.name} serves no GraphQL: it has no operations, or graphql.enabled is false.")
    click.echo(sdl_of(schema_of(graph)), nl=False)
    return 0


def _text(file: Path) -> str | None:
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
