"""What the settings are, as data: for ``trivet config``, for editors, for the documentation."""

from __future__ import annotations

from typing import Any

import msgspec

from trivet.core.shape import Struct
from trivet.settings.describe import Leaf, attributes_of, leaves
from trivet.settings.load import ALIASES
from trivet.settings.secret import Secret
from trivet.settings.tree import DEVELOPMENT, Settings, environment_name


class Entry(Struct):
    """One setting as the reference shows it.

    Attributes:
        path: Its path, which is also its place in ``trivet.toml``.
        type: What it takes, in words.
        default: Its default as text.
        description: What it is for.
        env: The environment variables that set it, the strongest first.
    """

    path: str
    type: str
    default: str
    description: str
    env: tuple[str, ...]


def shown(value: Any, leaf: Leaf | None = None) -> str:
    """Return a value as people see it: secrets hidden, ``None`` as what it means."""
    if value is None:
        return "not set" if leaf is None or leaf.default is None else "off"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def reference() -> list[Entry]:
    """Return every setting, in the order in which they are written."""
    entries = []
    for leaf in leaves().values():
        default = "random" if leaf.plain is Secret else shown(leaf.default)
        if leaf.path in DEVELOPMENT:
            default += f" (in development {shown(DEVELOPMENT[leaf.path])})"
        names = [environment_name(leaf.path)]
        if leaf.secret:
            names.append(f"{names[0]}_FILE")
        names += [alias for alias, path in ALIASES.items() if path == leaf.path]
        entries.append(
            Entry(path=leaf.path, type=leaf.expects, default=default, description=leaf.description, env=tuple(names))
        )
    return entries


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of ``trivet.toml``."""
    descriptions = attributes_of(Settings)
    properties: dict[str, Any] = {}
    for leaf in leaves().values():
        group, _, name = leaf.path.rpartition(".")
        into = properties
        if group:
            table = properties.setdefault(
                group,
                {
                    "type": "object",
                    "description": descriptions.get(group, ""),
                    "additionalProperties": False,
                    "properties": {},
                },
            )
            into = table["properties"]
        into[name] = _schema_of(leaf)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "trivet.toml",
        "description": (Settings.__doc__ or "").split("\n", 1)[0],
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
    }


def _schema_of(leaf: Leaf) -> dict[str, Any]:
    if leaf.secret:
        several = [{"type": "array", "items": {"type": "string"}}] if leaf.several else []
        schema: dict[str, Any] = {"anyOf": [*several, {"type": "string"}, REFERENCE_TO_FILE]}
    else:
        schema = msgspec.json.schema(leaf.type)
        if leaf.optional and leaf.plain is not bool:  # TOML has no null
            schema["anyOf"] = [{"const": "off"} if m == {"type": "null"} else m for m in schema["anyOf"]]
    schema["description"] = leaf.description
    if leaf.default is not None:
        schema["default"] = shown(leaf.default) if leaf.secret and not leaf.several else leaf.default
    return schema


REFERENCE_TO_FILE = {
    "type": "object",
    "properties": {"file": {"type": "string", "description": "A file that holds the value."}},
    "required": ["file"],
    "additionalProperties": False,
}

__all__ = ["Entry", "json_schema", "reference", "shown"]
