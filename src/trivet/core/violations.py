"""The second pass: everything that is wrong with an input, with JSON pointers.

msgspec stops at the first thing that is wrong, and says so in a sentence. Only when it refuses is the input walked
again, member by member, slowly and within bounds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import inspect as kinds

from trivet.core.checks import MAX_VIOLATIONS, end_check
from trivet.core.error import Violation
from trivet.core.pointer import escape
from trivet.core.typeinfo import SCALARS

MAX_WALKED = 10_000
"""How many values are looked at to find them: explaining a refusal must not cost more than serving."""


class Findings(list[Violation]):
    """The violations of one input, and how many values may still be looked at."""

    def __init__(self, left: int = MAX_WALKED) -> None:
        super().__init__()
        self.left = left

    @property
    def full(self) -> bool:
        """Whether it is time to stop looking."""
        return self.left <= 0 or len(self) >= MAX_VIOLATIONS


def walk(info: kinds.Type, value: Any, pointer: str, found: Findings, text: bool) -> None:
    """Collect what is wrong with a parsed value, member by member.

    Args:
        info: The type, as msgspec describes it.
        value: Parsed JSON.
        pointer: Where the value stands.
        found: Gets the violations.
        text: Whether strings stand for numbers and booleans, as in a query.
    """
    if found.full:
        return
    found.left -= 1
    if isinstance(info, kinds.Metadata):
        walk(info.type, value, pointer, found, text)
    elif isinstance(info, kinds.StructType) and isinstance(value, Mapping):
        _walk_struct(info, value, pointer, found, text)
    elif isinstance(info, kinds.ListType | kinds.SetType | kinds.FrozenSetType | kinds.VarTupleType) and isinstance(
        value, list | tuple
    ):
        _length(info, len(value), "items", pointer, found)
        for index, item in enumerate(value):
            if found.full:
                return
            walk(info.item_type, item, f"{pointer}/{index}", found, text)
    elif isinstance(info, kinds.DictType) and isinstance(value, Mapping):
        _length(info, len(value), "entries", pointer, found)
        for key, item in value.items():
            if found.full:
                return
            walk(info.key_type, key, f"{pointer}/{escape(str(key))}", found, text)
            walk(info.value_type, item, f"{pointer}/{escape(str(key))}", found, text)
    elif isinstance(info, kinds.UnionType):
        _walk_union(info, value, pointer, found, text)
    else:
        try:
            msgspec.convert(value, _type_of(info), strict=not text)
        except (msgspec.ValidationError, OverflowError) as refused:
            found.append(translate(refused, pointer))
        else:
            check = end_check(info, None)
            if check is not None:
                check(value, pointer, found)


def _walk_struct(info: kinds.StructType, value: Mapping[Any, Any], pointer: str, found: Findings, text: bool) -> None:
    known = {field.encode_name: field for field in info.fields}
    for name, item in value.items():
        if found.full:
            return
        where = f"{pointer}/{escape(str(name))}"
        if name in known:
            walk(known[name].type, item, where, found, text)
        elif name == info.tag_field:
            if item != info.tag:
                found.append(Violation(detail=f"must be {info.tag!r}", pointer=where))
        elif info.forbid_unknown_fields:
            found.append(Violation(detail="unknown field", pointer=where))
    found.extend(
        Violation(detail="is required", pointer=f"{pointer}/{escape(name)}")
        for name, field in known.items()
        if field.required and name not in value
    )


def _walk_union(info: kinds.UnionType, value: Any, pointer: str, found: Findings, text: bool) -> None:
    members = [m for m in info.types if not isinstance(m, kinds.NoneType)]
    if value is None and info.includes_none:
        return
    structs = {m.tag: m for m in members if isinstance(m, kinds.StructType) and m.tag is not None}
    if isinstance(value, Mapping) and structs:
        tag_field = next(iter(structs.values())).tag_field or "type"
        tag = value.get(tag_field)
        chosen = structs.get(tag) if isinstance(tag, str | int) else None
        if chosen is None:
            allowed = ", ".join(repr(tag) for tag in structs)
            found.append(Violation(detail=f"must be one of {allowed}", pointer=f"{pointer}/{escape(tag_field)}"))
        else:
            walk(chosen, value, pointer, found, text)
        return
    attempts: list[list[Violation]] = []
    for member in members:
        attempt = Findings(found.left)
        walk(member, value, pointer, attempt, text)
        found.left = attempt.left
        if not attempt:
            return
        attempts.append(attempt)
    found.extend(max(attempts, key=lambda a: max(v.pointer.count("/") for v in a)) if attempts else ())


def _length(info: Any, length: int, noun: str, pointer: str, found: list[Violation]) -> None:
    if info.min_length is not None and length < info.min_length:
        found.append(Violation(detail=f"needs at least {info.min_length} {noun}", pointer=pointer))
    if info.max_length is not None and length > info.max_length:
        found.append(Violation(detail=f"takes at most {info.max_length} {noun}", pointer=pointer))


def _type_of(info: kinds.Type) -> Any:
    """Return a type that accepts exactly what the described scalar accepts."""
    if isinstance(info, kinds.CustomType | kinds.EnumType):
        return info.cls
    if isinstance(info, kinds.LiteralType):
        from typing import Literal

        return Literal[tuple(info.values)]
    plain = SCALARS.get(type(info), Any)
    limits = {
        name: getattr(info, name)
        for name in ("gt", "ge", "lt", "le", "multiple_of", "pattern", "min_length", "max_length", "tz")
        if getattr(info, name, None) is not None
    }
    return Annotated[plain, msgspec.Meta(**limits)] if limits and plain is not Any else plain


PATH = re.compile(r" - at `(?:key in )?`?\$?(?P<path>[^`]*)`?$")
STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+|\.\.\.)\]")


def translate(refused: BaseException, pointer: str) -> Violation:
    """Turn msgspec's message and its ``$.path`` into a violation."""
    message = first_line(refused)
    match = PATH.search(message)
    if match is None:
        return Violation(detail=_lower(message), pointer=pointer)
    steps = "".join(f"/{escape(name or index)}" for name, index in STEP.findall(match["path"]))
    return Violation(detail=_lower(message[: match.start()]), pointer=pointer + steps)


def _lower(message: str) -> str:
    return message[:1].lower() + message[1:]


def first_line(error: BaseException) -> str:
    """Return the first line of what an exception says."""
    return str(error).split("\n", 1)[0]
