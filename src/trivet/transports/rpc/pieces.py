"""The smallest pieces of protobuf's wire format (https://protobuf.dev/programming-guides/encoding/)."""

from __future__ import annotations

import struct
from datetime import UTC, datetime, timedelta
from typing import Any

from trivet.contracts.proto.message import Scalar

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
"""Wire types that exist today; groups (3 and 4) do not in proto3."""

MASK64 = 2**64 - 1
SIGN = 2**63
MAX_VARINT_BYTES = 10
MAX_TAG = 2**32 - 1
MAX_DEPTH = 100
"""How deep messages nest at most, as in protobuf's own parsers."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FIRST_SECOND = -62_135_596_800
LAST_SECOND = 253_402_300_799
"""What a Timestamp can say: the years 1 to 9999."""

MAX_DURATION = 315_576_000_000
"""Seconds that a Duration can say: some 10,000 years."""

WELL_KNOWN = {
    Scalar.TIMESTAMP: "timestamp",
    Scalar.DURATION: "duration",
    Scalar.VALUE: "value",
    Scalar.MASK: "mask",
}
"""What the functions that read and write protobuf's own messages are called."""

unpack_double = struct.Struct("<d").unpack_from
pack_double = struct.Struct("<d").pack


class Malformed(Exception):
    """The bytes are not a message of this type; the text says why."""


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """Return the number that starts at a position, and where the next thing starts.

    Raises:
        Malformed: It has more than 64 bits.
        IndexError: The bytes end before it does.
    """
    value = shift = 0
    for _ in range(MAX_VARINT_BYTES):
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value & MASK64, at
        shift += 7
    raise Malformed("a number has more than 64 bits")


def read_tag(data: bytes, at: int, end: int) -> tuple[int, int]:
    """Return the tag that starts at a position, and where its last byte is.

    Raises:
        Malformed: It does not end in its message.
        IndexError: The bytes end before it does.
    """
    tag, at = read_varint(data, at)
    if at > end:
        raise Malformed("a field ends after its message")
    return tag, at - 1


def write_varint(value: int) -> bytes:
    """Return a number of at most 64 bits, not negative."""
    if value < 128:
        return SMALL[value]
    pieces = bytearray()
    while value >= 128:
        pieces.append(value & 127 | 128)
        value >>= 7
    pieces.append(value)
    return bytes(pieces)


SMALL = [bytes([value]) for value in range(128)]


def write_signed(value: int) -> bytes:
    """Return an int64 or an enum's number: negative ones take ten bytes.

    Raises:
        OverflowError: It has more than 64 bits.
    """
    if 0 <= value < 1 << 14:
        return SMALL[value] if value < 128 else bytes((value & 127 | 128, value >> 7))
    if 0 <= value < 1 << 21:
        return bytes((value & 127 | 128, value >> 7 & 127 | 128, value >> 14))
    if not -SIGN <= value < SIGN:
        raise OverflowError(f"{value} is no int64")
    return write_varint(value & MASK64)


def tag_of(number: int, wire_type: int) -> bytes:
    """Return what a field starts with."""
    return write_varint(number << 3 | wire_type)


def skip(data: bytes, at: int, tag: int) -> int:
    """Return where the field after one that is not known starts.

    Raises:
        Malformed: It is no field.
        IndexError: The bytes end before it does.
    """
    wire_type = tag & 7
    if tag >> 3 == 0 or tag > MAX_TAG:
        raise Malformed("a field has no valid number")
    if wire_type == VARINT:
        return read_varint(data, at)[1]
    if wire_type == LENGTH:
        size, at = read_varint(data, at)
        return at + size
    if wire_type in (FIXED32, FIXED64):
        return at + (4 if wire_type == FIXED32 else 8)
    raise Malformed("a group, which proto3 does not have")


# -- well-known messages


def _pair(data: bytes, at: int, end: int) -> tuple[int, int]:
    """Return the seconds and nanoseconds of a Timestamp or a Duration."""
    seconds = nanos = 0
    while at < end:
        tag, at = read_varint(data, at)
        if tag in (8, 16):
            value, at = read_varint(data, at)
            if tag == 8:
                seconds = value - 2**64 if value >= SIGN else value
            else:  # an int32, of which protobuf reads the lower half of what came
                nanos = (value + 2**31) % 2**32 - 2**31
        else:
            at = skip(data, at, tag)
    if at != end:
        raise Malformed("a field ends after its message")
    return seconds, nanos


