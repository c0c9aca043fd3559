"""Strict at the boundary, tolerant between our own processes, and everything that is wrong is said."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trivet import InvalidArgument, Meta, Money, Patch, Struct, digits
from trivet.core.checks import decimal_problem
from trivet.core.decode import Decoder
from trivet.core.tolerant import tolerant
from trivet.core.value import MAX_SAFE_INTEGER, Digits


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Line(Struct):
    quantity: Annotated[int, Meta(ge=1, le=10)]
    note: Annotated[str, Meta(max_length=5)] | None = None
    number: int = 0


class Card(Struct, tag="card"):
    digits: Annotated[str, Meta(pattern="^[0-9]+$")]


class Transfer(Struct, tag="transfer"):
    account: str


class Order(Struct):
    name: Annotated[str, Meta(min_length=1, max_length=3)]
    price: Money
    lines: Annotated[list[Line], Meta(min_length=1, max_length=3)]
    colour: Colour = Colour.RED
    pay: Card | Transfer | None = None
    extra: dict[str, int] = {}
    weight: float = 1.0
    rate: Annotated[Decimal, Meta(extra=digits(5, 2))] = Decimal(0)


GOOD = {"name": "abc", "price": {"amount": "1.50", "currency": "EUR"}, "lines": [{"quantity": 1}]}


def violations(decoder: Decoder[Any], document: object) -> dict[str, str]:
    """Return what is wrong with a document, by pointer."""
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    with pytest.raises(InvalidArgument) as refused:
        decoder.json(body)
    return {v.pointer: v.detail for v in refused.value.violations}


ORDER: Decoder[Order] = Decoder(Order)


def test_a_good_document_is_decoded() -> None:
    order = ORDER.json(json.dumps(GOOD).encode())
    assert order.price == Money(amount=Decimal("1.50"), currency="EUR")
    assert order.lines == [Line(quantity=1)]


def test_all_that_is_wrong_is_reported_at_once_with_pointers() -> None:
    found = violations(
        ORDER,
        {
            "name": "abcd",
            "price": {"amount": "x", "currency": "EU"},
            "lines": [{"quantity": 11, "z": 1}, {"quantity": "1"}, {}],
            "colour": "green",
            "pay": {"type": "cash"},
            "extra": {"a/b": "1"},
            "weight": "heavy",
            "un~known": 1,
        },
    )
    assert set(found) == {
        "#/name", "#/price/amount", "#/price/currency", "#/lines/0/quantity", "#/lines/0/z", "#/lines/1/quantity",
        "#/lines/2/quantity", "#/colour", "#/pay/type", "#/extra/a~1b", "#/weight", "#/un~0known",
    }  # fmt: skip
    assert found["#/lines/2/quantity"] == "is required"
    assert found["#/lines/0/z"] == "unknown field"


def test_too_many_and_too_few_items_are_counted() -> None:
    assert violations(ORDER, GOOD | {"lines": []}) == {"#/lines": "needs at least 1 items"}
    assert violations(ORDER, GOOD | {"lines": [{"quantity": 1}] * 4}) == {"#/lines": "takes at most 3 items"}


def test_a_tagged_union_is_checked_by_its_tag() -> None:
    assert violations(ORDER, GOOD | {"pay": {"type": "card", "digits": "12x"}}).keys() == {"#/pay/digits"}
    assert violations(ORDER, GOOD | {"pay": {"digits": "12"}}).keys() == {"#/pay/type"}


@pytest.mark.parametrize(
    ("member", "value", "problem"),
    [
        ("rate", "1000", "before the point"),
        ("rate", "1.005", "after the point"),
        ("rate", "NaN", "finite"),
        ("rate", "Infinity", "finite"),
    ],
)
def test_decimals_keep_to_their_digits(member: str, value: object, problem: str) -> None:
    assert problem in violations(ORDER, GOOD | {member: value})[f"#/{member}"]


@pytest.mark.parametrize("number", [MAX_SAFE_INTEGER + 1, -MAX_SAFE_INTEGER - 1, 10**30])
def test_integers_stay_within_what_json_carries_exactly(number: int) -> None:
    assert violations(ORDER, GOOD | {"lines": [{"quantity": 1, "number": number}]}).keys() == {"#/lines/0/number"}


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"name":"\xff"}', b"nul", b"[" * 100_000], ids=range(6))
def test_what_is_not_json_says_so(body: bytes) -> None:
    assert violations(ORDER, body).keys() == {"#"}


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.text(max_size=5)
        | st.floats(allow_nan=False, allow_infinity=False),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.sampled_from(["name", "price", "lines", "quantity", "amount", "x", "pay", "type"]), inner
            )
        ),
        max_leaves=12,
    )
)
def test_whatever_msgspec_refuses_has_a_violation_and_nothing_else_has(document: object) -> None:
    body = json.dumps(document).encode()
    try:
        accepted = msgspec.json.decode(body, type=Order)
    except msgspec.ValidationError:
        assert violations(ORDER, body)
    else:
        try:
            decoded = ORDER.json(body)
        except InvalidArgument as refused:
            problems = [violation.detail for violation in refused.violations]
        else:
            problems = []
            assert decoded == accepted
        assert all("integer" in problem or "digits" in problem for problem in problems)


@given(st.decimals(allow_nan=True, allow_infinity=True), st.integers(1, 18), st.data())
def test_a_decimal_without_a_problem_is_a_scaled_integer_of_its_digits(
    value: Decimal, total: int, data: st.DataObject
) -> None:
    scale = data.draw(st.integers(0, total))
    if decimal_problem(value, Digits(total=total, scale=scale)) is None:
        scaled = value.scaleb(scale)
        assert scaled == int(scaled)
        assert abs(int(scaled)) < 10**total


class TestPatch:
    decoder: Decoder[Patch[Order]] = Decoder(Patch[Order])

    def order(self) -> Order:
        return ORDER.json(json.dumps(GOOD | {"colour": "blue"}).encode())

    def test_what_is_absent_stays(self) -> None:
        patch = self.decoder.json(b'{"name": "x"}')
        assert patch.apply(self.order()) == msgspec.structs.replace(self.order(), name="x")
        assert "price" not in patch

    def test_a_nested_shape_is_merged(self) -> None:
        patched = self.decoder.json(b'{"price": {"amount": "3"}}').apply(self.order())
        assert patched.price == Money(amount=Decimal(3), currency="EUR")

    def test_null_resets_to_the_default(self) -> None:
        assert self.decoder.json(b'{"colour": null}').apply(self.order()).colour is Colour.RED

    def test_what_has_no_default_can_not_be_removed(self) -> None:
        found = violations(self.decoder, {"name": None, "price": {"amount": None}})
        assert found == {"#/name": "can not be removed", "#/price/amount": "can not be removed"}

    def test_a_list_is_replaced_as_a_whole_and_validated(self) -> None:
        assert violations(self.decoder, {"lines": [{"quantity": 0}], "namee": 1}).keys() == {
            "#/lines/0/quantity",
            "#/namee",
        }

    @given(
        st.dictionaries(
            st.sampled_from(["name", "weight", "colour"]), st.none() | st.sampled_from(["x", "red"]) | st.just(2)
        )
    )
    def test_a_patch_that_is_accepted_gives_a_valid_shape(self, document: dict[str, object]) -> None:
        try:
            patch = self.decoder.json(json.dumps(document).encode())
        except InvalidArgument:
            return
        patched = patch.apply(self.order())
        assert ORDER.convert(msgspec.to_builtins(patched)) == patched
        assert set(patch) == set(document)


def test_what_a_newer_process_wrote_is_read_without_its_new_fields() -> None:
    newer = GOOD | {"new": 1, "lines": [{"quantity": 1, "new": {}}], "pay": {"type": "card", "digits": "1", "new": 2}}
    assert tolerant(Order)(json.dumps(newer).encode()).pay == Card(digits="1")


def test_what_a_newer_process_wrote_wrongly_is_still_refused() -> None:
    with pytest.raises(msgspec.ValidationError):
        tolerant(Order)(b'{"new": 1}')


class Moment(Struct):
    at: datetime


def test_an_instant_says_its_offset() -> None:
    decoder: Decoder[Moment] = Decoder(Moment)
    assert decoder.json(b'{"at":"2026-01-31T13:00:00+01:00"}').at == datetime(2026, 1, 31, 12, tzinfo=UTC)
    with pytest.raises(InvalidArgument) as refused:
        decoder.json(b'{"at":"2026-01-31T12:00:00"}')
    assert [violation.pointer for violation in refused.value.violations] == ["#/at"]


@pytest.mark.parametrize(("text", "number"), [("3.0", 3), ("30e-1", 3), ("3", 3)])
def test_an_integer_may_have_a_zero_fraction(text: str, number: int) -> None:
    assert Decoder[Line](Line).json(f'{{"quantity":{text}}}'.encode()).quantity == number


@pytest.mark.parametrize("text", ["3.5", "11.0", "1e400", "1e99"])
def test_other_fractions_are_no_integers(text: str) -> None:
    with pytest.raises(InvalidArgument):
        Decoder[Line](Line).json(f'{{"quantity":{text}}}'.encode())


# -- the end of a pattern is the end


Code = Annotated[str, Meta(pattern="^[A-Z]+$")]


class Labels(Struct):
    code: Code
    codes: list[Code] = []
    optional: Code | None = None
    by_code: dict[Code, int] = {}
    text: str = ""
    lines: Annotated[str, Meta(pattern="^[a-z\n]+$")] = "a"
    price: Annotated[str, Meta(pattern=r"^[$0-9]+\$")] = "9$"


LABELS: Decoder[Labels] = Decoder(Labels)


@pytest.mark.parametrize(
    ("document", "pointers"),
    [
        ({"code": "ABC\n"}, ["#/code"]),
        ({"code": "ABC", "codes": ["A", "B\n"]}, ["#/codes/1"]),
        ({"code": "ABC", "optional": "A\n"}, ["#/optional"]),
        ({"code": "ABC", "by_code": {"A\n": 1}}, ["#/by_code/A\n"]),
        ({"code": "A\n", "codes": ["B\n"], "text": 1}, ["#/code", "#/codes/0", "#/text"]),
    ],
)
def test_a_pattern_ends_where_the_text_ends(document: dict[str, Any], pointers: list[str]) -> None:
    assert sorted(violations(LABELS, document)) == pointers
    if "text" not in document:
        body = json.dumps(document).replace("\\n", "\\u000A").encode()
        assert sorted(violations(LABELS, body)) == pointers


def test_a_newline_is_as_good_as_any_character_where_the_pattern_has_it() -> None:
    document = {"code": "A", "text": "a\n", "lines": "a\n", "price": "9$\n"}
    assert msgspec.to_builtins(LABELS.json(json.dumps(document).encode())).items() >= document.items()


def test_a_pattern_ends_where_the_text_ends_in_patches_and_in_words_too() -> None:
    assert list(violations(Decoder(Patch[Labels]), {"code": "A\n"})) == ["#/code"]
    with pytest.raises(InvalidArgument) as refused:
        Decoder[str](Code).convert("A\n", pointer="#/code")
    assert refused.value.violations[0].pointer == "#/code"
    assert refused.value.violations[0].detail == "expected `str` matching regex '^[A-Z]+$'"


EXACT = {"^A+$": r"^A+\Z", "A$|a": r"A\Z|a", "[$]$": r"[$]\Z", r"A\$": r"A\$", r"^a\n$|A$": r"^a\n\Z|A\Z", "^a": "^a"}
"""Patterns, and what they mean in JSON Schema, written for Python."""


@given(st.text(alphabet="Aa$\n", max_size=4), st.sampled_from(sorted(EXACT)))
def test_a_pattern_accepts_what_json_schema_says(text: str, pattern: str) -> None:
    decoder: Decoder[str] = Decoder(Annotated[str, Meta(pattern=pattern)])
    try:
        accepted = decoder.json(json.dumps(text).encode()) == text
    except InvalidArgument:
        accepted = False
    assert accepted == (re.search(EXACT[pattern], text) is not None)
