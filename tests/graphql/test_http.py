"""GraphQL over HTTP: what a request looks like, what an answer looks like, and what is refused."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tests.transports.client import Client, Response
from tests.transports.library import AUSTEN, LIBRARIAN, Library, book_id, front
from trivet.core.principal import ANONYMOUS, Principal
from trivet.settings import GraphqlSettings, Settings

RESPONSE = "application/graphql-response+json"
OPEN = Settings(graphql=GraphqlSettings(introspection=True))


async def ask(source: str, principal: Principal = LIBRARIAN, library: Library | None = None, **more: Any) -> Response:
    client = Client(front(library or Library(), principal, OPEN))
    return await client.post("/graphql", {"query": source, **more}, headers={"accept": RESPONSE})


async def data(source: str, **more: Any) -> Any:
    response = await ask(source, **more)
    assert response.status == 200, response
    assert "errors" not in response.json, response
    return response.json["data"]


ONE = f'book(id: "{book_id(1)}")'


async def test_a_query_is_answered() -> None:
    found = await data(f"{{ {ONE} {{ title genre price {{ amount currency }} createTime }} }}")
    assert found == {
        "book": {
            "title": "Volume 1",
            "genre": "NOVEL",
            "price": {"amount": "9.50", "currency": "EUR"},
            "createTime": "2026-01-31T12:00:00Z",
        }
    }


async def test_members_come_in_the_order_of_the_document() -> None:
    response = await ask(f"{{ b: countBooks __typename a: {ONE} {{ tags id title }} }}")
    assert list(response.json["data"]) == ["b", "__typename", "a"]
    assert list(response.json["data"]["a"]) == ["tags", "id", "title"]


async def test_an_edge_is_resolved_once_for_each_level() -> None:
    library = Library()
    source = "{ books { nodes { title author { name books(first: 1) { nodes { author { name } } } } } } }"
    found = await data(source, library=library)
    assert [book["author"]["name"] for book in found["books"]["nodes"]] == ["Austen", "Poe", "Austen", "Poe", "Austen"]
    assert library.journal.calls[1:] == [("author", 5), ("books", 5), ("author", 5)]


async def test_a_connection_says_where_the_page_stands() -> None:
    source = "{ books(first: 2) { edges { cursor node { id } } pageInfo { hasNextPage hasPreviousPage endCursor } } }"
    found = (await data(source))["books"]
    assert [edge["node"]["id"] for edge in found["edges"]] == [str(book_id(1)), str(book_id(2))]
    assert found["pageInfo"] == {"hasNextPage": True, "hasPreviousPage": False, "endCursor": "more"}
    assert [edge["cursor"] for edge in found["edges"]] == [None, "more"]


async def test_variables_are_checked_before_anything_runs() -> None:
    source = "query ($first: Int!, $genre: Genre) { books(first: $first, genre: $genre) { nodes { title } } }"
    found = await data(source, variables={"first": 1, "genre": "NOVEL"})
    assert found["books"]["nodes"] == [{"title": "Volume 1"}]
    library = Library()
    for variables in ({}, {"first": "1"}, {"first": 1, "genre": "COMICS"}, {"first": None}):
        refused = await ask(source, library=library, variables=variables)
        assert (refused.status, set(refused.json)) == (400, {"errors"})
    assert library.journal.calls == []


async def test_what_the_schema_can_not_say_is_checked_as_on_every_protocol() -> None:
    response = await ask('{ books(tags: ["a", "b", "c", "d"], year: 1200) { nodes { id } } }')
    [error] = response.json["errors"]
    assert (error["path"], error["extensions"]["code"]) == (["books"], "INVALID_ARGUMENT")
    assert [violation["pointer"] for violation in error["extensions"]["errors"]] == ["#/tags", "#/year"]
    assert response.json["data"] == {"books": None}


async def test_a_failure_stays_where_it_happened() -> None:
    response = await ask(f'{{ missing: book(id: "{book_id(99)}") {{ id }} {ONE} {{ id }} }}')
    assert response.status == 200
    assert response.json["data"] == {"missing": None, "book": {"id": str(book_id(1))}}
    [error] = response.json["errors"]
    assert error["path"] == ["missing"]
    assert error["locations"] == [{"line": 1, "column": 3}]
    assert error["message"] == f"There is no book {book_id(99)}."
    assert error["extensions"] == {"code": "NOT_FOUND", "reason": "NOT_FOUND"}


async def test_mutations_run_one_after_the_other() -> None:
    library = Library()
    source = f"""mutation {{
        first: lendBook(id: "{book_id(1)}", reader: "first") {{ title author {{ name }} }}
        second: lendBook(id: "{book_id(2)}", reader: "second") {{ title }}
        third: lendBook(id: "{book_id(3)}", reader: "third", days: 3) {{ title }}
        deleteBook(id: "{book_id(3)}")
    }}"""
    response = await ask(source, library=library)
    assert library.journal.calls == [("first", 14), ("author", 1), ("third", 3)]
    assert response.json["data"]["deleteBook"] is True
    [error] = response.json["errors"]
    assert error["path"] == ["second"]
    assert error["extensions"] == {"code": "FAILED_PRECONDITION", "reason": "BOOK_LENT", "until": "2026-02-28"}


async def test_each_root_field_needs_its_scope() -> None:
    new = f'{{title: "Emma", authorId: "{AUSTEN}", price: {{amount: "9.50", currency: "EUR"}}}}'
    source = f"mutation {{ createBook(book: {new}) {{ title genre }} }}"
    assert (await data(source))["createBook"] == {"title": "Emma", "genre": "NOVEL"}
    nobody = await ask(source, ANONYMOUS)
    assert nobody.json["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"
    other = await ask(source, Principal(subject="reader"))
    assert other.json["errors"][0]["extensions"] == {
        "code": "PERMISSION_DENIED",
        "reason": "SCOPE_REQUIRED",
        "scopes": ["books.write"],
    }


async def test_an_edge_needs_its_scope_before_the_operation_runs() -> None:
    library = Library()
    source = f"{{ {ONE} {{ title loans {{ name }} }} }}"
    refused = await ask(source, library=library)
    assert refused.json["errors"][0]["extensions"]["scopes"] == ["loans.read"]
    assert library.journal.calls == []
    reader = Principal(subject="reader", scopes=frozenset({"loans.read"}))
    assert (await data(source, principal=reader))["book"]["loans"] == [{"name": "Poe"}]


async def test_a_bug_says_nothing_but_the_request_id() -> None:
    response = await ask(f'mutation {{ burnBook(id: "{book_id(1)}") }}')
    [error] = response.json["errors"]
    assert error["extensions"]["code"] == "INTERNAL"
    assert error["extensions"]["requestId"] == response.headers["request-id"]
    assert "sesame" not in response.body.decode()


async def test_introspection_is_answered_where_it_is_allowed() -> None:
    found = await data('{ __schema { queryType { name } } __type(name: "Book") { fields { name } } countBooks }')
    assert found["__schema"] == {"queryType": {"name": "Query"}}
    assert "author" in [field["name"] for field in found["__type"]["fields"]]
    assert found["countBooks"] == 5
    closed = Client(front(Library()))
    refused = await closed.post("/graphql", {"query": "{ __schema { queryType { name } } }"}, {"accept": RESPONSE})
    assert refused.status == 400


async def test_things_are_found_by_their_global_ids() -> None:
    ids = [(await data(f'{{ book(id: "{book_id(n)}") {{ nodeId }} }}'))["book"]["nodeId"] for n in (1, 2)]
    author = (await data(f'{{ author(id: "{AUSTEN}") {{ nodeId }} }}'))["author"]["nodeId"]
    one = await data(
        "query ($id: ID!) { node(id: $id) { __typename nodeId ... on Book { title author { name } } } }",
        variables={"id": ids[0]},
    )
    assert one["node"] == {"__typename": "Book", "nodeId": ids[0], "title": "Volume 1", "author": {"name": "Austen"}}
    source = (
        "query ($ids: [ID!]!) { nodes(ids: $ids) { ... on Author { name } ... on Book { title author { name } } } }"
    )
    many = await data(source, variables={"ids": [ids[1], author, ids[0]]})
    assert many["nodes"] == [
        {"title": "Volume 2", "author": {"name": "Poe"}},
        {"name": "Austen"},
        {"title": "Volume 1", "author": {"name": "Austen"}},
    ]
    wrong = await ask(source, variables={"ids": [ids[1], "nonsense"]})
    assert wrong.json["data"]["nodes"][1] is None
    assert wrong.json["errors"][0]["path"] == ["nodes", 1]


@pytest.mark.parametrize(
    ("accept", "status", "media_type"),
    [
        (None, 200, "application/json"),
        ("*/*", 200, "application/json"),
        ("application/json", 200, "application/json"),
        (RESPONSE, 400, RESPONSE),
        (f"{RESPONSE}, application/json;q=0.9", 400, RESPONSE),
        ("application/xml", 406, "application/json"),
    ],
    ids=str,
)
async def test_the_answer_is_what_the_client_accepts(accept: str | None, status: int, media_type: str) -> None:
    headers = {} if accept is None else {"accept": accept}
    response = await Client(front(Library())).post("/graphql", {"query": "{ nope }"}, headers)
    assert (response.status, response.headers["content-type"].partition(";")[0]) == (status, media_type)
    assert response.json["errors"]
    assert "data" not in response.json


async def test_get_asks_but_does_not_change() -> None:
    client = Client(front(Library()))
    assert (await client.get("/graphql?query=%7BcountBooks%7D")).json == {"data": {"countBooks": 5}}
    changing = await client.get("/graphql?query=mutation%7BdustBook(id:%22x%22)%7D")
    assert (changing.status, changing.headers["allow"]) == (405, "POST")
    variables = msgspec.json.encode({"genre": "POEMS"}).decode().replace('"', "%22")
    query = "query($genre:Genre!)%7BcountBooks(genre:$genre)%7D"
    assert (await client.get(f"/graphql?query={query}&variables={variables}")).status == 200


@pytest.mark.parametrize(
    ("method", "headers", "body", "status"),
    [
        ("DELETE", {}, b"", 405),
        ("POST", {"content-type": "text/plain"}, b'{"query":"{countBooks}"}', 415),
        ("POST", {"content-type": "application/json"}, b"{", 400),
        ("POST", {"content-type": "application/json"}, b"[]", 400),
        ("POST", {"content-type": "application/json"}, b'{"query":1}', 400),
        ("POST", {"content-type": "application/json"}, b'{"quary":"{countBooks}"}', 400),
        ("POST", {"content-type": "application/json"}, b"{}", 400),
        ("POST", {"content-type": "application/json"}, b'{"query":"{countBooks}","variables":[]}', 400),
        ("POST", {"content-type": "application/json"}, b'{"query":"' + b" " * (1 << 20) + b'"}', 413),
    ],
    ids=str,
)
async def test_what_is_no_request_is_refused(method: str, headers: dict[str, str], body: bytes, status: int) -> None:
    response = await Client(front(Library())).request(method, "/graphql", body, headers)
    assert response.status == status
    assert response.json["errors"]


@pytest.mark.parametrize("crossed", [{"sec-fetch-site": "cross-site"}, {"origin": "https://evil.example"}], ids=str)
async def test_another_site_needs_to_be_asked_about_first(crossed: dict[str, str]) -> None:
    client = Client(front(Library()))
    target, host = "/graphql?query=%7BcountBooks%7D", {"host": "shop.example"}
    assert (await client.get(target, {**host, **crossed})).status == 403
    assert (await client.get(target, {**host, **crossed, "graphql-require-preflight": "1"})).status == 200
    assert (await client.get(target, {**host, "origin": "https://shop.example"})).status == 200


async def test_several_operations_come_in_one_request_only_where_that_is_allowed() -> None:
    asked = [{"query": "{ countBooks }"}, {"query": "{ nope }"}]
    assert (await Client(front(Library())).post("/graphql", asked)).status == 400
    several = Client(front(Library(), settings=Settings(graphql=GraphqlSettings(batch=2))))
    first, second = (await several.post("/graphql", asked)).json
    assert first == {"data": {"countBooks": 5}}
    assert second["errors"]
    assert (await several.post("/graphql", [*asked, *asked])).status == 400


async def test_operation_name_says_which_of_several_is_meant() -> None:
    source = "query A { countBooks } query B { __typename }"
    assert await data(source, operationName="B") == {"__typename": "Query"}
    for name in (None, "C"):
        assert (await ask(source, operationName=name)).status == 400
