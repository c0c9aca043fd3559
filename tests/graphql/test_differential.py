"""Plans against graphql-core's executor, on random documents: the same data, and errors in the same places."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest
from graphql import parse, validate
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tests.graphql import oracle
from tests.graphql.documents import Documents
from tests.graphql.torture import torture
from trivet.app import App
from trivet.contracts.graphql.read import graph_of
from trivet.contracts.model import describe
from trivet.settings import GraphqlSettings
from trivet.testing import Client
from trivet.testing.app import settings_for_tests

API, FAULTS = describe("torture", [torture])
GRAPH, UNFIT = graph_of(API)
SCHEMA = oracle.oracle_schema(GRAPH)

SIZES = st.sampled_from(["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "11", "13", "14", "19", "$long", "-1"])
VALUES: dict[str, st.SearchStrategy[str]] = {
    "size": SIZES,
    "sizes": st.lists(st.sampled_from(["1", "2", "3", "4", "5", "10"]), min_size=1, max_size=4).map(
        lambda sizes: f"[{', '.join(sizes)}]"
    ),
    "first": st.sampled_from(["1", "2", "$size"]),
    "after": st.sampled_from(['"4"', '"8"']),
    "count": st.sampled_from(["0", "1", "3", "4", "$long"]),
    "shift": st.sampled_from(["0", "1", "$long"]),
    "wrong": st.sampled_from(["true", "false", "$yes", "$no"]),
}
OPEN = settings_for_tests(
    graphql=GraphqlSettings(depth=100, aliases=1000, tokens=100_000, directives=1000, cost=10_000_000)
)


def canonical(data: Any, path: list[str | int]) -> tuple[str | int, ...]:
    """Return the path of the ``null`` that an error led to: the error's own, or one above it."""
    value = data
    for depth, step in enumerate(path):
        if value is None:
            return tuple(path[:depth])
        value = value[step]
    assert value is None, path
    return tuple(path)


def compare(source: str, expected: Any, wanted: list[Any], found: dict[str, Any]) -> None:
    assert found["data"] == expected, source
    paths = [error["path"] for error in found.get("errors", ())]
    theirs, ours = {canonical(expected, p) for p in wanted}, {canonical(expected, p) for p in paths}
    assert ours == theirs, source
    here = {tuple(path) for path in wanted if canonical(expected, path) == tuple(path)}
    assert here <= {tuple(path) for path in paths}, source


async def check(source: str, variables: dict[str, Any]) -> None:
    async with Client(App("torture", modules=[torture]), settings=OPEN) as client:
        await check_with(client, source, variables)


async def check_with(client: Client, source: str, variables: dict[str, Any]) -> None:
    expected, wanted = await oracle.answer(client, SCHEMA, source, variables)
    response = await client.post("/graphql", json={"query": source, "variables": variables})
    found = response.json()
    assert "data" in found, (source, found)
    compare(source, expected, wanted, found)


class Session:
    """One client for all examples of a test."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.client = Client(App("torture", modules=[torture]), settings=OPEN)
        self.loop.run_until_complete(self.client.__aenter__())

    def check(self, source: str, variables: dict[str, Any]) -> None:
        self.loop.run_until_complete(check_with(self.client, source, variables))

    def close(self) -> None:
        self.loop.run_until_complete(self.client.__aexit__())
        self.loop.close()


EXAMPLES = int(os.environ.get("TRIVET_DOCUMENTS", "150"))
"""How many documents are drawn for each root; more where somebody has the time."""

DOCUMENTS = Documents(GRAPH, VALUES)


def test_the_torture_schema_is_one() -> None:
    assert (FAULTS, UNFIT) == ([], [])


@pytest.mark.parametrize("arguments", ['after: "4"', 'first: 1, after: "4", shift: 0', "first: 1"])
def test_an_edge_knows_whether_its_page_was_asked_for_with_a_cursor(arguments: str) -> None:
    selected = "nodes { name } pageInfo { hasPreviousPage }"
    source = f"{{ tree(size: 4, wrong: false) {{ friends({arguments}) {{ {selected} }} }} }}"
    asyncio.run(check(source, {}))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:coroutine .*resolve.* was never awaited:RuntimeWarning")  # by graphql-core
@pytest.mark.parametrize("root", [GRAPH.query, GRAPH.mutation], ids=["queries", "mutations"])
def test_plans_answer_as_the_executor_of_graphql_core_does(root: Any) -> None:
    session = Session()
    seen = 0

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
    )
    @given(DOCUMENTS.document(root))
    def examples(drawn: tuple[str, dict[str, Any]]) -> None:
        nonlocal seen
        source, variables = drawn
        source = used_only(source)
        assume(not validate(SCHEMA, parse(source)))
        seen += 1
        session.check(source, variables)

    try:
        examples()
    finally:
        session.close()
    assert seen > EXAMPLES // 4


def used_only(source: str) -> str:
    """Return the document with only the variables that it uses declared."""
    head, _, rest = source.partition(")")
    kind, _, declared = head.partition("(")
    used = [one for one in declared.split(", ") if one.split(":")[0] in rest]
    return f"{kind}({', '.join(used)}){rest}" if used else f"{kind}{rest}"
