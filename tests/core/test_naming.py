"""Names to protocols, as a table."""

from __future__ import annotations

import pytest

from trivet.core.declaration import Http, Kind
from trivet.core.naming import NamingError, Noun, Subject, face_of, nouns_of


def subject(
    name: str, kind: Kind = Kind.QUERY, given: str = "", optional: str = "", shapes: str = "", **more: object
) -> Subject:
    """Return a subject: `given` and `optional` name scalar parameters, `shapes` those that are shapes."""
    required = [*given.split(), *shapes.split()]
    parameters = [*given.split(), *shapes.split(), *optional.split()]
    return Subject(
        name=name,
        kind=kind,
        parameters=tuple(parameters),
        required=frozenset(required),
        in_url=frozenset(p for p in parameters if p not in shapes.split()),
        shapes=frozenset(shapes.split()),
        **more,  # type: ignore[arg-type]  # the remaining fields, by name
    )


NOUNS = {
    noun.singular: noun
    for noun in (
        Noun(singular="product", plural="products"),
        Noun(singular="order", plural="orders"),
        Noun(singular="order_line", plural="order_lines"),
        Noun(singular="settings"),
        Noun(singular="greeting"),
    )
}

CASES = [
    (subject("get_product", given="id"), "GET /products/{id} 200", "product", "GetProduct"),
    (subject("get_products", given="ids"), "GET /products:batchGet 200", "productsByIds", "BatchGetProducts"),
    (subject("list_products", given="page", optional="brand"), "GET /products 200", "products", "ListProducts"),
    (subject("list_products", shapes="filter"), "POST /products:list 200", "listProducts", "ListProducts"),
    (subject("create_product", Kind.COMMAND, shapes="product"), "POST /products 201", "createProduct", "CreateProduct"),
    (
        subject("update_product", Kind.COMMAND, "id", shapes="changes"),
        "PATCH /products/{id} 200",
        "updateProduct",
        "UpdateProduct",
    ),
    (
        subject("delete_product", Kind.COMMAND, "id", returns_nothing=True),
        "DELETE /products/{id} 204",
        "deleteProduct",
        "DeleteProduct",
    ),
    (
        subject("cancel_order", Kind.COMMAND, "id", "reason"),
        "POST /orders/{id}:cancel 200",
        "cancelOrder",
        "CancelOrder",
    ),
    (subject("recount_products", Kind.COMMAND), "POST /products:recount 200", "recountProducts", "RecountProducts"),
    (subject("search_products", optional="text"), "GET /products:search 200", "searchProducts", "SearchProducts"),
    (subject("search_products", shapes="filter"), "POST /products:search 200", "searchProducts", "SearchProducts"),
    (subject("watch_orders", Kind.STREAM), "GET /orders:watch 200", "watchOrders", "WatchOrders"),
    (subject("export_orders", Kind.JOB, "day"), "POST /orders:export 202", "exportOrders", "ExportOrders"),
    (subject("get_settings"), "GET /settings 200", "settings", "GetSettings"),
    (
        subject("update_settings", Kind.COMMAND, shapes="changes"),
        "PATCH /settings 200",
        "updateSettings",
        "UpdateSettings",
    ),
    (subject("reset_settings", Kind.COMMAND), "POST /settings:reset 200", "resetSettings", "ResetSettings"),
    (subject("get_greeting", optional="name"), "GET /greeting 200", "greeting", "GetGreeting"),
    (
        subject("list_order_lines", given="order_id page"),
        "GET /orders/{order_id}/lines 200",
        "orderLines",
        "ListOrderLines",
    ),
    (
        subject("get_order_line", given="order_id id"),
        "GET /orders/{order_id}/lines/{id} 200",
        "orderLine",
        "GetOrderLine",
    ),
    (subject("list_orders", optional="product_id"), "GET /orders 200", "orders", "ListOrders"),
    (subject("ping"), "GET /ping 200", "ping", "Ping"),
    (subject("send_mail_now", Kind.COMMAND, "to"), "POST /send-mail-now 200", "sendMailNow", "SendMailNow"),
    (subject("get_product", given="id", http=Http(path="/goods/{id}")), "GET /goods/{id} 200", "product", "GetProduct"),
    (
        subject("touch_product", Kind.COMMAND, "id", http=Http(method="PUT", status=202)),
        "PUT /products/{id}:touch 202",
        "touchProduct",
        "TouchProduct",
    ),
    (subject("get_product", given="id", graphql="thing", rpc="Fetch"), "GET /products/{id} 200", "thing", "Fetch"),
]


@pytest.mark.parametrize(("given", "rest", "graphql", "rpc"), CASES, ids=[c[0].name + "-" + c[1] for c in CASES])
def test_a_name_gives_the_face_of_the_table(given: Subject, rest: str, graphql: str, rpc: str) -> None:
    face = face_of(given, NOUNS)
    assert f"{face.method} {face.path} {face.status}" == rest
    assert (face.graphql, face.rpc) == (graphql, rpc)


def test_the_longest_known_noun_wins() -> None:
    assert face_of(subject("get_order_line", given="id"), NOUNS).noun == "order_line"
    assert face_of(subject("split_order", Kind.COMMAND, given="id"), NOUNS).noun == "order"


def test_a_prefix_stands_before_the_first_collection() -> None:
    assert face_of(subject("list_products"), NOUNS, prefix="old").path == "/old-products"


def test_the_body_of_a_create_is_its_shape_and_of_a_custom_method_all_that_is_left() -> None:
    assert face_of(subject("create_product", Kind.COMMAND, shapes="product"), NOUNS).body == "product"
    assert face_of(subject("update_product", Kind.COMMAND, "id", shapes="changes"), NOUNS).body == "changes"
    cancel = face_of(subject("cancel_order", Kind.COMMAND, "id", "reason"), NOUNS)
    assert (cancel.body, cancel.path_parameters, cancel.query_parameters) == ("*", ("id",), ())
    found = face_of(subject("list_products", given="page", optional="brand"), NOUNS)
    assert (found.body, found.query_parameters) == (None, ("page", "brand"))


def test_a_collection_that_nothing_names_is_refused_with_the_mend() -> None:
    with pytest.raises(NamingError, match="collection of settings") as refused:
        face_of(subject("get_settings", given="id"), NOUNS)
    assert "plural=" in refused.value.mend
    assert (
        face_of(subject("get_settings", given="id", plural="settings", returns="settings"), NOUNS).path
        == "/settings/{id}"
    )


def test_a_path_that_names_what_is_no_parameter_is_refused() -> None:
    with pytest.raises(NamingError, match="'key' is no parameter"):
        face_of(subject("get_product", given="id", http=Http(path="/products/{key}")), NOUNS)
    with pytest.raises(NamingError, match="'id' is optional"):
        face_of(subject("get_product", optional="id", http=Http(path="/products/{id}")), NOUNS)


def test_a_shape_can_not_stand_in_the_url_of_a_get() -> None:
    with pytest.raises(NamingError, match="filter can not stand in the URL"):
        face_of(subject("search_products", shapes="filter", http=Http(method="GET")), NOUNS)


def test_plurals_come_from_the_list_operation_and_two_of_them_are_refused() -> None:
    listed = subject("list_people", returns="person", returns_many=True)
    assert nouns_of([subject("get_person", given="id", returns="person"), listed])["person"].plural == "people"
    with pytest.raises(NamingError, match="two collections"):
        nouns_of([listed, subject("list_persons", returns="person", returns_many=True)])
