# ruff: noqa: E501 - a document is easier to read in one piece
"""Documents that were made to hurt: each is refused before anything runs, for a price that is counted."""

from __future__ import annotations

import pytest

from tests.graphql.torture import torture
from trivet.app import App
from trivet.testing import Client
from trivet.transports.graphql import limits, service

REFUSED = {"DOCUMENT_INVALID", "DOCUMENT_REFUSED", "TOO_EXPENSIVE", "OPERATION_UNKNOWN", "INVALID_ARGUMENT"}


def nested(field: str, levels: int, leaf: str) -> str:
    return f"{field} {{ " * levels + leaf + " }" * levels


def chain(levels: int, width: int = 2) -> str:
    """Return fragments that double at each level."""
    spreads = [
        f"fragment F{n} on Tree {{ " + " ".join(f"a{i}: twin {{ ...F{n + 1} }}" for i in range(width)) + " }"
        for n in range(levels)
    ]
    return "{ tree(size: 1) { ...F0 } }\n" + "\n".join(spreads) + f"\nfragment F{levels} on Tree {{ name }}"


TREE = "tree(size: 1)"

ATTACKS: dict[str, str] = {
    "deep": f"{{ {TREE} {{ {nested('twin', 10, 'name')} }} }}",
    "deeper": f"{{ {TREE} {{ {nested('twin', 200, 'name')} }} }}",
    "deep through inline fragments": f"{{ {TREE} {{ {nested('... on Tree { twin', 12, 'name').replace('} }', '} } }')} }} }}",
    "deep through fragments": chain(12, 1),
    "deep in children": f"{{ {TREE} {{ {nested('children', 11, 'name')} }} }}",
    "deep in introspection": "{ __schema { types { fields { type { fields { type { fields { type { fields { type { name } } } } } } } } } } }",
    "brackets": "{" * 1900,
    "open brackets, closed": "{ tree" + "{ twin" * 600 + "}" * 601,
    "lists in arguments": "{ allTrees(sizes: " + "[" * 900 + "]" * 900 + ") { name } }",
    "objects in arguments": "{ countTrees(like: " + "{square: " * 400 + "1" + "}" * 400 + ") }",
    "list type in a variable": "query ($x: " + "[" * 900 + "Int" + "]" * 900 + ") { __typename }",
    "aliases": "{ " + " ".join(f"a{n}: __typename" for n in range(31)) + " }",
    "aliases of root fields": "{ " + " ".join(f"a{n}: tree(size: {n}) {{ name }}" for n in range(31)) + " }",
    "aliases of mutations": "mutation { " + " ".join(f"a{n}: fellTree(size: {n})" for n in range(31)) + " }",
    "aliases below": f"{{ {TREE} {{ " + " ".join(f"a{n}: name" for n in range(31)) + " } }",
    "aliases in a fragment, spread often": "{ "
    + " ".join(f"a{n}: {TREE} {{ ...F }}" for n in range(9))
    + " }\nfragment F on Tree { b: name c: name d: name }",
    "aliases that double": chain(9),
    "aliases that multiply by five": chain(8, 5),
    "many words": "{ " + "__typename " * 2000 + "}",
    "many fields": f"{{ {TREE} {{ " + "name " * 2000 + "} }",
    "the same field, often": f"{{ {TREE} {{ " + "name " * 300 + "} }",
    "the same root field, often": "{ " + (TREE + " { name } ") * 240 + "}",
    "the same subselection, often": f"{{ {TREE} {{ " + "twin { name } " * 220 + "} }",
    "comments do not count, commas do not either, words do": "{ " + "# nothing\n, __typename " * 2001 + "}",
    "many arguments": "{ tree(" + " ".join(f"a{n}: 1" for n in range(600)) + ") { name } }",
    "many variables": "query (" + " ".join(f"$v{n}: Int" for n in range(500)) + ") { __typename }",
    "many directives": "{ __typename " + "@include(if: true) " * 51 + "}",
    "unknown directives": "{ __typename " + "@x " * 60 + "}",
    "directives on fragments": "{ " + "... @include(if: true) { __typename } " * 51 + "}",
    "directives in a fragment, spread often": "{ "
    + "...F " * 30
    + "}\nfragment F on Query { __typename @skip(if: false) @include(if: true) }",
    "defer": "{ ... @defer { __typename } }",
    "stream": "{ drawFigures @stream(initialCount: 1) { __typename } }",
    "many operations": " ".join(f"query Q{n} {{ __typename }}" for n in range(21)),
    "many fragments": "{ "
    + " ".join(f"...F{n}" for n in range(300))
    + " }"
    + "".join(f" fragment F{n} on Query {{ __typename }}" for n in range(300)),
    "fragments in a circle": "{ ...A } fragment A on Query { ...B } fragment B on Query { ...A }",
    "a fragment in itself": f"{{ {TREE} {{ ...A }} }} fragment A on Tree {{ twin {{ ...A }} }}",
    "a circle below a circle": f"{{ {TREE} {{ ...A }} }} fragment A on Tree {{ twin {{ ...B ...A }} }} fragment B on Tree {{ twin {{ ...A ...B }} }}",
    "fragments that are not used": "{ __typename } " + " ".join(f"fragment F{n} on Tree {{ name }}" for n in range(50)),
    "conflicting fields": f"{{ a: {TREE} {{ name }} a: tree(size: 2) {{ name }} }}",
    "conflicts deep down": f"{{ {TREE} {{ twin {{ a: name }} ... {{ twin {{ a: size }} }} }} }}",
    "a page of pages of pages": "{ tree(size: 1) { friends(first: 100) { nodes { friends(first: 100) { nodes { friends(first: 100) { nodes { name } } } } } } } }",
    "pages by variables": "query ($n: Int = 100) { tree(size: 1) { friends(first: $n) { nodes { friends(first: $n) { nodes { name } } } } } }",
    "pages beside each other": "{ tree(size: 1) { friends(first: 100) { nodes { "
    + " ".join(f"f{n}: friends(first: 100) {{ nodes {{ name }} }}" for n in range(5))
    + " } } } }",
    "a heavy field, often": "{ " + " ".join(f"a{n}: fellForest(size: {n})" for n in range(4)) + " }",
    "a heavy field under several conditions": "query ($n: Int! = 1) { "
    + " ".join(f"... @include(if: true) {{ a{n}: fellForest(size: $n) }}" for n in range(4))
    + " }",
    "heavy changes": "mutation { " + " ".join(f"a{n}: burnForest(size: {n})" for n in range(3)) + " }",
    "a heavy edge on a page": "{ tree(size: 1) { friends(first: 100) { nodes { rings { letter } } } } }",
    "a heavy edge on a page by a variable": "query ($n: Int! = 60) { tree(size: 1) { friends(first: $n) { nodes { rings { count } } } } }",
    "a heavy edge in a fragment, spread often": "{ "
    + " ".join(f"a{n}: tree(size: {n}) {{ children {{ ...F }} }}" for n in range(6))
    + " }\nfragment F on Tree { rings { letter } }",
    "edges of nested lists": "{ tree(size: 1) { children { children { children { children { twin { name } friends { nodes { name } } } } } } } }",
    "introspection": "{ __schema { types { name } } }",
    "introspection of one type": '{ __type(name: "Tree") { fields { name } } }',
    "introspection in a fragment": "{ ...F } fragment F on Query { __schema { types { name } } }",
    "introspection under an alias": "{ a: __schema { b: types { c: name } } }",
    "no selection": "{ tree(size: 1) }",
    "an empty selection": "{ tree(size: 1) { } }",
    "nothing": "   ",
    "only comments": "# { __typename }",
    "a schema": "type Query { a: Int }",
    "a schema beside a query": "{ __typename } type X { a: Int }",
    "not closed": "{ __typename",
    "a string without an end": '{ __type(name: "',
    "a long string": '{ tree(size: "' + "x" * 100_000 + '") { name } }',
    "a long number": "{ tree(size: " + "9" * 5000 + ") { name } }",
    "a long name": "{ " + "a" * 50_000 + " }",
    "odd characters": "{ __typename \u202e }",
    "a null byte": "{ __typename \x00 }",
    "subscribing over HTTP to two": "subscription { a: __typename b: __typename }",
}


@pytest.mark.parametrize("source", ATTACKS.values(), ids=ATTACKS)
async def test_it_is_refused_before_anything_runs(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[limits.Counted] = []

    class Noted(limits.Counted):
        __slots__ = ()

        def __init__(self) -> None:
            super().__init__()
            counted.append(self)

    async def never(*_: object) -> None:
        raise AssertionError("it runs")

    monkeypatch.setattr(limits, "Counted", Noted)
    monkeypatch.setattr(service, "run", never)
    async with Client(App("torture", modules=[torture])) as client:
        response = await client.post("/graphql", json={"query": source})
        found = response.json()
        assert "data" not in found
        assert {error["extensions"]["reason"] for error in found["errors"]} <= REFUSED
        assert len(found["errors"]) <= 11  # and a word that there are more
        assert len(response.body) < 20_000
        assert "Did you mean" not in response.text.replace("Did you mean 'tree { ... }'?", "")  # no guess, but syntax
    for each in counted:
        assert each.visits <= limits.MAX_VISITS + 1


def test_there_are_many() -> None:
    assert len(ATTACKS) >= 50
