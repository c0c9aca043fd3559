"""The shop over GraphQL: statements counted, a change that is watched, documents that are registered."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from graphql import get_introspection_query, validate_schema

from shop.app import app
from trivet.app import Seeding
from trivet.cli import command
from trivet.contracts.graphql.read import graph_of
from trivet.contracts.graphql.schema import schema_of
from trivet.core.principal import DEVELOPER
from trivet.data.sqlite import session
from trivet.settings import GraphqlSettings
from trivet.testing import Client
from trivet.testing.app import settings_for_tests
from trivet.transports.graphql.persisted import hash_of

DEEP = """{ orders(first: 100) { nodes {
    id status customer { name orders(first: 1) { nodes { id } } } lines { quantity product { name price { amount } } }
} } }"""


@pytest.fixture
async def shop() -> AsyncIterator[Client]:
    settings = settings_for_tests(graphql=GraphqlSettings(introspection=True))
    async with Client(app, settings=settings, principal=DEVELOPER) as client:
        assert app.seed is not None
        await Seeding(client.service.runtime).run(app.seed)
        yield client


async def ask(client: Client, source: str, **more: Any) -> Any:
    response = await client.post("/graphql", json={"query": source, **more})
    found = response.json()
    assert "errors" not in found, found
    return found["data"]


class Statements:
    """Counts the statements that read tables of the shop."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        for kind in (session.ReadSession, session.SnapshotSession):
            self._watch(kind, monkeypatch)

    def _watch(self, kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        fetch = kind.fetch

        async def counted(own: Any, *arguments: Any) -> Any:
            self.count += "trivet_delivery" not in str(arguments[0])  # of the dispatcher, which looks now and then
            return await fetch(own, *arguments)

        monkeypatch.setattr(kind, "fetch", counted)


async def test_a_level_is_one_statement_for_each_edge(shop: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    statements = Statements(monkeypatch)
    found = (await ask(shop, DEEP))["orders"]["nodes"]
    assert len(found) == 100
    assert all(line["product"]["name"] for order in found for line in order["lines"])
    assert statements.count == 1 + 2 + 1  # orders; customers and products; orders of customers
    statements.count = 0
    await ask(shop, DEEP.replace("100", "2"))
    assert statements.count == 4


def test_a_plan_is_shown_with_its_calls_batches_and_cost() -> None:
    source = (
        "{ orders(first: 100) { nodes { customer { orders(first: 2) { nodes { id } } } lines { product { name } } } } }"
    )
    shown = CliRunner().invoke(command, ["graphql", "plan", "-", "shop.app:app", "--app-dir", "examples"], input=source)
    assert shown.output.splitlines() == [
        "query, costs at most 2601",
        "",
        "orders: 1 call of orders.list_orders -> OrderConnection",
        "  level 2",
        "    orders.nodes.customer: 1 batch of Order.customer -> Customer, 100 parents, 100 objects at most",
        "    orders.nodes.lines.product: 1 batch of OrderLine.product -> Product, 1000 parents, 1000 objects at most",
        "  level 3",
        "    orders.nodes.customer.orders: 1 batch of Customer.orders -> OrderConnection, 100 parents, "
        "200 objects at most",
    ]


async def test_every_cursor_leads_on(shop: Client) -> None:
    page = await ask(shop, "{ products(first: 4) { edges { cursor node { id } } pageInfo { startCursor endCursor } } }")
    edges, info = page["products"]["edges"], page["products"]["pageInfo"]
    assert (info["startCursor"], info["endCursor"]) == (edges[0]["cursor"], edges[-1]["cursor"])
    source = (
        "query ($after: String) { products(first: 2, after: $after) { nodes { id } pageInfo { hasPreviousPage } } }"
    )
    for place in (0, 1):
        found = (await ask(shop, source, variables={"after": edges[place]["cursor"]}))["products"]
        assert [node["id"] for node in found["nodes"]] == [edge["node"]["id"] for edge in edges[place + 1 : place + 3]]
        assert found["pageInfo"]["hasPreviousPage"]


async def test_an_order_is_placed_watched_and_cancelled(shop: Client) -> None:
    customer = (await ask(shop, "{ customers(first: 1) { nodes { id } } }"))["customers"]["nodes"][0]["id"]
    product = (await ask(shop, '{ products(first: 1, maxPrice: "50") { nodes { id } } }'))["products"]["nodes"][0]["id"]
    order = {"customerId": customer, "lines": [{"productId": product, "quantity": 1}]}
    place = "mutation ($order: NewOrderInput!) { createOrder(order: $order) { id status customer { id } } }"
    placed = (await ask(shop, place, variables={"order": order}))["createOrder"]
    assert placed["customer"]["id"] == customer
    await shop.settle()
    again = "query ($id: ID!) { order(id: $id) { status total { amount currency } } }"
    assert (await ask(shop, again, variables={"id": placed["id"]}))["order"]["status"] == "CONFIRMED"
    cancel = 'mutation ($id: ID!) { cancelOrder(id: $id, reason: "changed my mind") { status reason } }'
    gone = (await ask(shop, cancel, variables={"id": placed["id"]}))["cancelOrder"]
    assert gone == {"status": "CANCELLED", "reason": "changed my mind"}


async def test_tools_can_read_the_schema(shop: Client) -> None:
    found = await ask(shop, get_introspection_query(input_value_deprecation=True, schema_description=True))
    assert {kind["name"] for kind in found["__schema"]["types"]} >= {
        "Order",
        "OrderConnection",
        "NewOrderInput",
        "Node",
    }
    document = await shop.get("/graphql/schema.graphql")
    assert "type Order implements Node {" in document.text
    unchanged = await shop.get("/graphql/schema.graphql", headers={"If-None-Match": document.headers["etag"]})
    assert unchanged.status == 304


def test_the_schema_is_valid() -> None:
    api, faults = app.describe()
    graph, unfit = graph_of(api)
    assert (faults, unfit) == ([], [])
    assert validate_schema(schema_of(graph)) == []


async def test_registered_documents_are_known_by_their_hash_and_nothing_else_is_served(tmp_path: Path) -> None:
    source = "{ products(first: 1) { nodes { id } } }"
    (tmp_path / "products.graphql").write_text(source + "\n")
    settings = settings_for_tests(graphql=GraphqlSettings(documents=str(tmp_path), registered_only=True))
    async with Client(app, settings=settings) as client:

        async def reason(body: Any) -> str:
            errors = (await client.post("/graphql", json=body)).json().get("errors")
            return str(errors[0]["extensions"]["reason"]) if errors else "fine"

        assert await reason({"documentId": f"sha256:{hash_of(source)}"}) == "fine"
        assert await reason({"query": source}) == "fine"
        assert await reason({"query": "{ __typename }"}) == "DOCUMENT_NOT_REGISTERED"
        assert await reason({"documentId": f"sha256:{hash_of('{ __typename }')}"}) == "DOCUMENT_NOT_REGISTERED"
        assert await reason({"documentId": "md5:1"}) == "INVALID_ARGUMENT"


async def test_old_clients_register_documents_as_they_go() -> None:
    source = "{ __typename }"
    persisted = {"extensions": {"persistedQuery": {"version": 1, "sha256Hash": hash_of(source)}}}
    async with Client(app, settings=settings_for_tests()) as client:
        first = await client.post("/graphql", json=persisted)
        assert first.json()["errors"][0]["message"] == "PersistedQueryNotFound"
        wrong = await client.post("/graphql", json={**persisted, "query": "{ a: __typename }"})
        assert wrong.json()["errors"][0]["extensions"]["reason"] == "DOCUMENT_HASH_MISMATCH"
        assert (await client.post("/graphql", json={**persisted, "query": source})).json()["data"]
        assert (await client.post("/graphql", json=persisted)).json()["data"]


async def test_a_directory_of_documents_that_is_not_there_keeps_the_app_from_starting() -> None:
    settings = settings_for_tests(graphql=GraphqlSettings(documents="/nowhere"))
    with pytest.raises(Exception, match="which is no directory"):
        async with Client(app, settings=settings):
            pass


async def test_the_editor_is_there_in_development_only_and_comes_with_all_that_it_loads() -> None:
    html = {"accept": "text/html"}
    async with Client(app, settings=settings_for_tests(environment="development")) as client:
        page = await client.get("/graphql", headers=html)
        loaded = re.findall(r'(?:src|href)="(.*?)"', page.text)
        files = [await client.get(f"/{name}") for name in loaded]
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert loaded == ["graphql/graphiql.css", "graphql/graphiql.js", "graphql/editor.js"]
    assert [(file.status, file.headers["content-type"].partition(";")[0]) for file in files] == [
        (200, "text/css"),
        (200, "text/javascript"),
        (200, "text/javascript"),
    ]
    async with Client(app) as client:
        assert [(await client.get(f"/{name}")).status for name in loaded] == [404, 404, 404]
        assert (await client.get("/graphql", headers=html)).status == 406
