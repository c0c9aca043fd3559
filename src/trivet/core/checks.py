"""What msgspec does not check, for the types that need it.

Integers stay within what JSON carries exactly, numbers are finite, instants say their offset, decimals have no more
digits than declared. One more only for documents that need it: ``$`` in a pattern is the end, as in JSON Schema, while
Python's also stands before a newline at the end.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Any

import msgspec
from msgspec import inspect as kinds

from trivet.core.error import Violation
from trivet.core.pointer import escape
from trivet.core.typeinfo import SCALARS, info_of
from trivet.core.value import MAX_SAFE_INTEGER, Digits

MAX_VIOLATIONS = 100
"""How many violations one answer lists at most."""

Check = Callable[[Any, str, list[Violation]], None]
"""Takes a value and its pointer, and adds what is wrong."""


def check_for(type: Any) -> Check | None:
    """Return the check of integers and decimals inside the type, or ``None`` where there is nothing to check."""
    return _check(info_of(type), None, {}, _scalar)


def ends_check_for(type: Any) -> Check | None:
    """Return the check of texts inside the type whose pattern has an end, or ``None`` where there is none.

    Only a text that ends with a newline can fail it: `NEWLINE_AT_END` tells whether a document has one.
    """
    return _check(info_of(type), None, {}, end_check)


Leaf = Callable[[kinds.Type, Mapping[str, Any] | None], Check | None]
"""Returns the check of a type without members, from the type and what ``Meta`` says besides."""


def _check(info: kinds.Type, extra: Mapping[str, Any] | None, known: dict[Any, Any], leaf: Leaf) -> Check | None:
    if isinstance(info, kinds.Metadata):
        return _check(info.type, info.extra, known, leaf)
    if isinstance(info, kinds.StructType):
        return _check_struct(info, known, leaf)
    if isinstance(info, kinds.ListType | kinds.SetType | kinds.FrozenSetType | kinds.VarTupleType):
        inner = _check(info.item_type, None, known, leaf)
        return inner and _check_items(inner)
    if isinstance(info, kinds.DictType):
        return _check_entries(_check(info.key_type, None, known, leaf), _check(info.value_type, None, known, leaf))
    if isinstance(info, kinds.UnionType):
        return _check_union(info, known, leaf)
    return leaf(info, extra)


def _scalar(info: kinds.Type, extra: Mapping[str, Any] | None) -> Check | None:
    if isinstance(info, kinds.IntType):
        return _check_integer if None in (info.ge if info.gt is None else info.gt, info.le or info.lt) else None
    if isinstance(info, kinds.DecimalType):
        return _check_decimal((extra or {}).get("digits"))
    if isinstance(info, kinds.FloatType):
        return _check_float
    if isinstance(info, kinds.DateTimeType):
        return _check_instant if info.tz is None else None
    return None


NEWLINE_AT_END = re.compile(rb'\\(?:n|u000[aA])"')
"""A newline at the end of a text in a JSON document; a raw one would be no JSON."""

END = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\$", re.DOTALL)
"""An escape or a class, where a dollar is a dollar, or the end."""


@lru_cache(maxsize=1024)
def _exact(pattern: str) -> re.Pattern[str] | None:
    """Return the pattern with each end as JSON Schema has it, ``None`` where it has none."""
    exact = END.sub(lambda found: r"\Z" if found[0] == "$" else found[0], pattern)
    return re.compile(exact) if exact != pattern else None


def end_check(info: kinds.Type, extra: Mapping[str, Any] | None) -> Check | None:
    """Return the check of a text whose pattern has an end, ``None`` for every other type; a `Leaf`."""
    pattern = info.pattern if isinstance(info, kinds.StrType) else None
    exact = _exact(pattern) if pattern is not None else None
    if exact is None:
        return None

    def check(value: Any, pointer: str, found: list[Violation]) -> None:
        if value.endswith("\n") and exact.search(value) is None:
            found.append(Violation(detail=f"expected `str` matching regex {pattern!r}", pointer=pointer))

    return check


def _check_integer(value: Any, pointer: str, found: list[Violation]) -> None:
    if not -MAX_SAFE_INTEGER <= value <= MAX_SAFE_INTEGER:
        found.append(Violation(detail=f"expected an integer within ±{MAX_SAFE_INTEGER}", pointer=pointer))


def _check_float(value: Any, pointer: str, found: list[Violation]) -> None:
    if not math.isfinite(value):
        found.append(Violation(detail="expected a finite number", pointer=pointer))


def _check_instant(value: Any, pointer: str, found: list[Violation]) -> None:
    if value.tzinfo is None:
        detail = "expected an instant with an offset, such as 2026-01-31T12:00:00Z"
        found.append(Violation(detail=detail, pointer=pointer))


def _check_decimal(digits: Digits | None) -> Check:
    def check(value: Any, pointer: str, found: list[Violation]) -> None:
        problem = decimal_problem(value, digits)
        if problem:
            found.append(Violation(detail=problem, pointer=pointer))

    return check


def decimal_problem(value: Decimal, digits: Digits | None) -> str | None:
    """Say what keeps a decimal from being stored exactly, ``None`` if nothing does."""
    if not value.is_finite():
        return "expected a finite decimal"
    if digits is None:
        return None if len(value.as_tuple().digits) <= 18 and abs(value.adjusted()) <= 18 else "takes at most 18 digits"
    exponent = value.normalize().as_tuple().exponent
    if isinstance(exponent, int) and -exponent > digits.scale:
        return f"takes at most {digits.scale} digits after the point"
    if abs(value) >= digits.limit:
        return f"takes at most {digits.total - digits.scale} digits before the point"
    return None


def _check_struct(info: kinds.StructType, known: dict[Any, Any], leaf: Leaf) -> Check | None:
    if info.cls in known:
        return lambda value, pointer, found: known[info.cls] and known[info.cls](value, pointer, found)
    known[info.cls] = None
    checks = [(field.name, field.encode_name, _check(field.type, None, known, leaf)) for field in info.fields]
    wanted = [(name, escape(shown), check) for name, shown, check in checks if check is not None]
    if not wanted:
        return None

    def check(value: Any, pointer: str, found: list[Violation]) -> None:
        for name, shown, inner in wanted:
            item = getattr(value, name)
            if item is not msgspec.UNSET:
                inner(item, f"{pointer}/{shown}", found)

    known[info.cls] = check
    return check


def _check_items(inner: Check) -> Check:
    def check(value: Any, pointer: str, found: list[Violation]) -> None:
        for index, item in enumerate(value):
            if len(found) >= MAX_VIOLATIONS:
                return
            inner(item, f"{pointer}/{index}", found)

    return check


def _check_entries(keys: Check | None, values: Check | None) -> Check | None:
    if keys is None and values is None:
        return None

    def check(value: Any, pointer: str, found: list[Violation]) -> None:
        for key, item in value.items():
            if len(found) >= MAX_VIOLATIONS:
                return
            where = f"{pointer}/{escape(str(key))}"
            if keys is not None:
                keys(key, where, found)
            if values is not None:
                values(item, where, found)

    return check


def _check_union(info: kinds.UnionType, known: dict[Any, Any], leaf: Leaf) -> Check | None:
    members = [(_instances(m), _check(m, None, known, leaf)) for m in info.types]
    wanted = [(classes, check) for classes, check in members if check is not None]
    if not wanted:
        return None

    def check(value: Any, pointer: str, found: list[Violation]) -> None:
        for classes, inner in wanted:
            if isinstance(value, classes) and not (isinstance(value, bool) and bool not in classes):
                inner(value, pointer, found)
                return

    return check


def _instances(info: kinds.Type) -> tuple[type, ...]:
    while isinstance(info, kinds.Metadata):
        info = info.type
    if isinstance(info, kinds.StructType):
        return (info.cls,)
    if isinstance(info, kinds.VarTupleType):
        return (tuple,)
    if isinstance(info, kinds.SetType | kinds.FrozenSetType):
        return (set, frozenset)
    plain = SCALARS.get(type(info))
    return (plain,) if isinstance(plain, type) else (type(None),)
