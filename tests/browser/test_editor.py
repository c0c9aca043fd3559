"""The editor for GraphQL in a real browser: accessible, usable with a keyboard, and asking nobody else."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect
from tools import graphiql

from tests.browser.test_pages import SCREENS, axe, opened
from trivet.testing import Served

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

__all__ = ["axe"]  # a fixture

KNOWN = {
    "nested-interactive": 'role="tab"',  # GraphiQL's tabs hold what closes them; the keyboard reaches both
    "scrollable-region-focusable": "CodeMirror-scroll",  # the text area beside it has the focus, and scrolls it
}
"""What axe finds in GraphiQL itself, by rule and by what the element says."""


def write(page: Page, document: str) -> None:
    page.goto("/graphql")
    page.get_by_label("Document", exact=True).focus()
    page.keyboard.press("Control+A")
    page.keyboard.insert_text(document)
    page.keyboard.press("Control+Enter")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("screen", SCREENS)
def test_axe_finds_nothing_in_the_editor(
    screen: str, scheme: Any, browser: Browser, served: Served, axe: str, tmp_path: Any
) -> None:
    with opened(browser, served, viewport=SCREENS[screen], color_scheme=scheme, bypass_csp=True) as (page, wrong):
        write(page, "{ products(first: 2) { nodes { name } } }")
        expect(page.locator(".graphiql-response")).to_contain_text('"products"')
        page.get_by_role("button", name="Show Documentation Explorer").click()
        expect(page.get_by_role("link", name="ProductConnection")).to_be_visible()
        page.evaluate(axe)
        found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        page.screenshot(path=tmp_path / f"editor-{screen}-{scheme}.png")
        seen = [(v["id"], n["html"]) for v in found["violations"] for n in v["nodes"]]
        assert [(rule, html) for rule, html in seen if KNOWN.get(rule, "nothing") not in html] == []
        assert found["passes"], "axe looked at nothing"
        assert wrong == []


def test_a_query_is_written_and_run_with_the_keyboard_alone_under_a_strict_policy(
    browser: Browser, served: Served
) -> None:
    with opened(browser, served) as (page, wrong):
        answer = page.goto("/graphql")
        assert answer is not None
        policy = answer.headers["content-security-policy"]
        assert "script-src 'self';" in policy
        assert "unsafe-eval" not in policy
        write(page, "{ customers(first: 1) { nodes { id } } }")
        expect(page.locator(".graphiql-response")).to_contain_text('"customers"')
        assert wrong == []


def test_the_schema_completes_what_is_written(browser: Browser, served: Served) -> None:
    with opened(browser, served) as (page, wrong):
        write(page, "{ __typename }")
        expect(page.locator(".graphiql-response")).to_contain_text('"Query"')
        page.keyboard.press("Control+A")
        page.keyboard.type("{ produc", delay=20)
        expect(page.locator(".CodeMirror-hints")).to_contain_text("productsByIds")
        assert wrong == []


def test_a_subscription_shows_what_comes_until_it_is_stopped(browser: Browser, served: Served) -> None:
    with opened(browser, served) as (page, wrong):
        write(page, "subscription { watchOrders { orderId status } }")
        stop = page.get_by_role("button", name="Stop query")
        expect(stop).to_be_visible()
        change = page.evaluate(CHANGE)
        expect(page.locator(".graphiql-response")).to_contain_text(change)
        stop.click()
        expect(page.get_by_role("button", name="Execute query")).to_be_visible()
        assert wrong == []


CHANGE = """async () => {
    const ask = async (query, variables) => (await (await fetch("/graphql", {
        method: "POST", headers: {"content-type": "application/json"}, body: JSON.stringify({query, variables}),
    })).json()).data;
    const {customers} = await ask("{ customers(first: 1) { nodes { id } } }");
    const {products} = await ask("{ products(first: 1) { nodes { id } } }");
    const {createOrder} = await ask("mutation ($order: NewOrderInput!) { createOrder(order: $order) { id } }", {
        order: {customerId: customers.nodes[0].id, lines: [{productId: products.nodes[0].id, quantity: 1}]},
    });
    return createOrder.id;
}"""
"""Places an order, and returns its id."""


def test_what_is_served_is_what_the_packages_have() -> None:
    assert {path.name: path.read_bytes() for path in graphiql.TARGET.iterdir()} == graphiql.made()
