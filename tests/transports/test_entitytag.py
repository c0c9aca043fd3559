"""Lists of entity tags: everything that is one is read, nothing else is, and no input takes long."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trivet.core.error import InvalidArgument
from trivet.transports.rest.entitytag import strong, tags_of, versions, weak

CHARACTERS = [bytes((number,)) for number in (0x21, *range(0x23, 0x7F), *range(0x80, 0x100))]
OPAQUE = st.lists(st.sampled_from(CHARACTERS), max_size=12).map(lambda parts: b'"' + b"".join(parts) + b'"')
TAG = st.tuples(st.booleans(), OPAQUE)
SPACE = st.sampled_from([b"", b" ", b"\t", b"  "])


@given(st.lists(st.one_of(TAG, st.none()), max_size=8), st.data())
def test_a_list_is_read_as_it_was_written(members: list[tuple[bool, bytes] | None], data: st.DataObject) -> None:
    written = [b"" if member is None else (b"W/" if member[0] else b"") + member[1] for member in members]
    value = b",".join(data.draw(SPACE) + one + data.draw(SPACE) for one in written)
    assert tags_of(value) == [member for member in members if member is not None]


@given(st.binary(max_size=40))
def test_whatever_is_read_can_be_written_again(value: bytes) -> None:
    found = tags_of(value)
    if found is not None:
        assert tags_of(b", ".join((b"W/" if weak else b"") + tag for weak, tag in found)) == found
        assert value.count(b'"') >= 2 * len(found)


@pytest.mark.parametrize(
    "value", [b"a", b'"a" "b"', b'"a', b'a"', b'W/ "a"', b'w/"a"', b'"a"b', b'*, "a"', b"\x00", b"'a'"]
)
def test_what_is_no_list_is_not_read(value: bytes) -> None:
    assert tags_of(value) is None
    with pytest.raises(InvalidArgument) as refused:
        strong(value, "If-Match")
    assert refused.value.violations[0].pointer == "#/if-match"


@pytest.mark.timeout(10)
def test_no_header_field_takes_long() -> None:
    for piece in (b" ", b"\t", b", ", b",", b"W/", b'"', b'W/"', b'"" ', b'"a" ,', b"a"):
        value = piece * (32 * 1024 // len(piece))
        tags_of(value)
        tags_of(b'"a"' + value + b"x")


def test_strong_and_weak_comparison_differ() -> None:
    assert strong(b'"a", W/"b"', "If-Match") == {'"a"'}
    assert weak(b'"a", W/"b"', "If-None-Match") == {'"a"', '"b"'}
    assert strong(b" * ", "If-Match") == weak(b"*", "If-None-Match") == {"*"}
    assert strong(b'"*"', "If-Match") == {'"*"'}


def test_our_tags_name_versions_and_others_name_nothing() -> None:
    marks = frozenset(('"7-0a1b"', '"8-0a1b-gzip"', '"9"', '"x-0a1b"', '"10-0A1B"', '"11-"', '"-0a"', '"0a1b"'))
    assert versions(marks) == {"7", "8"}
    assert versions(frozenset(("*",))) == {"*"}
