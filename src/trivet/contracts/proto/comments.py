"""What the contract says in words: docstrings, descriptions and bounds of shapes, as comments."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any, get_origin

from msgspec import inspect as kinds

from trivet.contracts.proto.message import EnumType, Field, Message
from trivet.contracts.proto.shapes import bare
from trivet.contracts.schema import own_doc

ATTRIBUTES = re.compile(r"^\s*Attributes:\s*$", re.MULTILINE)
ENTRY = re.compile(r"^(?P<name>\w+): (?P<text>.+)$")

BOUNDS = {
    "ge": "at least {}",
    "gt": "more than {}",
    "le": "at most {}",
    "lt": "less than {}",
    "multiple_of": "a multiple of {}",
}


def of_message(message: Message) -> str:
    """Return what a message is."""
    return message.doc or own_doc(message.source) or f"{_sentence(message.name)}."


def of_enum(found: EnumType) -> str:
    """Return what an enum is."""
    return own_doc(found.source) or f"{_sentence(found.name)}."


def of_constants(found: EnumType) -> dict[str, str]:
    """Return what each constant means, by its name."""
    said = attributes_of(found.source)
    by_value = {member.value: member.name for member in found.source}
    docs = {found.zero: "Says nothing, and is refused."}
    for name, value in found.values.items():
        docs[name] = said.get(by_value[value]) or f"{_sentence(by_value[value])}."
    return docs


def of_fields(message: Message) -> dict[str, str]:
    """Return what each field is, with its bounds, by its name."""
    said = attributes_of(getattr(message.source, "__patched__", message.source)) if message.source is not None else {}
    return {field.name: _field(field, said.get(field.key)) for field in message.fields}


def _field(field: Field, said: str | None) -> str:
    words = said or field.doc or _described(field.info) or f"{_sentence(field.name)}."
    words = words if words.endswith((".", "!", "?")) else f"{words}."
    bounds = ", ".join(_bounds(field.info)) if field.info is not None else ""
    return f"{words} {bounds[:1].upper()}{bounds[1:]}." if bounds else words


def _described(info: kinds.Type | None) -> str | None:
    """Return the description that ``Meta`` gives; the innermost wins, as it is the type's own."""
    if isinstance(info, kinds.Metadata):
        return _described(info.type) or (info.extra_json_schema or {}).get("description")
    if isinstance(info, kinds.UnionType):
        return next((found for member in info.types if (found := _described(member))), None)
    return None


def _bounds(info: kinds.Type) -> Iterator[str]:
    plain = bare(info)
    if isinstance(plain, kinds.UnionType):
        for member in plain.types:
            yield from _bounds(member)
        return
    for name, words in BOUNDS.items():
        bound = getattr(plain, name, None)
        if bound is not None:
            yield words.format(bound)
    unit = "items" if isinstance(plain, kinds.CollectionType) else "entries"
    unit = {kinds.StrType: "characters", kinds.BytesType: "bytes"}.get(type(plain), unit)
    for name, words in (("min_length", "at least"), ("max_length", "at most")):
        bound = getattr(plain, name, None)
        if bound is not None:
            yield f"{words} {bound} {unit}"
    pattern = getattr(plain, "pattern", None)
    if pattern is not None:
        yield f"matches {pattern}"
    if isinstance(plain, kinds.LiteralType):
        yield f"one of {', '.join(map(str, sorted(plain.values, key=str)))}"
    extra = (info.extra or {}).get("digits") if isinstance(info, kinds.Metadata) else None
    if isinstance(plain, kinds.DecimalType):
        yield (
            "a decimal number"
            if extra is None
            else f"a decimal number of {extra.total} digits, {extra.scale} after the point"
        )
    named = {kinds.UUIDType: "a UUID", kinds.DateType: "a date (RFC 3339)", kinds.TimeType: "a time (RFC 3339)"}
    if type(plain) in named:
        yield named[type(plain)]
    if isinstance(plain, kinds.CollectionType):
        yield from (f"each {bound}" for bound in _bounds(plain.item_type))


def attributes_of(cls: Any) -> dict[str, str]:
    """Return what the ``Attributes:`` section of a class's docstring says, by name."""
    doc = vars(get_origin(cls) or cls).get("__doc__")
    parts = ATTRIBUTES.split(inspect.cleandoc(doc), 1) if isinstance(doc, str) else []
    if len(parts) < 2:
        return {}
    found: dict[str, str] = {}
    current = ""
    for line in inspect.cleandoc(parts[1]).split("\n"):
        entry = ENTRY.match(line)
        if entry is not None:
            current = entry["name"]
            found[current] = entry["text"].strip()
        elif line.startswith(" ") and current:
            found[current] += f" {line.strip()}"
        elif line.strip():
            break
    return found


def _sentence(name: str) -> str:
    """Return a name as words: ``create_time`` is "Create time"."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name).replace("_", " ").strip().lower()
    return words[:1].upper() + words[1:]
