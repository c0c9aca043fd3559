"""A rule means the same in SQL and in Python, whatever it says, whatever the row, whoever asks."""

from __future__ import annotations

import enum
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.conftest import Engine
from trivet.core.error import PermissionDenied
from trivet.core.module import Module
from trivet.core.page import PageRequest
from trivet.core.principal import Principal
from trivet.core.shape import Struct
from trivet.core.value import Money
from trivet.data import PUBLIC, Table, contains, not_, one_of, starts_with

START = datetime(2026, 1, 1, tzinfo=UTC)


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Sample(Struct):
    id: int
    owner: str
    number: int
    limit: int | None
    text: str
    note: str | None
    flag: bool
    known: bool | None
    at: datetime
    price: Money
    color: Color | None
    ref: UUID | None
    tags: list[str] | None


words = st.sampled_from(["", "a", "A", "ab", "aB", "%", "a_b", "a\\", "é", "É", "straße", "ß", "zz", "i", "İ"])
numbers = st.integers(-2, 2)
amounts = st.sampled_from([Decimal("0"), Decimal("0.5"), Decimal("0.50"), Decimal("1.25")])
ats = numbers.map(lambda n: START + timedelta(microseconds=n))
refs = st.sampled_from([UUID(int=1), UUID(int=2)])
colors = st.sampled_from(Color)
samples = st.builds(
    Sample,
    id=st.integers(0, 9),
    owner=words,
    number=numbers,
    limit=st.none() | numbers,
    text=words,
    note=st.none() | words,
    flag=st.booleans(),
    known=st.none() | st.booleans(),
    at=ats,
    price=st.builds(Money, amount=amounts, currency=st.sampled_from(["EUR", "USD"])),
    color=st.none() | colors,
    ref=st.none() | refs,
    tags=st.none() | st.lists(words, max_size=2),
)
callers = st.builds(
    Principal,
    subject=words,
    tenant=st.none() | words,
    roles=st.frozensets(st.sampled_from(["staff", "a"])),
    scopes=st.frozensets(st.sampled_from(["read", "a"])),
    attributes=st.dictionaries(st.just("team"), words),
)

Rule = Callable[[Any, Any], Any]

COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}
EQUALITIES = {name: COMPARISONS[name] for name in ("==", "!=")}


def compared(operators: dict[str, Any], left: st.SearchStrategy[Rule], right: st.SearchStrategy[Rule]) -> Any:
    def rule(compare: Any, a: Rule, b: Rule) -> Rule:
        return lambda who, p: compare(a(who, p), b(who, p))

    return st.builds(rule, st.sampled_from(list(operators.values())), left, right)


def reading(*names: str) -> st.SearchStrategy[Rule]:
    def read(name: str) -> Rule:
        first, _, second = name.partition(".")
        return lambda who, p: getattr(getattr(p, first), second) if second else getattr(p, first)

    return st.sampled_from([read(name) for name in names])


def constant(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Rule]:
    return values.map(lambda value: lambda who, p: value)


claims: st.SearchStrategy[Rule] = st.sampled_from(
    [
        lambda who, p: who.subject,
        lambda who, p: who.tenant,
        lambda who, p: who.attributes.get("team"),
        lambda who, p: who.client_id,
    ]
)
text_fields = reading("owner", "text", "note", "price.currency")
atoms = st.one_of(
    compared(COMPARISONS, reading("number", "limit"), constant(numbers) | reading("number", "limit")),
    compared(COMPARISONS, constant(numbers), reading("number", "limit")),
    compared(COMPARISONS, text_fields, constant(words) | claims | text_fields),
    compared(COMPARISONS, reading("at"), constant(ats)),
    compared(COMPARISONS, reading("price.amount"), constant(amounts)),
    compared(EQUALITIES, reading("color"), constant(colors)),
    compared(EQUALITIES, reading("ref"), constant(refs)),
    compared(EQUALITIES, reading("flag", "known"), constant(st.booleans())),
    compared(EQUALITIES, reading("limit", "note", "known", "color", "ref", "tags", "number"), constant(st.none())),
    compared(EQUALITIES, claims, constant(words | st.none())),
    reading("flag", "known"),
    st.builds(lambda f, o: lambda who, p: one_of(f(who, p), o), text_fields, st.lists(words | st.none(), max_size=3)),
    st.builds(lambda o: lambda who, p: one_of(p.limit, o), st.lists(numbers | st.none(), max_size=3)),
    st.builds(lambda o: lambda who, p: one_of(p.color, o), st.sets(colors)),
    st.builds(lambda f: lambda who, p: one_of(f(who, p), who.roles), text_fields),
    st.builds(lambda f, v: lambda who, p: contains(f(who, p), v(who, p)), text_fields, constant(words) | claims),
    st.builds(lambda f, v: lambda who, p: starts_with(f(who, p), v(who, p)), text_fields, constant(words) | claims),
    st.sampled_from(
        [
            lambda who, p: who.has("staff"),
            lambda who, p: who.may("read"),
            lambda who, p: who.anonymous,
            lambda who, p: True,
            lambda who, p: False,
        ]
    ),
)
rules: st.SearchStrategy[Rule] = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.builds(lambda a, b: lambda who, p: a(who, p) & b(who, p), inner, inner),
        st.builds(lambda a, b: lambda who, p: a(who, p) | b(who, p), inner, inner),
        st.builds(lambda a: lambda who, p: not_(a(who, p)), inner),
    ),
    max_leaves=6,
)


