"""How Envoy's configuration is written."""

from __future__ import annotations

from typing import Any

TYPE = "type.googleapis.com/envoy."
"""What the names of Envoy's types begin with."""

Config = dict[str, Any]


def plain(name: str, kind: str) -> Config:
    """Return an extension that needs no configuration."""
    return {"name": name, "typed_config": {"@type": f"{TYPE}extensions.{kind}"}}


def seconds(value: float) -> str:
    """Return a time as protobuf writes it in JSON."""
    return f"{value:.3f}s"
