"""Plans against graphql-core's executor, over the shop and over an app whose data is partly wrong."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from graphql import OperationDefinitionNode, parse
from hypothesis import strategies as st

from shop.app import app as shop
from tests.graphql.differential import DOCUMENTS_DRAWN, Session, Still, draw, renamed
from tests.graphql.documents import Documents
from tests.graphql.torture import torture, tree
from trivet.app import App, Seeding
from trivet.contracts.describe import describe
from trivet.contracts.graphql.read import graph_of
from trivet.contracts.graphql.schema import schema_of
from trivet.core.principal import DEVELOPER
from trivet.settings import GraphqlSettings
from trivet.testing import Client
from trivet.testing.app import settings_for_tests
from trivet.transports.graphql.compile import Compiler
from trivet.transports.graphql.execute import Target

API, FAULTS = describe("torture", [torture])
GRAPH, UNFIT = graph_of(API)

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

pytestmark = pytest.mark.filterwarnings(  # by graphql-core, of what it gave up on
    "ignore:coroutine .*(resolve|fetched).* was never awaited:RuntimeWarning"
)


@pytest.fixture
def session() -> Iterator[Session]:
    session = Session(Client(App("torture", modules=[torture]), settings=OPEN), GRAPH)
    yield session
    session.close()


def test_the_torture_schema_is_one() -> None:
    assert (FAULTS, UNFIT) == ([], [])


@pytest.mark.parametrize("arguments", ['after: "4"', 'first: 1, after: "4", shift: 0', "first: 1"])
def test_an_edge_knows_whether_its_page_was_asked_for_with_a_cursor(session: Session, arguments: str) -> None:
    selected = "nodes { name } pageInfo { hasPreviousPage }"
    session.check(f"{{ tree(size: 4, wrong: false) {{ friends({arguments}) {{ {selected} }} }} }}", {})


MARK = "{ letter count }"
LABEL = f"{{ text size mark {MARK} longName }}"


@pytest.mark.parametrize("selected", [LABEL, "{ text mark { letter count } }", f"{{ text size mark {MARK} }}"])
def test_what_is_selected_whole_is_written_as_it_is_and_nothing_else_of_it(session: Session, selected: str) -> None:
    failing = sum(
        session.check(f"{{ tree(size: {size}, wrong: {wrong}) {{ label {selected} labels {selected} }} }}", {})
        for size in range(1, 15)
        for wrong in ("false", "true")
        if size != 13
    )
    assert failing > 3


def test_what_is_selected_whole_becomes_no_other_object() -> None:
    compiler = Compiler(GRAPH, schema_of(GRAPH), lambda field: None)

    def labels(selected: str) -> list[Any]:
        [operation] = parse(f"{{ tree(size: 7) {{ labels {selected} }} }}").definitions
        assert isinstance(operation, OperationDefinitionNode)
        unit = compiler.plan(operation, {}, {}).steps[0].unit
        target = Target()
        unit.project([(None, target)], [tree(7, wrong=False)], False, [])
        return list(target.value.f0)

    assert [type(each).__name__ for each in labels(LABEL)] == ["Output", "Label", "Label"]
    assert {type(each).__name__ for each in labels("{ size text }")} == {"Output"}


@pytest.mark.slow
@pytest.mark.parametrize("root", [GRAPH.query, GRAPH.mutation], ids=["queries", "mutations"])
def test_plans_answer_as_the_executor_of_graphql_core_does(session: Session, root: Any) -> None:
    assert draw(session, Documents(GRAPH, VALUES).document(root), print) > DOCUMENTS_DRAWN // 4


@pytest.fixture
def filled_shop() -> Iterator[Session]:
    graph, faults = shop.graph()
    assert graph is not None
    assert faults == []
    session = Session(Client(shop, settings=OPEN, principal=DEVELOPER), graph)
    assert shop.seed is not None
    session.run(Seeding(session.client.service.runtime).run(shop.seed))
    session.run(session.client.settle())
    yield session
    session.close()


def arguments_of(shop: Session, count: int = 5) -> dict[str, st.SearchStrategy[str]]:
    """Return what arguments get in the shop: so many things that are there, and things that are not."""
    source = """query ($count: Int!) {
        products(first: $count) { edges { cursor node { id nodeId brand name price { amount } } } }
        customers(first: $count) { nodes { id nodeId address { country } } }
        orders(first: $count) { nodes { id nodeId createTime } }
    }"""
    asked = {"query": source, "variables": {"count": count}}
    found = shop.run(shop.client.post("/graphql", json=asked)).json()["data"]
    products = [edge["node"] for edge in found["products"]["edges"]]
    customers, orders = found["customers"]["nodes"], found["orders"]["nodes"]
    nobody = "00000000-0000-7000-8000-000000000001"

    def texts(values: list[str]) -> st.SearchStrategy[str]:
        return st.sampled_from([f'"{value}"' for value in values])

    def lists(values: list[str]) -> st.SearchStrategy[str]:
        return st.lists(texts(values), max_size=4).map(lambda items: f"[{', '.join(items)}]")

    ids = {name: [item["id"] for item in items] for name, items in (("p", products), ("c", customers), ("o", orders))}
    global_ids = [item["nodeId"] for item in (*products[:3], *customers[:2], *orders[:2])]
    return {
        "product.id": texts([*ids["p"], nobody]),
        "customer.id": texts([*ids["c"], nobody]),
        "order.id": texts([*ids["o"], nobody]),
        "id": texts([nobody]),
        "productsByIds.ids": lists([*ids["p"], nobody]),
        "node.id": texts([*global_ids, "nonsense"]),
        "nodes.ids": lists([*global_ids, "nonsense"]),
        "first": st.sampled_from(["1", "2", "3", "$size", "0"]),
        "products.after": texts([*(edge["cursor"] for edge in found["products"]["edges"][:2]), "nonsense"]),
        "brand": texts([products[0]["brand"], "nobody's"]),
        "minPrice": st.sampled_from(['"10"', '"99.90"']),
        "maxPrice": st.sampled_from(['"200"', '"1000.00"']),
        "text": texts(["walnut", "desk", "zzz"]),
        "country": texts([customers[0]["address"]["country"], "AQ"]),
        "customerId": texts([*ids["c"], nobody]),
        "since": texts([orders[-1]["createTime"]]),
        "until": texts([orders[0]["createTime"]]),
    }


@pytest.mark.slow
def test_the_shop_is_answered_as_by_the_executor_of_graphql_core(filled_shop: Session) -> None:
    documents = Documents(filled_shop.graph, arguments_of(filled_shop))
    assert draw(filled_shop, documents.document(filled_shop.graph.query), print) > DOCUMENTS_DRAWN // 4


@pytest.fixture
def two_shops() -> Iterator[Session]:
    """The shop and a copy of it, both in the same state: one answers, the other one is changed by the executor."""
    graph, _ = shop.graph()
    assert graph is not None
    assert shop.seed is not None
    client, other = (Still(shop, settings=OPEN, principal=DEVELOPER) for _ in range(2))
    session = Session(client, graph, other)
    for each in session.clients:
        session.run(Seeding(each.service.runtime).run(shop.seed))
    yield session
    session.close()


def changes_of(shop: Session) -> dict[str, st.SearchStrategy[str]]:
    """Return what changes get in the shop: what can be done and what can not, of few things, so that they meet."""
    arguments = arguments_of(shop, 2)
    products, customers, orders = (arguments[f"{name}.id"] for name in ("product", "customer", "order"))
    sku = st.sampled_from([*(f"NEW-{number}" for number in range(40)), "nonsense"])
    price = st.sampled_from(['{amount: "10.00", currency: "EUR"}', '{amount: "99.90", currency: "EUR"}'])
    name, stock = st.sampled_from(["Chair", "Table", ""]), st.sampled_from([0, 3, 5])
    email = st.sampled_from(["a@example.com", "b@example.com", "nonsense"])
    address = '{street: "1 Road", postalCode: "1", city: "Town", country: "AQ"}'
    lines = st.lists(
        st.builds("{{productId: {}, quantity: {}}}".format, products, st.sampled_from([1, 2, 900])), max_size=3
    )
    new_product = 'sku: "{}", name: "{}", brand: "B", price: {}, stock: {}'
    return arguments | {
        "product": st.builds(f"{{{{{new_product}}}}}".format, sku, name, price, stock),
        "updateProduct.id": products,
        "updateProduct.changes": st.one_of(
            st.builds('{{name: "{}"}}'.format, name),
            st.builds('{{sku: "{}", stock: {}}}'.format, sku, stock),
            st.just('{price: {amount: "5.00"}, tags: ["x"]}'),
        ),
        "customer": st.builds('{{name: "{}", email: "{}", address: {}}}'.format, name, email, st.just(address)),
        "updateCustomer.id": customers,
        "updateCustomer.changes": st.builds('{{email: "{}", address: {{city: "City"}}}}'.format, email),
        "limitCustomer.id": customers,
        "limit": price,
        "order": st.builds("{{customerId: {}, lines: [{}]}}".format, customers, lines.map(", ".join)),
        "cancelOrder.id": orders,
        "shipOrder.id": orders,
        "reason": st.sampled_from(['"late"', '""']),
        "firstDay": st.just('"2026-01-01"'),
        "lastDay": st.sampled_from(['"2026-01-31"', '"2025-12-31"']),
    }


STATE = """{
    products(first: 100) { nodes { id sku name price { amount currency } stock tags version } }
    customers(first: 100) { nodes { id name email address { city } spendingLimit { amount } version } }
    orders(first: 100) { nodes { id status customer { id } lines { quantity product { id } } version } }
}"""


@pytest.mark.slow
def test_changes_of_the_shop_run_one_by_one_as_by_the_executor_of_graphql_core(two_shops: Session) -> None:
    mutation = two_shops.graph.mutation
    assert mutation is not None

    def states() -> list[Any]:
        answers = [two_shops.run(each.post("/graphql", json={"query": STATE})) for each in two_shops.clients]
        assert all("errors" not in answer.json() for answer in answers)
        return [renamed(answer.json()["data"]) for answer in answers]

    before = states()
    documents = Documents(two_shops.graph, changes_of(two_shops))
    assert draw(two_shops, documents.changes(mutation), print) > DOCUMENTS_DRAWN // 4
    after = states()
    assert before[0] == before[1]
    assert after[0] == after[1]
    assert after[0] != before[0]