def read_timestamp(data: bytes, at: int, end: int) -> Any:
    """Return an instant, rounded to microseconds; a text that says what it is instead, where it is none."""
    seconds, nanos = _pair(data, at, end)
    if not (FIRST_SECOND <= seconds <= LAST_SECOND and 0 <= nanos < 10**9):
        return f"{seconds}.{nanos:09d}"
    try:
        return EPOCH + timedelta(seconds=seconds, microseconds=(nanos + 500) // 1000)
    except OverflowError:
        return f"{seconds}.{nanos:09d}"


def write_timestamp(value: datetime) -> bytes:
    """Return an instant; one without an offset is taken as UTC, as everywhere."""
    since = (value if value.tzinfo is not None else value.replace(tzinfo=UTC)) - EPOCH
    return _written(since.days * 86_400 + since.seconds, since.microseconds * 1000)


def read_duration(data: bytes, at: int, end: int) -> Any:
    """Return a span of time, rounded to microseconds; a text that says what it is instead, where it is none."""
    seconds, nanos = _pair(data, at, end)
    if abs(seconds) > MAX_DURATION or abs(nanos) >= 10**9 or seconds * nanos < 0:
        return f"{seconds}.{nanos:09d}"
    return timedelta(seconds=seconds, microseconds=round(nanos / 1000))


def write_duration(value: timedelta) -> bytes:
    """Return a span of time; both parts have its sign."""
    micros = abs(value) // timedelta(microseconds=1)
    sign = -1 if value < timedelta() else 1
    return _written(sign * (micros // 10**6), sign * (micros % 10**6) * 1000)


def _written(seconds: int, nanos: int) -> bytes:
    first = b"\x08" + write_varint(seconds & MASK64) if seconds else b""
    return first + b"\x10" + write_varint(nanos & MASK64) if nanos else first


def read_mask(data: bytes, at: int, end: int) -> list[str]:
    """Return the paths of a FieldMask."""
    paths = []
    while at < end:
        tag, at = read_varint(data, at)
        if tag == 10:
            size, at = read_varint(data, at)
            paths.append(str(data[at : at + size], "utf-8"))
            at += size
        else:
            at = skip(data, at, tag)
    if at != end:
        raise Malformed("a field ends after its message")
    return paths


def write_mask(paths: list[str]) -> bytes:
    """Return a FieldMask."""
    return b"".join(_text(b"\x0a", path) for path in paths)


def read_value(data: bytes, at: int, end: int, depth: int = MAX_DEPTH) -> Any:
    """Return what a Value says: plain JSON.

    Raises:
        Malformed: It nests too deeply.
    """
    if depth <= 0:
        raise Malformed("nested too deeply")
    value: Any = None
    while at < end:
        tag, at = read_varint(data, at)
        if tag == 17:
            (value,) = unpack_double(data, at)
            value = int(value) if value.is_integer() and abs(value) < 2**53 else value
            at += 8
        elif tag in (8, 32):
            number, at = read_varint(data, at)
            value = number != 0 if tag == 32 else None
        elif tag in (26, 42, 50):
            size, at = read_varint(data, at)
            stop = at + size
            if stop > end:
                raise Malformed("a field ends after its message")
            if tag == 26:
                value = str(data[at:stop], "utf-8")
            else:
                value = (_read_struct if tag == 42 else _read_list)(data, at, stop, depth - 1)
            at = stop
        else:
            at = skip(data, at, tag)
    if at != end:
        raise Malformed("a field ends after its message")
    return value


def _parts(data: bytes, at: int, end: int) -> list[tuple[int, int, int]]:
    found = []
    while at < end:
        tag, at = read_varint(data, at)
        if tag & 7 == LENGTH:
            size, at = read_varint(data, at)
            found.append((tag, at, at + size))
            at += size
        else:
            at = skip(data, at, tag)
    if at != end:
        raise Malformed("a field ends after its message")
    return found


def _read_struct(data: bytes, at: int, end: int, depth: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for tag, start, stop in _parts(data, at, end):
        if tag == 10:
            key, value = "", None
            for inner, first, last in _parts(data, start, stop):
                if inner == 10:
                    key = str(data[first:last], "utf-8")
                elif inner == 18:
                    value = read_value(data, first, last, depth)
            found[key] = value
    return found


def _read_list(data: bytes, at: int, end: int, depth: int) -> list[Any]:
    return [read_value(data, start, stop, depth) for tag, start, stop in _parts(data, at, end) if tag == 10]


def write_value(value: Any) -> bytes:
    """Return plain JSON as a Value.

    Raises:
        TypeError: It is no plain JSON.
    """
    if value is None:
        return b"\x08\x00"
    if isinstance(value, bool):
        return b"\x20\x01" if value else b"\x20\x00"
    if isinstance(value, int | float):
        return b"\x11" + pack_double(value)
    if isinstance(value, str):
        return _text(b"\x1a", value)
    if isinstance(value, dict):
        return _sized(b"\x2a", b"".join(_sized(b"\x0a", _entry(key, item)) for key, item in value.items()))
    if isinstance(value, list | tuple):
        return _sized(b"\x32", b"".join(_sized(b"\x0a", write_value(item)) for item in value))
    raise TypeError(f"{value!r} is no JSON")


def _entry(key: Any, item: Any) -> bytes:
    return _text(b"\x0a", str(key)) + _sized(b"\x12", write_value(item))


def _text(tag: bytes, text: str) -> bytes:
    return _sized(tag, text.encode())


def _sized(tag: bytes, content: bytes) -> bytes:
    return tag + write_varint(len(content)) + content
