"""What the running shop answers is what its OpenAPI says, over a real socket: statuses, header fields and bodies."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple
from uuid import uuid4

import httpx2
import jsonschema_rs
import pytest

from tests.shop.serving import EXAMPLES, PATIENCE_SECONDS, shop
from trivet.testing import serve

JSON = {"content-type": "application/json"}
CSV = {"content-type": "text/csv"}
NOBODY = "00000000-0000-0000-0000-000000000001"
HTTP = {
    *("accept-ranges", "connection", "content-encoding", "content-length", "content-type", "date", "server-timing"),
    *("transfer-encoding", "vary", "x-content-type-options"),
}
"""Header fields of HTTP itself, which mean the same in every API and are not described."""


class Shop(NamedTuple):
    """A running shop and its contract."""

    client: httpx2.Client
    document: dict[str, Any]

    def ask(self, method: str, path: str, /, template: str = "", **options: Any) -> httpx2.Response:
        """Send a request and compare the answer with what the contract says about the operation."""
        answer = self.client.request(method, path, **options)
        operation = self.document["paths"][template or path.partition("?")[0]][method.lower()]
        described = self._resolved(operation["responses"][str(answer.status_code)])
        wanted = {name.lower() for name in described.get("headers", {})}
        assert set(answer.headers) - HTTP <= wanted, "an undocumented header field"
        for name, header in described.get("headers", {}).items():
            if name in answer.headers:
                self._check(answer.headers[name], self._resolved(header)["schema"])
        if "content" not in described:
            assert answer.content == b""
            return answer
        media_type = answer.headers["content-type"].partition(";")[0]
        self._check(answer.json(), described["content"][media_type]["schema"])
        return answer

    def _resolved(self, node: dict[str, Any]) -> dict[str, Any]:
        if "$ref" not in node:
            return node
        found: Any = self.document
        for name in node["$ref"].removeprefix("#/").split("/"):
            found = found[name]
        return self._resolved(found)

    def _check(self, value: Any, schema: dict[str, Any]) -> None:
        whole = {**schema, "components": self.document["components"]}
        if schema.get("type") == "integer":
            value = int(value)
        jsonschema_rs.Draft202012Validator(whole, validate_formats=True).validate(value)

    def problem(self, answer: httpx2.Response, status: int, reason: str) -> dict[str, Any]:
        """Return the problem document of an answer that no operation gave, which is like those of operations."""
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/problem+json"
        problem: dict[str, Any] = answer.json()
        self._check(problem, {"$ref": "#/components/schemas/Problem"})
        assert (problem["status"], problem["reason"]) == (status, reason)
        assert self.client.get(problem["type"]).status_code == 200
        return problem


def talk(url: str) -> Iterator[Shop]:
    with httpx2.Client(base_url=url, timeout=PATIENCE_SECONDS) as client:
        yield Shop(client, client.get("/openapi.json").json())


@pytest.fixture(scope="module")
def live() -> Iterator[Shop]:
    """The shop as the developer meets it."""
    with shop() as served:
        yield from talk(served.url)


def test_successes_and_refusals_of_operations_are_as_described(live: Shop) -> None:
    product = {"sku": f"X-{uuid4().hex[:9].upper()}", "name": "Chair", "brand": "Rask", "stock": 1}
    product["price"] = {"amount": "5.00", "currency": "EUR"}
    created = live.ask("POST", "/v1/products", json=product)
    assert (created.status_code, created.headers["location"]) == (201, f"/v1/products/{created.json()['id']}")
    assert live.ask("POST", "/v1/products", json=product).json()["reason"] == "SKU_TAKEN"
    assert live.ask("GET", "/v1/products?page_size=2").status_code == 200
    assert live.ask("GET", f"/v1/products/{NOBODY}", "/v1/products/{id}").status_code == 404
    assert live.ask("POST", "/v1/products", json={}).status_code == 400
    customer = live.client.get("/v1/customers?page_size=1").json()["items"][0]["id"]
    order = {"customer_id": customer, "lines": [{"product_id": created.json()["id"], "quantity": 2}]}
    refused = live.ask("POST", "/v1/orders", json=order)
    assert (refused.status_code, refused.json()["reason"]) == (409, "OUT_OF_STOCK")
    assert live.ask("DELETE", created.headers["location"], "/v1/products/{id}").status_code == 204
    exported = live.ask("POST", "/v1/orders:export", json={"first_day": "2026-01-01", "last_day": "2026-01-02"})
    assert exported.status_code == 202
    assert live.ask("GET", exported.headers["location"], "/v1/jobs/{id}").status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "options", "status", "reason"),
    [
        ("GET", "/v1/products", {"headers": {"accept": "text/csv"}}, 406, "NOT_ACCEPTABLE"),
        ("POST", "/v1/orders", {"headers": JSON, "content": b" " * 1_048_577}, 413, "BODY_TOO_LARGE"),
        ("GET", f"/v1/products?text={'x' * 9000}", {}, 414, "URL_TOO_LONG"),
        ("POST", "/v1/orders", {"headers": CSV, "content": b"a"}, 415, "UNSUPPORTED_MEDIA_TYPE"),
        ("GET", "/v1/products", {"headers": {"x-long": "x" * 33_000}}, 431, "HEADERS_TOO_LARGE"),
    ],
    ids=["406", "413", "414", "415", "431"],
)  # fmt: skip
def test_what_the_edge_refuses_is_described_with_each_operation(
    method: str, path: str, options: dict[str, Any], status: int, reason: str, live: Shop
) -> None:
    answer = live.ask(method, path, **options)
    live.problem(answer, status, reason)
    if status == 415:
        assert answer.headers["accept"] == "application/json"


def test_what_leads_to_no_operation_is_a_problem_like_the_others(live: Shop) -> None:
    live.problem(live.client.get("/v1/nothing"), 404, "ROUTE_NOT_FOUND")
    live.problem(live.client.get("/v2/products"), 404, "ROUTE_NOT_FOUND")


def test_every_path_allows_exactly_what_is_described(live: Shop) -> None:
    for template, methods in live.document["paths"].items():
        path = template.replace("{id}", NOBODY)
        described = {method.upper() for method in methods} | {"OPTIONS"} | ({"HEAD"} if "get" in methods else set())
        options = live.client.options(path)
        assert (options.status_code, options.content) == (204, b"")
        assert set(options.headers["allow"].split(", ")) == described, template
        for method in {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE"} - described:
            refused = live.client.request(method, path)
            assert (refused.status_code, set(refused.headers["allow"].split(", "))) == (405, described), template
            if method != "HEAD":
                live.problem(refused, 405, "METHOD_NOT_ALLOWED")


@pytest.mark.parametrize(
    "path", ["/v1/products?page_size=3", f"/v1/products/{NOBODY}", "/v1/products?page_size=-1", "/"]
)
def test_head_is_get_without_a_body(path: str, live: Shop) -> None:
    got, headed = live.client.get(path), live.client.head(path)
    assert headed.content == b""
    changing = {"date", "request-id", "content-length", "server-timing"}
    assert headed.status_code == got.status_code
    assert {k: v for k, v in headed.headers.items() if k not in changing} == {
        k: v for k, v in got.headers.items() if k not in changing
    }
    if got.status_code == 200:
        assert headed.headers["content-length"] == got.headers["content-length"]


def test_without_credentials_the_answer_is_as_described_in_production() -> None:
    with serve("shop.app:app", app_dir=EXAMPLES, environ={"TRIVET_ENVIRONMENT": "production"}) as served:
        for live in talk(served.url):
            answer = live.ask("GET", "/v1/orders")
            live.problem(answer, 401, "UNAUTHENTICATED")
            assert answer.headers["www-authenticate"] == "Bearer"
            assert live.ask("GET", "/v1/products").status_code == 200
