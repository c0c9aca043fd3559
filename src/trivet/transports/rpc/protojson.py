"""Codecs between plain values and protobuf's JSON format (https://protobuf.dev/programming-guides/json/).

Names are in camelCase, 64-bit integers are texts, enums are the names of their constants. What has the wrong type is
passed on as it is: whoever converts the plain values says what is wrong with it, on every protocol in the same words.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from trivet.contracts.proto.message import Absent, EnumType, Field, FieldType, Form, Message, Scalar
from trivet.core.checks import MAX_VIOLATIONS
from trivet.core.error import InvalidArgument, Violation
from trivet.core.naming import camel, snake
from trivet.core.pointer import escape
from trivet.transports.rpc.plain import plain

Convert = Callable[[Any], Any]

INTEGER = re.compile(r"-?\d{1,19}")
DURATION = re.compile(r"(-?)(\d{1,12})(?:\.(\d{1,9}))?s")
NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


class Reader:
    """Reads one document.

    Attributes:
        violations: What is wrong with its members; types are checked later.
    """

    def __init__(self) -> None:
        self.violations: list[Violation] = []


Read = Callable[[Any, str, Reader], Any]


class ProtoJson:
    """Makes codecs, each at its first use.

    Args:
        strict: Whether a member that is not known is refused, or else passed over.
    """

    def __init__(self, *, strict: bool = True) -> None:
        self._strict = strict
        self._readers: dict[int, Read] = {}
        self._writers: dict[int, Convert] = {}
        self._kept: list[Any] = []

    def decoder(self, message: Message) -> Callable[[bytes], Any]:
        """Return what reads a document into plain values.

        The decoder raises `InvalidArgument` for what is no JSON and for members that are not known.
        """
        read = self._read_message(message)

        def decode(data: bytes) -> Any:
            try:
                parsed = msgspec.json.decode(data) if data else {}
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as malformed:
                problem = "nested too deeply" if isinstance(malformed, RecursionError) else str(malformed)
                raise InvalidArgument(
                    detail="The body is not valid JSON.", violations=(Violation(detail=problem),)
                ) from malformed
            if not isinstance(parsed, dict):
                raise InvalidArgument(violations=(Violation(detail="expected `object`"),))
            reader = Reader()
            value = read(parsed, "#", reader)
            if reader.violations:
                raise InvalidArgument(violations=tuple(reader.violations))
            return value

        return decode

    def encoder(self, message: Message) -> Callable[[Any], bytes]:
        """Return what writes plain values as a document."""
        write, encode = self._write_message(message), msgspec.json.encode
        return lambda value: encode(write(value))

    def result_encoder(self, message: Message) -> Callable[[Any], bytes]:
        """Return what writes as a document what a handler returned."""
        encode = self.encoder(message)
        return lambda value: encode(plain(value))

    # -- reading

    def _read_message(self, message: Message) -> Read:
        known = self._readers.get(id(message))
        if known is not None:
            return known
        members: dict[str, tuple[Field, Read]] = {}

        def read(value: Any, pointer: str, reader: Reader) -> Any:
            if not isinstance(value, dict):
                return value
            found: dict[str, Any] = {} if message.tag is None else {message.tag[0]: message.tag[1]}
            for name, item in value.items():
                member = members.get(name)
                if member is None:
                    if self._strict and len(reader.violations) < MAX_VIOLATIONS:
                        reader.violations.append(Violation(detail="unknown field", pointer=f"{pointer}/{escape(name)}"))
                    continue
                field, inner = member
                if item is None and field.type is not Scalar.VALUE:
                    continue
                if field.key in found:
                    reader.violations.append(Violation(detail="is there twice", pointer=f"{pointer}/{escape(name)}"))
                found[field.key] = inner(item, f"{pointer}/{field.key}", reader)
            return _finished(message, found)

        self._readers[id(message)] = read
        self._kept.append(message)
        for field in message.fields:
            members[field.name] = members[camel(field.name)] = (field, self._read_field(field))
        return read

    def _read_field(self, field: Field) -> Read:
        inner = self._read_type(field.type)
        if field.map_key is not None:
            key = self._read_type(field.map_key) if field.map_key is not Scalar.BOOL else _read_bool

            def read_map(value: Any, pointer: str, reader: Reader) -> Any:
                if not isinstance(value, dict):
                    return value
                return {
                    key(name, pointer, reader): inner(item, f"{pointer}/{escape(name)}", reader)
                    for name, item in value.items()
                }

            return read_map
        if field.repeated:

            def read_list(value: Any, pointer: str, reader: Reader) -> Any:
                if not isinstance(value, list):
                    return value
                return [inner(item, f"{pointer}/{index}", reader) for index, item in enumerate(value)]

            return read_list
        return inner

    def _read_type(self, type_: FieldType) -> Read:
        if isinstance(type_, Message):
            return self._read_message(type_)
        if isinstance(type_, EnumType):
            by_name: Mapping[Any, Any] = {
                **type_.values,
                **{type_.numbers[name]: value for name, value in type_.values.items()},
            }
            return lambda value, _, __: by_name.get(value, f"constant {value}") if _simple(value) else value
        convert = READ.get(type_)
        if convert is None:
            return lambda value, _, __: value
        return lambda value, _, __: convert(value)

    # -- writing

    def _write_message(self, message: Message) -> Convert:
        known = self._writers.get(id(message))
        if known is not None:
            return known
        fields: list[tuple[Field, str, Convert]] = []

        def write_record(value: Any) -> Any:
            written = {}
            for field, name, write in fields:
                item = value.get(field.key)
                if item is not None and (item or field.single):
                    written[name] = write(item)
            return written

        def write_box(value: Any) -> Any:
            field, name, write = fields[0]
            return {name: write(value)} if value is not None and (value or field.single) else {}

        def write_union(value: Any) -> Any:
            for field, name, write in fields:
                if _holds(field.type, value):
                    return {name: write(value)}
            raise TypeError(message.name)

        write = {Form.BOX: write_box, Form.UNION: write_union}.get(message.form, write_record)
        self._writers[id(message)] = write
        self._kept.append(message)
        fields.extend((field, camel(field.name), self._write_field(field)) for field in message.fields)
        return write

    def _write_field(self, field: Field) -> Convert:
        inner = self._write_type(field.type)
        if field.map_key is not None:
            return lambda value: {_key(name): inner(item) for name, item in value.items()}
        if field.repeated:
            return lambda value: [inner(item) for item in value]
        return inner

    def _write_type(self, type_: FieldType) -> Convert:
        if isinstance(type_, Message):
            return self._write_message(type_)
        if isinstance(type_, EnumType):
            names = {value: name for name, value in type_.values.items()}
            return lambda value: names[value]
        return WRITE.get(type_, _same)


def _finished(message: Message, found: dict[str, Any]) -> Any:
    """Return what a message stands for, with what absence says filled in."""
    if message.form is Form.UNION:
        return next(iter(found.values()), None)
    for field in message.fields:
        if field.key not in found and field.absent is not Absent.MISSING:
            found[field.key] = None if field.absent is Absent.NONE else {} if field.map_key is not None else []
    return found.get(message.fields[0].key) if message.form is Form.BOX else found


def _holds(type_: FieldType, value: Any) -> bool:
    """Whether a plain value is of this member of a union."""
    if isinstance(type_, EnumType):
        return type(value) is type(next(iter(type_.values.values())))
    if isinstance(type_, Scalar):
        return type(value) is CLASSES[type_]
    if type_.form is Form.BOX:
        return isinstance(value, list if type_.fields[0].repeated else dict)
    return isinstance(value, dict) and (type_.tag is None or value.get(type_.tag[0]) == type_.tag[1])


CLASSES: Mapping[Scalar, type] = {
    Scalar.BOOL: bool,
    Scalar.INT64: int,
    Scalar.DOUBLE: float,
    Scalar.STRING: str,
    Scalar.BYTES: bytes,
    Scalar.TIMESTAMP: datetime,
    Scalar.DURATION: timedelta,
}


def _simple(value: Any) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool)


def _same(value: Any) -> Any:
    return value


def _key(name: Any) -> str:
    return str(name).lower() if isinstance(name, bool) else str(name)


def _read_bool(value: Any, _: str, __: Reader) -> Any:
    return {"true": True, "false": False}.get(value, value)


def _integer(value: Any) -> Any:
    if isinstance(value, str) and INTEGER.fullmatch(value):
        return int(value)
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _double(value: Any) -> Any:
    if isinstance(value, str):
        return NOT_FINITE.get(value, value)
    return value


def _bytes(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    plain = value.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except binascii.Error:
        return value


def _duration(value: Any) -> Any:
    match = DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return value
    sign, seconds, fraction = match.groups()
    micros = round(int(f"{fraction or '0':0<9}") / 1000)
    try:
        span = timedelta(seconds=int(seconds), microseconds=micros)
    except OverflowError:
        return value
    return -span if sign else span


def _mask(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return [".".join(snake(step) for step in path.split(".")) for path in value.split(",") if path]


READ: Mapping[Scalar, Convert] = {
    Scalar.INT64: _integer,
    Scalar.DOUBLE: _double,
    Scalar.BYTES: _bytes,
    Scalar.DURATION: _duration,
    Scalar.MASK: _mask,
}


def _write_double(value: Any) -> Any:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _write_timestamp(value: datetime) -> str:
    moment = (value if value.tzinfo is not None else value.replace(tzinfo=UTC)).astimezone(UTC)
    return moment.replace(tzinfo=None, microsecond=0).isoformat() + _fraction(moment.microsecond) + "Z"


def _write_duration(value: timedelta) -> str:
    micros = abs(value) // timedelta(microseconds=1)
    sign = "-" if value < timedelta() else ""
    return f"{sign}{micros // 10**6}{_fraction(micros % 10**6)}s"


def _fraction(micros: int) -> str:
    """Return no digits, three or six, as the format wants it."""
    if micros == 0:
        return ""
    return f".{micros // 1000:03d}" if micros % 1000 == 0 else f".{micros:06d}"


WRITE: Mapping[Scalar, Convert] = {
    Scalar.INT64: str,
    Scalar.DOUBLE: _write_double,
    Scalar.BYTES: lambda value: base64.b64encode(value).decode(),
    Scalar.TIMESTAMP: _write_timestamp,
    Scalar.DURATION: _write_duration,
    Scalar.MASK: lambda value: ",".join(".".join(camel(step) for step in path.split(".")) for path in value),
}
