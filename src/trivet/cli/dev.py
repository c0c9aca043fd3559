"""``trivet dev``: serve an app while you work on it."""

from __future__ import annotations

from typing import Any

import click

from trivet.cli.output import style
from trivet.cli.serving import flags_of, serve_app, serving_options
from trivet.cli.target import app_argument
from trivet.server.serve import Address
from trivet.settings import Settings


@click.command()
@app_argument
@serving_options
@click.option("--reload/--no-reload", default=True, help="Run new code when files change (the default).")
def command(app: str | None, app_dir: str, reload: bool, **options: Any) -> int:
    """Serve an app while you work on it.

    Listens on this machine only. Callers without credentials act as the developer, with every scope. Tables are
    created, lines are written for people, and new code runs when files change; requests wait meanwhile.

    APP is module:attribute, such as shop.app:app; without it, `app` in trivet.toml says which.

    \b
    Examples:
      trivet dev shop.app:app
      trivet dev shop.app:app --port 8080
      trivet dev --app-dir examples shop.app:app --no-reload
    """
    flags = {"environment": "development", **flags_of(options)}
    return serve_app(app, app_dir, flags, reload=reload, started=_banner)


def _banner(settings: Settings, address: Address) -> None:
    rows = [(address.url, "everything there is"), (f"{address.url}/openapi.json", "OpenAPI")]
    if address.management_url is not None:
        rows.append((f"{address.management_url}/metrics", "metrics of all workers"))
    width = max(len(url) for url, _ in rows)
    click.echo()
    for url, text in rows:
        click.echo(f"  {style(url.ljust(width), fg='cyan')}  {text}")
    who = "Callers without credentials act as the developer. " if settings.identity.developer else ""
    click.echo(f"\n  {who}Ctrl-C ends.\n")
