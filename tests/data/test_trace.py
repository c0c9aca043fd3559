"""What can not be traced is refused when the app is built, with what to write instead."""

from __future__ import annotations

import enum
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from trivet.core.module import Module
from trivet.core.principal import Principal
from trivet.core.shape import Struct
from trivet.core.value import Money
from trivet.data import PUBLIC, Table, contains, not_, one_of, starts_with
from trivet.data.catalog import bind


class Color(enum.Enum):
    RED = "red"


class Thing(Struct):
    id: int
    owner: str
    name: str
    number: int
    color: Color
    price: Money
    tags: list[str]
    flag: bool


Rule = Callable[[Any, Any], Any]

UNTRACEABLE: dict[str, tuple[Rule, str]] = {
    "and": (lambda who, t: t.number > 1 and t.flag, r"\(a\) & \(b\)"),
    "or": (lambda who, t: t.number > 1 or t.flag, r"\(a\) \| \(b\)"),
    "not": (lambda who, t: not t.flag, r"not_\(a\)"),
    "in a list": (lambda who, t: t.name in ["a", "b"], r"one_of\(value, options\)"),
    "in a set": (lambda who, t: t.name in {"a", "b"}, "unhashable"),
    "in a field": (lambda who, t: "a" in t.name, r"contains\(text, part\)"),
    "a chain": (lambda who, t: 1 < t.number < 3, r"\(low <= x\) & \(x < high\)"),
    "if": (lambda who, t: True if t.flag else t.number == 1, "only a request knows"),
    "invert": (lambda who, t: ~t.flag, r"not_\(condition\)"),
    "f-string": (lambda who, t: f"{t.name}" == "a", "no text"),
    "arithmetic": (lambda who, t: t.number + 1 > 3, "arithmetic"),
    "a method": (lambda who, t: t.name.lower() == "a", "methods and attributes"),
    "len": (lambda who, t: len(t.name) > 3, "no items"),
    "an unknown field": (lambda who, t: t.nmae == "a", "no stored field 'nmae'.*color, flag, id, name"),
    "an unknown nested field": (lambda who, t: t.price.value == 1, "no stored field 'value'.*amount, currency"),
    "a whole shape": (lambda who, t: t.price == Money(amount=Decimal(1), currency="EUR"), "Compare its fields"),
    "JSON": (lambda who, t: t.tags == [], "kept as JSON"),
    "an order of members": (lambda who, t: t.color < Color.RED, "have no order"),
    "missing parentheses": (lambda who, t: t.number == 1 & t.flag, "parentheses"),
    "no condition": (lambda who, t: t.number, "is not a condition"),
    "nothing": (lambda who, t: None, "is not a condition"),
    "a part that is a field": (lambda who, t: contains(t.name, t.owner), "not for a field"),
    "text of a number": (lambda who, t: starts_with(t.number, "1"), "holds text"),
    "options that are text": (lambda who, t: one_of(t.name, "abc"), "no collection"),
    "an unknown claim": (lambda who, t: who.email == t.owner, "the caller has no 'email'"),
    "a claim of another type": (lambda who, t: t.number == who.subject, "number is int"),
    "fields of two types": (lambda who, t: t.number == t.name, "different types"),
    "its own failure": (lambda who, t: int("x"), "ValueError"),
}


@pytest.mark.parametrize("case", UNTRACEABLE)
def test_what_can_not_be_traced_is_a_fault_with_a_mend(case: str) -> None:
    rule, message = UNTRACEABLE[case]
    module = Module("things")
    Table(module, Thing, key=lambda t: t.id, readable=rule, writable=PUBLIC)
    _, [fault] = bind([module], "sqlite", b"k")
    assert fault.rule == "table-readable"
    assert fault.place.file == __file__
    with pytest.raises(AssertionError, match=message.replace("\n", " ")):
        raise AssertionError(f"{fault.problem} {fault.mend}")


@pytest.mark.parametrize("value", ["not a number", 2**70, None])
def test_a_constant_that_its_field_can_not_hold_is_a_fault(value: object) -> None:
    module = Module("things")
    Table(module, Thing, key=lambda t: t.id, readable=lambda who, t: t.number == value, writable=PUBLIC)
    _, faults = bind([module], "sqlite", b"k")
    assert [fault.rule for fault in faults] == ([] if value is None else ["table-rule"])


def test_variables_are_taken_as_they_are_when_the_app_is_built() -> None:
    limits = [1]
    module = Module("things")
    table = Table(module, Thing, key=lambda t: t.id, readable=PUBLIC, writable=lambda who, t: t.number == limits[0])
    plans, faults = bind([module], "sqlite", b"k")
    assert faults == []
    limits[0] = 2
    price = Money(amount=Decimal(1), currency="EUR")
    thing = Thing(id=1, owner="", name="", number=1, color=Color.RED, price=price, tags=[], flag=True)
    assert plans[table].may_write(Principal(), thing, ())


def test_the_words_of_rules_work_on_plain_values() -> None:
    assert not_(False)
    assert not not_(True)
    assert one_of(1, [1, 2])
    assert not one_of(None, [None])
    assert contains("Straße", "STRA")
    assert contains("", "")
    assert not contains("É", "é")
    assert not contains(None, "")
    assert starts_with("abc", "ab")
    assert not starts_with("Abc", "ab")
    assert not starts_with("abc", None)
    assert PUBLIC(Principal(), object())
