"""Settings: what a process is told when it starts. Typed, immutable, checked at once, explained by themselves.

A flag wins over the environment, the environment over ``trivet.toml``, the file over the default. In the environment
a setting is ``TRIVET_`` and its path in capitals with ``__`` for each dot (``TRIVET_SERVER__PORT``); `ALIASES` are
the names that hosting platforms use.
"""

from trivet.settings.load import ALIASES, Problem, Provenance, SettingsError, Source, load
from trivet.settings.reference import Entry, json_schema, reference
from trivet.settings.secret import Secret, Url
from trivet.settings.tree import (
    DEVELOPMENT,
    BlobSettings,
    CompressionSettings,
    CorsSettings,
    DatabaseSettings,
    EventSettings,
    GraphqlSettings,
    IdentitySettings,
    LimitSettings,
    LogSettings,
    RedisSettings,
    RestSettings,
    ServerSettings,
    Settings,
    TlsSettings,
    environment_name,
    environment_of,
)

__all__ = [
    "ALIASES",
    "DEVELOPMENT",
    "BlobSettings",
    "CompressionSettings",
    "CorsSettings",
    "DatabaseSettings",
    "Entry",
    "EventSettings",
    "GraphqlSettings",
    "IdentitySettings",
    "LimitSettings",
    "LogSettings",
    "Problem",
    "Provenance",
    "RedisSettings",
    "RestSettings",
    "Secret",
    "ServerSettings",
    "Settings",
    "SettingsError",
    "Source",
    "TlsSettings",
    "Url",
    "environment_name",
    "environment_of",
    "json_schema",
    "load",
    "reference",
]
