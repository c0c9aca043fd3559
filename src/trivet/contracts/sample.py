"""Sample values: what something of a schema looks like, the same each time, for examples that nobody wrote."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

Schema = Mapping[str, Any]
Lookup = Callable[[str], Schema]
"""Returns the schema that a reference names."""

MAX_DEPTH = 6
"""How deep a sample goes before it takes whatever ends it: null, an empty list."""

FORMATS: dict[str, str] = {
    "date": "2026-01-31",
    "date-time": "2026-01-31T12:00:00Z",
    "decimal": "12.50",
    "duration": "PT30S",
    "email": "someone@example.com",
    "time": "12:00:00",
    "uri": "urn:example:1",
    "uri-reference": "/example",
    "uuid": "0198c1f2-7a00-7000-8000-000000000001",
}

WORDS = (
    "text",
    "EUR",
    "DE",
    "abc-1",
    "ABC-1",
    "A",
    "a",
    "1",
    "12.50",
    "someone@example.com",
    "/a",
    "text of some length",
)
"""What is tried where a pattern or a length has to be met."""


class NoSampleError(Exception):
    """No sample is known that fits: the pattern is of the app's own making, and it gave no example."""


def sample(schema: Schema, lookup: Lookup, depth: int = 0) -> Any:
    """Return a value that fits a schema.

    Args:
        schema: JSON Schema as `schema.py` writes it.
        lookup: Finds what a reference names.
        depth: How deep inside another sample it stands.

    Raises:
        NoSampleError: A text has to fit a pattern that none of the known words does.
    """
    if "$ref" in schema:
        return sample(lookup(schema["$ref"]), lookup, depth)
    if schema.get("examples"):
        return schema["examples"][0]
    for said in ("const", "default"):
        if schema.get(said) is not None:
            return schema[said]
    if "enum" in schema:
        return schema["enum"][0]
    for members in (schema.get("oneOf"), schema.get("anyOf")):
        if members:
            return _one_of(members, lookup, depth)
    kinds = schema.get("type")
    kind = kinds if isinstance(kinds, str) else next((k for k in kinds or () if k != "null"), None)
    if isinstance(kinds, list) and "null" in kinds and depth > MAX_DEPTH:
        return None
    return _of_kind(kind, schema, lookup, depth)


def _one_of(members: list[Schema], lookup: Lookup, depth: int) -> Any:
    if depth > MAX_DEPTH and {"type": "null"} in members:
        return None
    return sample(next(m for m in members if m != {"type": "null"}), lookup, depth + 1)


def _of_kind(kind: str | None, schema: Schema, lookup: Lookup, depth: int) -> Any:
    if kind == "object" or (kind is None and "allOf" in schema):
        merged: dict[str, Any] = {}
        for part in schema.get("allOf", ()):
            merged |= sample(part, lookup, depth)
        properties = schema.get("properties", {})
        wanted = schema.get("required", ())
        return merged | {name: sample(properties[name], lookup, depth + 1) for name in properties if name in wanted}
    if kind == "array":
        if "prefixItems" in schema:
            return [sample(item, lookup, depth + 1) for item in schema["prefixItems"]]
        least = schema.get("minItems", 0)
        number = least if depth > MAX_DEPTH or schema.get("maxItems") == 0 else max(least, 1)
        return [sample(schema["items"], lookup, depth + 1)] * number if number else []
    if kind == "string":
        return _text(schema)
    if kind in ("integer", "number"):
        return _number(schema)
    return True if kind == "boolean" else None


def _text(schema: Schema) -> str:
    pattern = schema.get("pattern", "")
    shortest: int = schema.get("minLength", 0)
    longest: int = schema.get("maxLength", 1024)
    words = (FORMATS[schema["format"]], *WORDS) if schema.get("format") in FORMATS else WORDS
    for word in words:
        if shortest <= len(word) <= longest and re.search(pattern, word):
            return word
    if not pattern:
        return "x" * shortest
    raise NoSampleError(f"none of the known words fits {pattern!r}")


def _number(schema: Schema) -> int | float:
    step = schema.get("multipleOf", 1)
    least = schema.get("minimum")
    if least is None and "exclusiveMinimum" in schema:
        least = schema["exclusiveMinimum"] + step
    most = schema.get("maximum", schema.get("exclusiveMaximum", 1))
    value: int | float = 1 if least is None or least <= 1 <= most else least
    return value if value <= most else most
