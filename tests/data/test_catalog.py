"""Everything that is wrong with the tables of an app is found when it is built, all at once."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa

from tests.data.conftest import FakeWork
from trivet.core.context import Read
from trivet.core.module import Module
from trivet.core.principal import Principal
from trivet.core.shape import Struct
from trivet.data import PUBLIC, Table, Unique
from trivet.data.catalog import bind, schema
from trivet.data.selection import Rows


class Item(Struct):
    id: UUID
    name: str
    number: int
    note: str | None
    tags: list[str]
    tenant: str
    version: int


class Priced(Struct):
    id: UUID
    price: Decimal


class Clash(Struct):
    id: UUID
    a: Inner
    a_b: int


class Inner(Struct):
    b: int


class Odd(Struct):
    id: UUID
    thing: complex


def item(module: Module, **changes: Any) -> Table[Item, UUID]:
    options: dict[str, Any] = {"readable": PUBLIC, "writable": PUBLIC, "key": lambda i: i.id} | changes
    return Table(module, Item, **options)


FAULTY: dict[str, tuple[Callable[[Module], Any], str, str]] = {
    "no readable": (lambda m: item(m, readable=None), "table-readable", "nothing says who may read"),
    "no writable": (lambda m: item(m, writable=None), "table-writable", "nothing says who may write"),
    "key of a nullable field": (lambda m: item(m, key=lambda i: i.note), "table-key", "key note is optional"),
    "key of JSON": (lambda m: item(m, key=lambda i: i.tags), "table-key", "key tags is JSON"),
    "key that is no field": (lambda m: item(m, key=lambda i: 1), "table-key", "does not return fields"),
    "unknown unique": (lambda m: item(m, unique=["nmae"]), "table-field", "no stored field 'nmae'"),
    "unique JSON": (lambda m: item(m, unique=[Unique("name", "tags")]), "table-field", "tags is kept as JSON"),
    "unknown index": (lambda m: item(m, indexes=[("name", "x")]), "table-field", "no stored field 'x'"),
    "tenant that is no text": (lambda m: item(m, tenant=lambda i: i.number), "table-tenant", "not one required text"),
    "decimal without digits": (
        lambda m: Table(m, Priced, key=lambda p: p.id, readable=PUBLIC, writable=PUBLIC),
        "table-column",
        "without its digits",
    ),
    "two fields of one column": (
        lambda m: Table(m, Clash, key=lambda c: c.id, readable=PUBLIC, writable=PUBLIC),
        "table-column",
        "has the same column, a_b",
    ),
    "a type that no column holds": (
        lambda m: Table(m, Odd, key=lambda o: o.id, readable=PUBLIC, writable=PUBLIC),
        "table-column",
        "no column holds a complex",
    ),
    "two tables of one name": (lambda m: (item(m), item(m)), "table-name", "two tables 'items'"),
}


@pytest.mark.parametrize("case", FAULTY)
def test_a_faulty_table_stops_the_start(case: str) -> None:
    declare, rule, problem = FAULTY[case]
    module = Module("stock")
    declare(module)
    _, faults = bind([module], "sqlite", b"k")
    assert [fault.rule for fault in faults] == [rule]
    assert problem in faults[0].problem
    assert faults[0].mend
    assert faults[0].place.file == __file__


def listed(order: Any, function: Callable[..., Any]) -> Callable[[Module], Any]:
    return lambda module: item(module).listing(order=order)(function)


def _unused(i: Item, name: str) -> bool:
    return True


def _untyped(i: Item, name) -> bool:  # type: ignore[no-untyped-def]  # that is the fault
    return bool(i.name == name)


def _six(i: Item, a: int | None, b: int | None, c: int | None, d: int | None, e: int | None, f: int | None) -> bool:
    return (i.number == a) & (i.number == b) & (i.number == c) & (i.number == d) & (i.number == e) & (i.number == f)


def _mistyped(i: Item, number: str) -> bool:
    return i.number == number  # type: ignore[comparison-overlap]  # that is the fault


def _fine(i: Item) -> bool:
    return True


def _anded(i: Item, name: str) -> bool:
    return i.name == name and i.number == 1


@pytest.mark.parametrize(
    ("declare", "rule", "problem"),
    [
        pytest.param(listed("-nmae", _fine), "listing-order", "no such field", id="unknown order"),
        pytest.param(listed("note", _fine), "listing-order", "may be None", id="nullable order"),
        pytest.param(listed("tags", _fine), "listing-order", "is JSON", id="order of JSON"),
        pytest.param(listed("name", _unused), "listing", "argument name is not used", id="unused argument"),
        pytest.param(listed("name", _untyped), "listing", "argument name has no type", id="untyped argument"),
        pytest.param(listed("name", _six), "listing", "6 optional arguments", id="too many optional arguments"),
        pytest.param(listed("name", _mistyped), "listing", "number is int, argument number is str", id="mistyped"),
        pytest.param(listed("name", _anded), "listing", "only a request knows", id="and"),
    ],
)
def test_a_faulty_listing_stops_the_start(declare: Callable[[Module], Any], rule: str, problem: str) -> None:
    module = Module("stock")
    declare(module)
    _, [fault] = bind([module], "sqlite", b"k")
    assert fault.rule == rule
    assert problem in fault.problem


def test_all_faults_are_found_at_once() -> None:
    first, second = Module("first"), Module("second")
    item(first, readable=None, unique=["x"])
    item(second, writable=None)
    assert len(bind([first, second], "sqlite", b"k")[1]) == 3


class Count(Struct):
    number: int


def test_a_selection_of_another_modules_table_stops_the_start() -> None:
    module, other = Module("stock"), Module("other")
    mine, theirs = item(module), item(other)

    @mine.selection(Count)
    def count(rows: Rows) -> sa.Select[Any]:
        return sa.select(sa.func.count().label("number")).select_from(rows[theirs])

    _, [fault] = bind([module, other], "sqlite", b"k")
    assert fault.rule == "selection"
    assert "belongs to module other" in fault.problem


def test_a_selection_that_does_not_give_its_shape_stops_the_start() -> None:
    module = Module("stock")
    mine = item(module)

    @mine.selection(Count)
    def names(rows: Rows) -> sa.Select[Any]:
        return sa.select(rows[mine].c.name)

    _, [fault] = bind([module], "sqlite", b"k")
    assert "it selects name; Count has number" in fault.problem


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
def test_tables_compile_for_every_dialect(dialect: Any) -> None:
    module = Module("stock")
    items = item(module, tenant=lambda i: i.tenant, unique=["name"], readable=lambda who, i: i.note == who.subject)

    @items.listing(order=["-number", "name"])
    def by_name(i: Item, name: str | None = None) -> bool:
        return i.name == name

    assert bind([module], dialect, b"k")[1] == []
    [table] = schema([module], dialect)
    assert table.fullname == ("stock.items" if dialect == "postgresql" else "stock_items")
    assert sorted(str(index.name).removeprefix("ix_").removeprefix(f"{table.name}_") for index in table.indexes) == [
        "tenant_name_number_id_aada",
        "tenant_note_number_name_id_aadaa",
        "tenant_number_name_id_adaa",
        f"uq_{table.name}_tenant_name",
    ]


async def test_a_table_of_no_app_says_what_to_do() -> None:
    module = Module("stock")
    items = item(module)
    nowhere: Any = None
    with pytest.raises(RuntimeError, match=r"list .* in App"):
        await items.find(Read(FakeWork(nowhere, {}, Principal()), module), UUID(int=1))


def test_declaring_tables_loads_no_sqlalchemy() -> None:
    loaded = "import sys, trivet.data; sys.exit('sqlalchemy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", loaded], check=False).returncode == 0
