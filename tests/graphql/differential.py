"""Random documents, answered by plans and by graphql-core's executor: the same data, and errors in the same places.

How many are drawn for each root says ``DOCUMENTS``; a run of the suite draws as many as it has time for.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec
from graphql import GraphQLSchema, parse, validate
from hypothesis import HealthCheck, Phase, assume, given, reject, settings
from hypothesis import strategies as st

from tests.graphql import oracle
from trivet.app import App
from trivet.contracts.graphql.schema import read_global_id
from trivet.contracts.graphql.types import Graph
from trivet.testing import Client
from trivet.testing.agreement import StillClock

T = TypeVar("T")

DOCUMENTS_DRAWN = int(os.environ.get("DOCUMENTS", "120"))


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
    """Compare an answer with what is expected, and with the paths of the errors that are.

    The data are identical. Each null that an error led to has at least one error at or under it on both sides, and
    errors outside of what was nulled have the same paths.
    """
    assert found["data"] == expected, (source, found, wanted)
    paths = [error["path"] for error in found.get("errors", ())]
    theirs, ours = {canonical(expected, p) for p in wanted}, {canonical(expected, p) for p in paths}
    assert ours == theirs, source
    here = {tuple(path) for path in wanted if canonical(expected, path) == tuple(path)}
    assert here <= {tuple(path) for path in paths}, source


class Still(Client):
    """A client of an app whose clock stands still, and which handles no event: all that happens is what is asked."""

    async def __aenter__(self) -> Client:
        assert isinstance(self.app, App)
        service = await self.app.start(clock=StillClock())
        [dispatcher] = service.runtime.dispatchers
        await dispatcher.stop(10)
        return self

    async def __aexit__(self, *raised: object) -> None:
        assert isinstance(self.app, App)
        await self.app.stop()


class Session:
    """The clients for all documents of a test.

    Args:
        client: Of the app.
        graph: Its types.
        other: Of a copy of it, from which the executor gets what it is asked; the same one where nothing is said.
    """

    def __init__(self, client: Client, graph: Graph, other: Client | None = None) -> None:
        self.client = client
        self.other = other or client
        self.graph = graph
        self.schema: GraphQLSchema = oracle.oracle_schema(graph)
        self._loop = asyncio.new_event_loop()
        for each in self.clients:
            self.run(each.__aenter__())

    @property
    def clients(self) -> list[Client]:
        """Each client once."""
        return [self.client] if self.other is self.client else [self.client, self.other]

    def run(self, awaitable: Awaitable[T]) -> T:
        """Run something to its end."""
        return self._loop.run_until_complete(awaitable)

    def check(self, source: str, variables: dict[str, Any]) -> int:
        """Compare both answers to a document, and return how many errors are in it.

        Raises:
            Late: One of them did not exist in time.
        """
        expected, wanted = self.run(oracle.answer(self.other, self.graph, self.schema, source, variables))
        response = self.run(self.client.post("/graphql", json={"query": source, "variables": variables}))
        found = response.json()
        if any(error["extensions"]["code"] == "DEADLINE_EXCEEDED" for error in found.get("errors", ())):
            raise oracle.Late
        assert "data" in found, (source, found)
        if self.other is not self.client:
            expected, found = renamed(expected), found | {"data": renamed(found["data"])}
        compare(source, expected, wanted, found)
        return len(wanted)

    def close(self) -> None:
        """End the app, or both of them."""
        for each in self.clients:
            self.run(each.__aexit__())
        self._loop.close()


COUNTED = re.compile(r"01[0-9a-f]{6}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
"""Ids that a clock gave."""
GLOBAL = re.compile(r'"([\w+/=-]{40,})"')
"""What may be a global id."""


def renamed(data: Any) -> Any:
    """Return data with ids in the order in which they are seen: two copies count theirs differently."""
    seen: dict[str, str] = {}
    text = GLOBAL.sub(lambda found: f'"{read_global_id(found[1]) or found[1]}"', msgspec.json.encode(data).decode())
    return msgspec.json.decode(COUNTED.sub(lambda found: seen.setdefault(found[0], f"id {len(seen)}"), text))


def draw(session: Session, documents: st.SearchStrategy[tuple[str, dict[str, Any]]], say: Callable[[str], None]) -> int:
    """Compare the answers to many documents, and return how many of them were valid.

    Args:
        session: Answers them.
        documents: With their variables.
        say: Takes what came of it, for people.
    """
    seen = failing = 0

    @settings(
        max_examples=DOCUMENTS_DRAWN,
        database=None,
        phases=[Phase.explicit, Phase.generate, Phase.shrink] if session.other is session.client else [Phase.generate],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
    )
    @given(documents)
    def examples(drawn: tuple[str, dict[str, Any]]) -> None:
        nonlocal seen, failing
        source, variables = drawn
        source = used_only(source)
        assume(not validate(session.schema, parse(source)))
        try:
            failing += session.check(source, variables) > 0
        except oracle.Late:
            reject()
        seen += 1

    examples()
    say(f"{seen:,} documents compared, {failing:,} with errors in the answer")
    return seen


def used_only(source: str) -> str:
    """Return the document with only the variables that it uses declared."""
    head, _, rest = source.partition(")")
    kind, _, declared = head.partition("(")
    used = [one for one in declared.split(", ") if one.split(":")[0] in rest]
    return f"{kind}({', '.join(used)}){rest}" if used else f"{kind}{rest}"
