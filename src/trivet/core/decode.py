"""Decoding what comes in: strictly at the boundary, tolerantly from our own processes.

msgspec decodes and validates in one pass and stops at the first thing that is wrong. Only when it refuses is the input
walked a second time, slowly, to say everything that is wrong. Rules that msgspec does not have are checked after a
successful pass, and only for types that need them: integers stay within what JSON carries exactly, instants say their
offset, decimals are finite and have no more digits than declared. One more only for documents that need it: ``$`` in a
pattern is the end, as in JSON Schema, while Python's also stands before a newline at the end.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Annotated, Any, Generic, TypeVar, cast, get_args, get_origin

import msgspec
from msgspec import inspect as kinds

from trivet.core.error import InvalidArgument, Violation
from trivet.core.patch import Patch, nested_shape, patch_of, patch_shape
from trivet.core.typeinfo import info_of
from trivet.core.value import MAX_SAFE_INTEGER, Digits

T = TypeVar("T")
Check = Callable[[Any, str, list[Violation]], None]

MAX_VIOLATIONS = 100
"""How many violations one answer lists at most."""

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


class Decoder(Generic[T]):
    """Decodes JSON bytes, or values that are already parsed, into one type, strictly.

    Args:
        type: Any type msgspec knows, or ``Patch[Shape]``.
    """

    def __init__(self, type: Any) -> None:
        self.type = type
        self._patched = patched_shape(type)
        self._wire: Any = patch_shape(self._patched) if self._patched else type
        self._json = msgspec.json.Decoder(self._wire)
        self._check = check_for(self._wire)
        self._plain = self._check is None and self._patched is None
        self._check_ends = ends_check_for(self._wire)

    def json(self, data: bytes | bytearray | memoryview) -> T:
        """Decode a JSON document.

        Raises:
            InvalidArgument: With every violation that can be told, as JSON pointers.
        """
        try:
            value = self._json.decode(data)
        except msgspec.ValidationError as refused:
            value = self._again(data, refused)
        except UnicodeDecodeError as refused:
            raise self._explain(data, refused) from refused
        except (msgspec.DecodeError, RecursionError) as malformed:
            raise _malformed(malformed) from malformed
        if self._check_ends is not None and NEWLINE_AT_END.search(data) is not None:
            self._refuse_ends(value, "#")
        return value if self._plain else self._finish(value)

    def convert(self, value: Any, *, text: bool = False, pointer: str = "#") -> T:
        """Convert parsed JSON, or with `text` the strings of a query, into the type.

        Raises:
            InvalidArgument: With every violation that can be told; pointers start at `pointer`.
        """
        try:
            converted = msgspec.convert(value, self._wire, strict=not text)
        except (msgspec.ValidationError, OverflowError) as refused:
            found = Findings()
            walk(info_of(self._wire), value, pointer, found, text)
            raise InvalidArgument(violations=tuple(found) or (translate(refused, pointer),)) from refused
        if self._check_ends is not None:
            self._refuse_ends(converted, pointer)
        return self._finish(converted, pointer)

    def _again(self, data: bytes | bytearray | memoryview, refused: msgspec.ValidationError) -> Any:
        """Decode once more with ``3.0`` as the integer that it is in JSON Schema, if that may be what is wrong."""
        if "got `float`" in str(refused):
            try:
                return msgspec.convert(WHOLE.decode(data), self._wire)
            except (msgspec.DecodeError, OverflowError):
                pass  # what is wrong besides is explained as usual
        raise self._explain(data, refused) from refused

    def _finish(self, value: Any, pointer: str = "#") -> T:
        if self._check is not None:
            found: list[Violation] = []
            self._check(value, pointer, found)
            if found:
                raise InvalidArgument(violations=tuple(found))
        return cast(T, patch_of(self._patched, value, pointer) if self._patched else value)

    def _refuse_ends(self, value: Any, pointer: str) -> None:
        found: list[Violation] = []
        if self._check_ends is not None:
            self._check_ends(value, pointer, found)
        if found:
            raise InvalidArgument(violations=tuple(found))

    def _explain(self, data: bytes | bytearray | memoryview, refused: Exception) -> InvalidArgument:
        try:
            parsed = msgspec.json.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as malformed:
            return _malformed(malformed)
        found = Findings()
        walk(info_of(self._wire), parsed, "#", found, False)
        return InvalidArgument(violations=tuple(found) or (translate(refused, "#"),))


def _malformed(error: BaseException) -> InvalidArgument:
    problem = "nested too deeply" if isinstance(error, RecursionError) else _first_line(error)
    return InvalidArgument(detail="The body is not valid JSON.", violations=(Violation(detail=problem),))


def _whole(number: str) -> int | Decimal:
    value = Decimal(number)
    whole = value.adjusted() <= MAX_EXPONENT and value == value.to_integral_value()
    return int(value) if whole else value


MAX_EXPONENT = 18
"""Beyond this a number with an exponent is not written out as an integer."""

WHOLE = msgspec.json.Decoder(float_hook=_whole)


def patched_shape(type: Any) -> Any:
    """Return the shape that ``Patch[Shape]`` is over, or ``None``."""
    return get_args(type)[0] if get_origin(type) is Patch else None


def _first_line(error: BaseException) -> str:
    return str(error).split("\n", 1)[0]


# -- the second pass: everything that is wrong


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
            check = _end(info, None)
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


def _scalars() -> dict[type, Any]:
    import datetime
    import uuid

    return {
        kinds.StructType: dict,
        kinds.ListType: list,
        kinds.SetType: list,
        kinds.FrozenSetType: list,
        kinds.VarTupleType: list,
        kinds.TupleType: list,
        kinds.DictType: dict,
        kinds.NoneType: None,
        kinds.BoolType: bool,
        kinds.IntType: int,
        kinds.FloatType: float,
        kinds.StrType: str,
        kinds.BytesType: bytes,
        kinds.DateTimeType: datetime.datetime,
        kinds.DateType: datetime.date,
        kinds.TimeType: datetime.time,
        kinds.TimeDeltaType: datetime.timedelta,
        kinds.UUIDType: uuid.UUID,
        kinds.DecimalType: Decimal,
    }


SCALARS = _scalars()
PATH = re.compile(r" - at `(?:key in )?`?\$?(?P<path>[^`]*)`?$")
STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+|\.\.\.)\]")


def translate(refused: BaseException, pointer: str) -> Violation:
    """Turn msgspec's message and its ``$.path`` into a violation."""
    message = _first_line(refused)
    match = PATH.search(message)
    if match is None:
        return Violation(detail=_lower(message), pointer=pointer)
    steps = "".join(f"/{escape(name or index)}" for name, index in STEP.findall(match["path"]))
    return Violation(detail=_lower(message[: match.start()]), pointer=pointer + steps)


