"""Statements: the text and the order of values that a driver takes."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from trivet.data.statement import Statement, any_of, list_value

ITEMS = sa.Table("items", sa.MetaData(), sa.Column("id", sa.Text, primary_key=True), sa.Column("n", sa.Integer))


def test_values_are_put_where_the_driver_wants_them() -> None:
    where = ITEMS.c.id == sa.bindparam("of")
    statement = Statement(sa.select(ITEMS.c.n).where(where, ITEMS.c.n > 5).limit(sa.bindparam("most")), ("most", "of"))
    assert statement.on("sqlite").arrange((20, "x")) == ("x", 5, 20, 0)  # with SQLite's own OFFSET
    assert statement.on("postgresql").arrange((20, "x")) == ("x", 5, 20)


def test_a_value_that_stands_twice_is_passed_once() -> None:
    statement = Statement(sa.text("SELECT :a, :b, :a"), ("b", "a"))
    assert statement.on("sqlite").arrange((1, 2)) == (2, 1, 2)
    assert statement.on("postgresql").arrange((1, 2)) == (2, 1)


def test_null_is_a_constant_like_any_other() -> None:
    statement = Statement(sa.update(ITEMS).values(n=None).where(ITEMS.c.id == sa.bindparam("of")), ("of",))
    assert statement.on("sqlite").arrange(("x",)) == (None, "x")


def test_without_a_declared_order_it_is_that_of_the_text() -> None:
    assert Statement(sa.insert(ITEMS)).on("sqlite").arrange(("x", 1)) == ("x", 1)


@pytest.mark.parametrize("declared", [(), ("of", "more")])
def test_declared_parameters_are_those_of_the_statement(declared: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="the statement takes"):
        Statement(sa.select(ITEMS).where(ITEMS.c.id == sa.bindparam("of")), declared).on("sqlite")


def test_an_expanding_in_is_refused_with_what_to_use_instead() -> None:
    with pytest.raises(ValueError, match=r"use any_of\(\)"):
        Statement(sa.select(ITEMS).where(ITEMS.c.id.in_(["a", "b"]))).on("sqlite")


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
def test_a_list_is_one_value(dialect: Any) -> None:
    one = Statement(sa.select(ITEMS).where(any_of(ITEMS.c.id, "ids", dialect)), ("ids",))
    two = Statement(sa.select(ITEMS).where(any_of([ITEMS.c.id, ITEMS.c.n], "keys", dialect)), ("keys",))
    assert len(one.on(dialect).arrange((list_value(["a", "b"], dialect),))) == 1
    assert len(two.on(dialect).arrange((list_value([("a", 1)], dialect, rows=True),))) == 1


def test_a_statement_that_changes_something_is_not_run_twice() -> None:
    assert Statement(sa.select(ITEMS)).on("sqlite").reads
    assert Statement(sa.text("SELECT 1")).on("sqlite").reads
    for clause in (sa.insert(ITEMS), sa.delete(ITEMS), sa.text("WITH x AS (SELECT 1) DELETE FROM items")):
        assert not Statement(clause).on("sqlite").reads
