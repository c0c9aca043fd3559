"""The codecs against Google's protobuf, both ways, and against bytes that are no message at all."""

from __future__ import annotations

import json
from datetime import timedelta
from random import Random
from typing import Any

import msgspec
import pytest
from google.protobuf import json_format
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.rpc.everything import Everything, Leaf, classes, everything, message
from trivet import InvalidArgument
from trivet.transports.rpc.pieces import read_duration, read_varint, skip, write_varint
from trivet.transports.rpc.plain import plain
from trivet.transports.rpc.protojson import ProtoJson
from trivet.transports.rpc.wire import Wire

WIRE, TOLERANT, JSON = Wire(), Wire(strict=False), ProtoJson()
MESSAGE = message("Everything")
GOOGLE = classes()["Everything"]

thorough = settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


def fields_of(data: bytes) -> dict[int, list[bytes]]:
    """Return the fields of a message as they stand in it, by number."""
    found: dict[int, list[bytes]] = {}
    at = 0
    while at < len(data):
        tag, after = read_varint(data, at)
        end = skip(data, after, tag)
        found.setdefault(tag >> 3, []).append(data[at:end])
        at = end
    return found


@thorough
@given(everything, st.randoms(use_true_random=False))
def test_fields_may_come_in_any_order(value: Everything, random: Random) -> None:
    """Also with tags that are longer than they need be, which Google's parser reads too."""
    data = WIRE.encoder(MESSAGE)(plain(value))
    groups = list(fields_of(data).values())
    random.shuffle(groups)
    shuffled = b"".join(part for group in groups for part in group)
    assert WIRE.decoder(MESSAGE)(shuffled) == WIRE.decoder(MESSAGE)(data)
    longer = b"".join(
        bytes((part[0] | 128, 0)) + part[1:] if part[0] < 128 else part for group in groups for part in group
    )
    assert GOOGLE.FromString(longer) == GOOGLE.FromString(shuffled)
    assert WIRE.decoder(MESSAGE)(longer) == WIRE.decoder(MESSAGE)(data)


@thorough
@given(everything)
def test_what_we_write_google_reads_and_writes_back(value: Everything) -> None:
    ours = WIRE.encoder(MESSAGE)(plain(value))
    theirs = GOOGLE.FromString(ours)
    assert WIRE.decoder(MESSAGE)(theirs.SerializeToString()) == WIRE.decoder(MESSAGE)(ours)
    assert theirs.ByteSize() == len(ours)  # so it has no field twice, and none of another type
    read = msgspec.convert(WIRE.decoder(MESSAGE)(ours), Everything)
    assert plain(read) == plain(value)


@thorough
@given(everything)
def test_json_is_that_of_google_both_ways(value: Everything) -> None:
    binary = WIRE.encoder(MESSAGE)(plain(value))
    theirs = GOOGLE.FromString(binary)
    ours = JSON.encoder(MESSAGE)(plain(value))
    parsed = json_format.Parse(ours, GOOGLE())
    assert parsed.SerializeToString(deterministic=True) == theirs.SerializeToString(deterministic=True)
    shown = json_format.MessageToJson(theirs)
    assert JSON.decoder(MESSAGE)(shown.encode()) == JSON.decoder(MESSAGE)(ours)
    original = json_format.MessageToJson(theirs, preserving_proto_field_name=True)
    assert JSON.decoder(MESSAGE)(original.encode()) == JSON.decoder(MESSAGE)(ours)
    assert msgspec.convert(JSON.decoder(MESSAGE)(ours), Everything) == msgspec.convert(
        WIRE.decoder(MESSAGE)(binary), Everything
    )


@thorough
@given(everything, st.data())
def test_bytes_that_were_damaged_are_refused_or_read_as_google_reads_them(value: Everything, data: Any) -> None:
    whole = bytearray(WIRE.encoder(MESSAGE)(plain(value)))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(whole) - 1))
        action = data.draw(st.sampled_from(["change", "cut", "insert"]))
        if action == "change":
            whole[at] = data.draw(st.integers(0, 255))
        elif action == "insert":
            whole[at:at] = data.draw(st.binary(min_size=1, max_size=4))
        else:
            del whole[at:]
        if not whole:
            return
    agree(bytes(whole))