@settings(max_examples=150)
@given(rule=rules, rows=st.lists(samples, min_size=1, max_size=6, unique_by=lambda row: row.id), who=callers)
def test_sql_and_python_agree_on_a_rule(engine: Engine, rule: Rule, rows: list[Sample], who: Principal) -> None:
    module = Module("rules")
    table = Table(module, Sample, key=lambda s: s.id, readable=rule, writable=rule)

    async def ask() -> tuple[set[int], set[int]]:
        store = await engine.empty(module)
        writable: set[int] = set()
        async with store.writing(who) as ctx:
            for row in rows:
                try:
                    await table.insert(ctx, row)  # asks the rule in Python
                    writable.add(row.id)
                except PermissionDenied:
                    pass
        async with store.writing(unrestricted=True) as ctx:
            await table.insert_many(ctx, [row for row in rows if row.id not in writable])
        async with store.reading(who) as ctx:
            found = await table.get_many(ctx, [row.id for row in rows])  # asks it in SQL
        return {row.id for row in found if row is not None}, writable

    readable, writable = engine.run(ask())
    assert readable == writable
    for row in rows:
        try:
            plainly = bool(rule(who, row))
        except TypeError:  # None in an order: an error in Python, false in a rule
            continue
        assert plainly == (row.id in readable)


@settings(max_examples=60)
@given(
    rows=st.lists(samples, max_size=8, unique_by=lambda row: row.id),
    owner=st.none() | words,
    least=st.none() | numbers,
    part=st.none() | words,
    picked=st.none() | st.lists(colors, max_size=2),
)
def test_an_argument_that_is_none_drops_the_comparisons_it_stands_in(
    engine: Engine, rows: list[Sample], owner: str | None, least: int | None, part: str | None, picked: Any
) -> None:
    module = Module("rules")
    table = Table(module, Sample, key=lambda s: s.id, readable=PUBLIC, writable=PUBLIC)

    @table.listing(order="number")
    def search(
        s: Sample,
        owner: str | None = None,
        least: int | None = None,
        part: str | None = None,
        picked: list[Color] | None = None,
    ) -> bool:
        return (
            (s.owner == owner)
            & (s.number >= least)  # type: ignore[operator]  # dropped where it is None
            & (contains(s.text, part) | contains(s.note, part))
            & not_(one_of(s.color, picked))  # type: ignore[arg-type]  # dropped where it is None
        )

    async def ask() -> list[int]:
        store = await engine.empty(module)
        async with store.writing() as ctx:
            await table.insert_many(ctx, rows)
            page = await table.page(ctx, search, PageRequest(page_size=100), owner, least, part=part, picked=picked)
        return [row.id for row in page.items]

    expected = [
        row
        for row in rows
        if (owner is None or row.owner == owner)
        and (least is None or row.number >= least)
        and (part is None or contains(row.text, part) or contains(row.note, part))
        and (picked is None or row.color not in picked)
    ]
    assert engine.run(ask()) == [row.id for row in sorted(expected, key=lambda row: (row.number, row.id))]
