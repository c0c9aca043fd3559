"""The APP argument, and the settings that a command runs with."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import click

from trivet.server.loading import CannotLoad, Target, load_app, parse_target
from trivet.settings import Provenance, Settings, environment_of, load

if TYPE_CHECKING:
    from trivet.app import App

F = TypeVar("F", bound=Callable[..., Any])


def app_argument(function: F) -> F:
    """Add ``APP`` and ``--app-dir`` to a command."""
    argument = click.argument("app", required=False, metavar="[APP]")
    directory = click.option(
        "--app-dir",
        default=".",
        metavar="DIR",
        type=click.Path(exists=True, file_okay=False),
        help="Where the app's package is; the working directory by default.",
    )
    return argument(directory(function))


def settings_for(flags: Mapping[str, Any]) -> tuple[Settings, Provenance]:
    """Return the settings of this process.

    Raises:
        SettingsError: With everything that is wrong with them.
    """
    return load(os.environ, None, flags)


def target_for(app: str | None, directory: str, settings: Settings) -> Target:
    """Return which app is meant: the argument, else the one in the settings.

    Raises:
        click.UsageError: Neither says it.
        CannotLoad: It is not written as ``module:attribute``.
    """
    named = app or settings.app
    if named is None:
        raise click.UsageError('Which app? Name it as module:attribute, or write app = "shop.app:app" in trivet.toml.')
    return parse_target(named, directory)


def load_for(app: str | None, directory: str, flags: Mapping[str, Any] | None = None) -> App:
    """Import an app, with settings that it then finds in its environment.

    Raises:
        CannotLoad: It can not be imported, or is not an App.
    """
    settings, _ = settings_for(flags or {})
    target = target_for(app, directory, settings)
    os.environ.update(environment_of({path: value for path, value in (flags or {}).items() if value is not None}))
    value = load_app(target)

    from trivet.app import App

    if not isinstance(value, App):
        raise CannotLoad(f"{target} is a {type(value).__name__}; this command needs a trivet.App")
    return value