@settings(max_examples=300)
@given(st.binary(max_size=64))
@example(b"\x0a\xff\xff\xff\xff\x7f")
@example(b"\x0a" * 64)
@example(b"\xff" * 64)
def test_any_bytes_are_refused_or_read_as_google_reads_them(data: bytes) -> None:
    agree(data)


def agree(data: bytes) -> None:
    try:
        ours = WIRE.decoder(MESSAGE)(data)
    except InvalidArgument as refused:
        [violation] = refused.violations
        if violation.detail.endswith(("of this type", "is there twice")):
            return  # stricter than Google: what is not known, or said twice, is not passed over
        with pytest.raises((DecodeError, UnicodeDecodeError)):
            GOOGLE.FromString(data)
        return
    again = GOOGLE.FromString(data).SerializeToString()
    assert comparable(WIRE.decoder(MESSAGE)(again)) == comparable(ours)


def comparable(value: Any) -> Any:
    """Return a value whose NaN is the same as another NaN, and whose maps have no order."""
    if isinstance(value, dict):
        return sorted((repr(key), comparable(item)) for key, item in value.items())
    return [comparable(item) for item in value] if isinstance(value, list) else repr(value)


def test_a_tolerant_reader_passes_over_what_it_does_not_know() -> None:
    known = WIRE.encoder(message("Leaf"))({"name": "a"})
    more = known + bytes([15 << 3 | 2, 3, 1, 2, 3, 14 << 3, 5, 13 << 3 | 1, *range(8), 12 << 3 | 5, *range(4)])
    assert TOLERANT.decoder(message("Leaf"))(more)["name"] == "a"
    with pytest.raises(InvalidArgument) as refused:
        WIRE.decoder(message("Leaf"))(more)
    assert "test.every.v1.Leaf has no field 15" in refused.value.violations[0].detail


def test_nesting_ends_at_a_hundred_messages() -> None:
    def nested(depth: int) -> Any:
        value: dict[str, Any] = {"name": "x"}
        for _ in range(depth - 1):
            value = {"name": "x", "next": value}
        return value

    decode = WIRE.decoder(message("Leaf"))
    encode = WIRE.encoder(message("Leaf"))
    assert msgspec.convert(decode(encode(nested(100))), Leaf).name == "x"
    with pytest.raises(InvalidArgument):
        decode(encode(nested(101)))


def test_packed_and_unpacked_numbers_are_both_read() -> None:
    number = next(f.number for f in MESSAGE.fields if f.name == "numbers")
    tag = GOOGLE(numbers=[1]).SerializeToString()[:2]
    assert len(tag) == 2
    packed = GOOGLE(numbers=[1, 2, 300]).SerializeToString()
    head = bytes([(number << 3) & 127 | 128, number >> 4])
    unpacked = b"".join(head + each for each in (b"\x01", b"\x02", b"\xac\x02"))
    decode = WIRE.decoder(MESSAGE)
    assert decode(unpacked)["numbers"] == decode(packed)["numbers"] == [1, 2, 300]


@pytest.mark.parametrize(
    ("document", "pointer"),
    [
        ({"nothing": 1}, "#/nothing"),
        ({"tree": {"name": "a", "leafs": []}}, "#/tree/leafs"),
        ({"maybe_number": "1", "maybeNumber": "2"}, "#/maybeNumber"),
    ],
)
def test_json_members_that_are_not_known_or_said_twice_are_refused(document: Any, pointer: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        JSON.decoder(MESSAGE)(json.dumps(document).encode())
    assert [v.pointer for v in refused.value.violations] == [pointer]


@pytest.mark.parametrize("document", [b"[]", b"1", b"{", b"\xff", b"[" * 100_000])
def test_json_that_is_no_object_is_refused(document: bytes) -> None:
    with pytest.raises(InvalidArgument):
        JSON.decoder(MESSAGE)(document)


@pytest.mark.parametrize("nanos", [2**31, 2**32 + 7, 2**63 - 2**20, 2**64 - 1, 2**64 - 2**33 - 5])
def test_nanoseconds_of_more_than_32_bits_are_read_as_google_reads_them(nanos: int) -> None:
    data = b"\x10" + write_varint(nanos)
    google = Duration.FromString(data).nanos
    told = read_duration(data, 0, len(data))
    assert told == (timedelta(microseconds=round(google / 1000)) if abs(google) < 10**9 else f"0.{google:09d}")
