"""``trivet views``: the read models of an app, how old they are, and how to make one anew."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import click

from trivet.cli.output import fail, json_option, print_json, print_table
from trivet.cli.target import app_argument, load_for
from trivet.core.fault import FaultyApp

if TYPE_CHECKING:
    from trivet.app import App
    from trivet.data.view import View
    from trivet.policies.rebuild import Rebuilt
    from trivet.runtime import Runtime


@click.group()
def command() -> None:
    """Look at the read models of an app, and make one anew.

    \b
    Examples:
      trivet views list shop.app:app                             which there are, and how old each is
      trivet views rebuild shop.app:app orders.customer_totals   make its rows anew
    """


@command.command("list")
@app_argument
@json_option
def list_(app: str | None, app_dir: str, as_json: bool) -> int:
    """List the views, what fills each, and how old its rows are.

    \b
    Examples:
      trivet views list shop.app:app
      trivet views list shop.app:app --json | jq '.[] | select(.age > 60)'
    """
    loaded = load_for(app, app_dir)
    views = _views(loaded)
    ages = asyncio.run(_ages(loaded)) if views else {}
    found: list[dict[str, Any]] = [
        {
            "view": name,
            "events": sorted(f"{each.event.__name__}" for each in view.subscriptions),
            "every": view.every,
            "source": view.sourced,
            "age": ages.get(name),
        }
        for name, view in views.items()
    ]
    if as_json:
        print_json(found)
    elif found:
        rows = [
            (each["view"], _age(each["age"]), "yes" if each["source"] else "no", _filled_by(each)) for each in found
        ]
        print_table(("VIEW", "AGE", "SOURCE", "FILLED BY"), rows, dispensable=("FILLED BY",))
    else:
        click.echo(f"{loaded.name} has no views")
    return 0


@command.command()
@app_argument
@click.argument("name", metavar="VIEW", required=False)
@json_option
def rebuild(app: str | None, app_dir: str, name: str | None, as_json: bool) -> int:
    """Make the rows of a view anew from its source, in one transaction, while events go on.

    Do so after a view was added or its handlers changed, once no process of the release before runs any more: those
    stored no deliveries for it. Readers see the old rows until it is through; where it is interrupted, they stay. With
    one argument, the app is the one in the settings.

    \b
    Examples:
      trivet views rebuild shop.app:app orders.customer_totals
    """
    from trivet.policies.rebuild import CannotRebuild

    if name is None:
        app, name = None, app
    loaded = load_for(app, app_dir)
    views = _views(loaded)
    if name is None or name not in views:
        known = ", ".join(views) or "none"
        raise click.UsageError(f"Which view? {loaded.name} has {known}.")
    began = time.monotonic()
    try:
        done = asyncio.run(_rebuilt(loaded, views[name]))
    except CannotRebuild as failed:
        fail(str(failed))
        return 1
    if as_json:
        print_json({"view": name, "rows": done.rows, "events": done.events})
    else:
        seconds = time.monotonic() - began
        click.echo(f"{name}: {done.rows} rows in {seconds:.1f} s; {done.events} events that waited are part of them")
    return 0


def _age(seconds: float | None) -> str:
    return "never made" if seconds is None else f"{seconds:.0f} s"


def _filled_by(found: Mapping[str, Any]) -> str:
    return f"every {found['every']}" if found["every"] is not None else ", ".join(found["events"])


def _views(app: App) -> dict[str, View[Any, Any]]:
    """Return the views of an app by name.

    Raises:
        FaultyApp: With everything that is wrong.
    """
    _, faults = app.describe()
    if faults:
        raise FaultyApp(app.name, faults)
    return {view.id: view for module in app.modules for view in module.views}


async def _rebuilt(app: App, view: View[Any, Any]) -> Rebuilt:
    from trivet.policies.rebuild import rebuild

    async with _opened(app) as runtime:
        return await rebuild(runtime, view)


async def _ages(app: App) -> dict[str, float]:
    async with _opened(app) as runtime:
        return await runtime.freshness.look(runtime.stores)


@asynccontextmanager
async def _opened(app: App) -> AsyncIterator[Runtime]:
    """Open what the app needs in this process, which delivers nothing itself."""
    from trivet.data.catalog import dialect_of, sqlite_file

    url = app.settings.database.url.reveal()
    if dialect_of(url) == "sqlite" and sqlite_file(url) is None:
        raise click.ClickException("a private temporary database has no views to look at: name a file, DATABASE_URL")
    runtime = app.build().runtime
    await runtime.open(None)
    try:
        yield runtime
    finally:
        await runtime.close()
