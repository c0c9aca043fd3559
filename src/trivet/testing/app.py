"""The app under test: the user's, on a database of its own."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from trivet.app import App
from trivet.core.module import Module
from trivet.settings import DatabaseSettings, IdentitySettings, LogSettings, Settings, Url


def settings_for_tests(base: Settings | None = None, **changes: Any) -> Settings:
    """Return settings for a test: a temporary database with all tables, no developer, errors only in the log.

    Args:
        base: Whose other groups hold; the defaults when absent.
        **changes: Groups to replace, such as ``rest=RestSettings(custom_methods="slash")``.
    """
    isolated = replace(
        base or Settings(),
        environment="production",
        database=DatabaseSettings(url=Url("sqlite://"), create=True),
        identity=IdentitySettings(developer=False),
        log=LogSettings(level="error", format="text"),
    )
    return replace(isolated, **changes)


def app_for_tests(subject: App | Module, settings: Settings | None) -> App:
    """Return an app that shares nothing with another one but modules, resources and mounts.

    Args:
        subject: An app, or one module that is to be served with those that it uses.
        settings: What it is told, in place of `settings_for_tests`.
    """
    if isinstance(subject, Module):
        return App(subject.name, modules=used_by(subject), settings=settings or settings_for_tests())
    app = App(
        subject.name,
        modules=subject.modules,
        resources=subject.resources,
        mounts=subject.mounts,
        settings=settings or settings_for_tests(subject.settings),
    )
    app.place = subject.place  # the lock of the RPC contract is beside it
    return app


def used_by(module: Module) -> list[Module]:
    """Return a module and all that it uses, directly or not."""
    found: dict[str, Module] = {}
    waiting = [module]
    while waiting:
        current = waiting.pop()
        if current.name not in found:
            found[current.name] = current
            waiting += current.uses
    return list(found.values())
