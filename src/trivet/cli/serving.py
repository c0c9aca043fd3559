"""What ``dev`` and ``run`` have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from trivet.cli.output import coloured, fail
from trivet.cli.target import settings_for, target_for
from trivet.server.serve import Address, serve
from trivet.settings import Settings

F = TypeVar("F", bound=Callable[..., Any])


def serving_options(function: F) -> F:
    """Add the options for listening."""
    options = [
        click.option("--host", help="Address to listen on (HOST)."),
        click.option("--port", type=int, help="Port to listen on, 0 for a free one (PORT)."),
        click.option("--management-port", metavar="PORT", help="Port of /metrics, 0 for a free one, or off."),
        click.option("--workers", type=int, help="Processes that serve (WEB_CONCURRENCY)."),
        click.option("--log-level", metavar="LEVEL", help="debug, info, warning or error."),
    ]
    for option in reversed(options):
        function = option(function)
    return function


def flags_of(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options for listening as settings by path."""
    return {
        "server.host": options["host"],
        "server.port": options["port"],
        "server.management_port": options["management_port"],
        "server.workers": options["workers"],
        "log.level": options["log_level"],
    }


def serve_app(
    app: str | None,
    app_dir: str,
    flags: Mapping[str, Any],
    *,
    reload: bool = False,
    started: Callable[[Settings, Address], None] | None = None,
) -> int:
    """Serve an app until a signal; returns the exit status."""
    settings, provenance = settings_for(flags)
    target = target_for(app, app_dir, settings)

    def begun(address: Address) -> None:
        if started is not None:
            started(settings, address)

    return serve(
        target,
        settings,
        provenance,
        flags=flags,
        reload=reload,
        started=begun,
        failed=fail,
        colour=coloured(),
    )
