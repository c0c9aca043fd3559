"""Declared weights: they count before anything runs, are shown, and are looked at when the app is built."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest
from click.testing import CliRunner

from trivet import App, FaultyApp, Module, Page, PageRequest, Read, Struct
from trivet.cli import command
from trivet.settings import GraphqlSettings
from trivet.testing import Client
from trivet.testing.app import settings_for_tests


class Book(Struct):
    id: UUID
    title: str


books = Module("books")


@books.query(public=True, weight=10)
async def get_book(ctx: Read, id: UUID) -> Book:
    return Book(id=id, title="one")


@books.query(public=True, weight=50)
async def list_books(ctx: Read, page: PageRequest) -> Page[Book]:
    return Page(items=[Book(id=UUID(int=n), title=str(n)) for n in range(page.limit)])


@books.edge(Book, "similar", public=True, weight=20)
async def book_similar(ctx: Read, parents: Sequence[Book]) -> Sequence[Book | None]:
    return [None for _ in parents]


app = App("books", modules=[books])
ID = UUID(int=1)
SIMILAR = "{ books(first: 3) { nodes { title similar { title } } } }"


def planned(source: str, variables: str = "{}") -> list[str]:
    """Return what ``trivet graphql plan`` says of a document."""
    args = ["graphql", "plan", "-", "tests.graphql.test_weights:app", "--app-dir", ".", "--variables", variables]
    return CliRunner().invoke(command, args, input=source).output.splitlines()


@pytest.mark.parametrize(
    ("source", "cost"),
    [
        (f'{{ book(id: "{ID}") {{ title }} }}', 10 + 1),
        (f'{{ a: book(id: "{ID}") {{ title }} b: book(id: "{ID}") {{ title }} }}', 2 * 11),
        ("{ books(first: 3) { nodes { title } } }", 50 + 3),
        (SIMILAR, 50 + 3 * (1 + 20 + 1)),
        ('{ node(id: "x") { ... on Book { title } } }', 10 + 1),
        ('{ nodes(ids: ["x", "y", "z"]) { nodeId } }', 3 * 10 + 3),
        ("{ __typename }", 0),
    ],
    ids=["one", "two", "a page", "an edge", "by global id", "by global ids", "nothing"],
)
def test_weights_count_for_each_call_and_each_value_of_an_edge(source: str, cost: int) -> None:
    assert planned(source)[0] == f"query, costs at most {cost}"


@pytest.mark.parametrize(("limit", "reasons"), [(116, []), (115, ["TOO_EXPENSIVE"])])
async def test_what_weighs_too_much_is_refused_before_anything_runs(limit: int, reasons: list[str]) -> None:
    settings = settings_for_tests(graphql=GraphqlSettings(cost=limit))
    async with Client(App("books", modules=[books]), settings=settings) as client:
        found = (await client.post("/graphql", json={"query": SIMILAR})).json()
    assert ("data" in found) is (not reasons)
    errors = [error["extensions"] for error in found.get("errors", ())]
    assert [error["reason"] for error in errors] == reasons
    assert all((error["limit"], error["counted"]) == (115, 116) for error in errors)


def test_a_plan_says_what_weighs_more_than_others() -> None:
    source = SIMILAR.replace("3", "$n").replace("{", "query ($n: Int!) {", 1)
    assert planned(source, '{"n": 5}') == [
        f"query, costs at most {50 + 5 * (1 + 20 + 1)}",
        "",
        "books: 1 call of books.list_books -> BookConnection, weight 50",
        "  level 2",
        "    books.nodes.similar: 1 batch of Book.similar -> Book, weight 20, 5 parents, 5 objects at most",
    ]


@pytest.mark.parametrize("weight", [0, -1, 1.5, "much", 1_000_001, None])
def test_a_weight_that_is_none_keeps_the_app_from_starting(weight: Any) -> None:
    module = Module("wrong")

    @module.query(public=True, weight=weight)
    async def get_book(ctx: Read, id: UUID) -> Book:
        return Book(id=id, title="one")

    @module.edge(Book, "similar", public=True, weight=weight)
    async def book_similar(ctx: Read, parents: Sequence[Book]) -> Sequence[Book | None]:
        return [None for _ in parents]

    with pytest.raises(FaultyApp) as refused:
        App("wrong", modules=[module]).build()
    found = [fault.problem for fault in refused.value.faults if fault.rule == "declaration"]
    assert len(found) == 2
    assert all(f"weight= is {weight!r}" in problem for problem in found)


def test_what_weighs_more_than_a_document_may_cost_keeps_the_app_from_starting() -> None:
    settings = settings_for_tests(graphql=GraphqlSettings(cost=19))
    with pytest.raises(FaultyApp) as refused:
        App("books", modules=[books], settings=settings).build()
    assert [fault.rule for fault in refused.value.faults] == ["graphql-weight"] * 2
    assert "books.list_books: weight=50" in refused.value.faults[0].problem
    assert "edge Book.similar: weight=20" in refused.value.faults[1].problem
