"""``trivet run``: serve an app in production."""

from __future__ import annotations

from typing import Any

import click

from trivet.cli.serving import flags_of, serve_app, serving_options
from trivet.cli.target import app_argument


@click.command()
@app_argument
@serving_options
def command(app: str | None, app_dir: str, **options: Any) -> int:
    """Serve an app in production.

    One process holds the sockets and keeps the workers alive. SIGTERM drains and ends within 30 s: /readyz says 503
    at once, new connections are accepted a while longer, requests in flight finish. SIGHUP replaces the workers one by
    one without losing a request.

    APP is module:attribute, such as shop.app:app; without it, `app` in trivet.toml says which.

    \b
    Examples:
      trivet run shop.app:app --host 0.0.0.0
      PORT=80 WEB_CONCURRENCY=4 TRIVET_SECRET_KEY_FILE=/run/secrets/key trivet run shop.app:app
      kill -HUP $(pgrep -o trivet)
    """
    return serve_app(app, app_dir, flags_of(options))
