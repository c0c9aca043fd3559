"""Routing: literal before parameter, custom verbs, raw and encoded spellings; the trie agrees with a naive matcher."""

from __future__ import annotations

import re
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trivet.contracts.problem import MalformedPath
from trivet.transports.rest.router import Router

SHOP = [
    ("GET", "/v1/products"),
    ("POST", "/v1/products"),
    ("GET", "/v1/products:batchGet"),
    ("GET", "/v1/products/{id}"),
    ("GET", "/v1/products/featured"),
    ("POST", "/v1/products/{id}:rename"),
    ("GET", "/v1/orders/{order_id}/lines/{id}"),
    ("GET", "/v1/orders/latest/total"),
]


def shop() -> Router[str]:
    router: Router[str] = Router()
    for method, path in SHOP:
        router.add(method, path, f"{method} {path}")
    return router


@pytest.mark.parametrize(
    ("path", "template", "values"),
    [
        ("/v1/products", "/v1/products", []),
        ("/v1/%70roducts", "/v1/products", []),
        ("/v1/products/7", "/v1/products/{id}", ["7"]),
        ("/v1/products/featured", "/v1/products/featured", []),
        ("/v1/products/a%2Fb", "/v1/products/{id}", ["a/b"]),
        ("/v1/products/caf%C3%A9", "/v1/products/{id}", ["café"]),
        ("/v1/products/a%3Arename", "/v1/products/{id}", ["a:rename"]),
        ("/v1/products/7:rename", "/v1/products/{id}:rename", ["7"]),
        ("/v1/products/7:re%6Eame", "/v1/products/{id}:rename", ["7"]),
        ("/v1/products/a:b:rename", "/v1/products/{id}:rename", ["a:b"]),
        ("/v1/products:batchGet", "/v1/products:batchGet", []),
        ("/v1/orders/1/lines/2", "/v1/orders/{order_id}/lines/{id}", ["1", "2"]),
        ("/v1/orders/latest/lines/2", "/v1/orders/{order_id}/lines/{id}", ["latest", "2"]),
        ("/v1/orders/latest/total", "/v1/orders/latest/total", []),
    ],
)
def test_a_path_leads_to_its_template(path: str, template: str, values: list[str]) -> None:
    found = shop().match(path)
    assert found is not None
    assert (found[0].path, found[1]) == (template, values)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "*",
        "v1/products",
        "/v1",
        "/v1/products/",
        "/v1//products",
        "//v1/products",
        "/v1/products/.",
        "/v1/products/..",
        "/v1/products/%2E%2e",
        "/v1/./products",
        "/v1/products/7:",
        "/v1/products/7%3A:",
        "/v1/products:",
        "/v1/products/:rename",
        "/v1/products/7:unknown",
        "/v1/products%2F7",
        "/V1/products",
        "/v1/products/7/more",
    ],
)
def test_these_paths_lead_nowhere(path: str) -> None:
    assert shop().match(path) is None


@pytest.mark.parametrize(
    "path", ["/v1/products/%", "/v1/products/%2", "/v1/%zz", "/v1/products/%ff", "/nowhere/%C3", "/é"]
)
def test_what_is_not_percent_encoded_utf8_is_malformed(path: str) -> None:
    with pytest.raises(MalformedPath):
        shop().match(path)


def test_routes_know_what_they_allow() -> None:
    found = shop().match("/v1/products")
    assert found is not None
    assert found[0].allow == ("GET", "HEAD", "POST", "OPTIONS")


def test_the_same_shape_twice_is_refused_with_both() -> None:
    router = shop()
    with pytest.raises(ValueError, match=r"served twice: by GET /v1/products/\{id\} and by other"):
        router.add("GET", "/v1/products/{sku}", "other")


# -- the naive matcher: every template in turn, literals before parameters from the left


def naive(templates: list[str], path: str) -> tuple[str, list[str]] | None:
    def rank(template: str) -> tuple[list[bool], str]:
        return [segment.startswith("{") for segment in template.split("/")], template

    for template in sorted(set(templates), key=rank):
        pattern = re.sub(r"\{\w+\}", r"(?!\\.{1,2}(?:[/:]|$))([^/]+)", template.replace(".", r"\."))
        if ":" not in template:
            pattern = re.sub(r"\[\^/\]\+\)$", r"[^/:]+)", pattern)
        match = re.fullmatch(pattern, path)
        if match:
            return template, list(match.groups())
    return None


words = st.sampled_from(["a", "b", "c", "v1"])
templates = st.tuples(
    st.lists(st.one_of(words, st.just("{x}")), min_size=1, max_size=4), st.sampled_from(["", "", ":a", ":go"])
).map(lambda t: "/" + "/".join(t[0]) + t[1])
paths = st.tuples(
    st.lists(st.sampled_from(["a", "b", "c", "v1", "z", "", ".", "..", "a.b"]), min_size=1, max_size=5),
    st.sampled_from(["", "", ":a", ":go", ":no", ":"]),
).map(lambda t: "/" + "/".join(t[0]) + t[1])


@given(st.lists(templates, min_size=1, max_size=12, unique=True), paths)
def test_the_trie_agrees_with_a_naive_matcher(added: list[str], path: str) -> None:
    router: Router[str] = Router()
    for template in added:
        router.add("GET", template, template)
    found = router.match(path)
    assert (None if found is None else (found[0].by_method["GET"], found[1])) == naive(added, path)


@given(st.text(min_size=1).filter(lambda text: text not in (".", "..")))
def test_any_text_survives_percent_encoding(value: str) -> None:
    try:
        encoded = quote(value, safe="")
    except UnicodeEncodeError:
        return
    found = shop().match(f"/v1/products/{encoded}")
    assert found is not None
    assert found[1] == [value] or value == "featured"