def _lower(message: str) -> str:
    return message[:1].lower() + message[1:]


def escape(token: str) -> str:
    """Escape a member's name for a JSON pointer (RFC 6901 section 3)."""
    return token.replace("~", "~0").replace("/", "~1")


# -- what msgspec does not check


def check_for(type: Any) -> Check | None:
    """Return the check of integers and decimals inside the type, or ``None`` where there is nothing to check."""
    return _check(info_of(type), None, {}, _scalar)


def ends_check_for(type: Any) -> Check | None:
    """Return the check of texts inside the type whose pattern has an end, or ``None`` where there is none.

    Only a text that ends with a newline can fail it: `NEWLINE_AT_END` tells whether a document has one.
    """
    return _check(info_of(type), None, {}, _end)


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


def _end(info: kinds.Type, extra: Mapping[str, Any] | None) -> Check | None:
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


# -- what other processes of ours wrote


def tolerant(type: Any) -> Callable[[bytes], Any]:
    """Return a decoder for what another version of this program wrote: unknown fields are dropped, not refused.

    During a rolling upgrade old and new processes read each other. The strict pass comes first, so that the common
    case costs nothing more.
    """
    strict = msgspec.json.Decoder(type)
    info = info_of(type)

    def decode(data: bytes) -> Any:
        try:
            return strict.decode(data)
        except msgspec.ValidationError:
            return msgspec.convert(prune(info, msgspec.json.decode(data)), type)

    return decode


def prune(info: kinds.Type, value: Any) -> Any:
    """Return a parsed value without the members that its type does not know."""
    if isinstance(info, kinds.Metadata):
        return prune(info.type, value)
    if isinstance(info, kinds.StructType) and isinstance(value, Mapping):
        known = {field.encode_name: field.type for field in info.fields}
        kept = {name: prune(known[name], item) for name, item in value.items() if name in known}
        return kept | ({info.tag_field: value[info.tag_field]} if info.tag_field in value else {})
    if isinstance(info, kinds.ListType | kinds.SetType | kinds.FrozenSetType | kinds.VarTupleType) and isinstance(
        value, list
    ):
        return [prune(info.item_type, item) for item in value]
    if isinstance(info, kinds.DictType) and isinstance(value, Mapping):
        return {key: prune(info.value_type, item) for key, item in value.items()}
    if isinstance(info, kinds.UnionType) and isinstance(value, Mapping):
        structs = [m for m in info.types if isinstance(m, kinds.StructType)]
        chosen = next((m for m in structs if m.tag is None or value.get(m.tag_field) == m.tag), None)
        return prune(chosen, value) if chosen else value
    if isinstance(info, kinds.UnionType) and isinstance(value, list):
        sequence = next((m for m in info.types if isinstance(m, kinds.ListType | kinds.VarTupleType)), None)
        return prune(sequence, value) if sequence else value
    return value


__all__ = ["Decoder", "check_for", "decimal_problem", "nested_shape", "patched_shape", "tolerant", "walk"]
