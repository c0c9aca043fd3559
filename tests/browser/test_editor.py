"""The editor for GraphQL in a real browser: accessible, usable with a keyboard, and asking nobody else."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.test_pages import SCREENS, axe, opened
from trivet.testing import Served

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

__all__ = ["axe"]  # a fixture

QUERY = "{ products(first: 2) { nodes { name } } }"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("screen", SCREENS)
def test_axe_finds_nothing_in_the_editor(
    screen: str, scheme: Any, browser: Browser, served: Served, axe: str, tmp_path: Any
) -> None:
    with opened(browser, served, viewport=SCREENS[screen], color_scheme=scheme, bypass_csp=True) as (page, wrong):
        page.goto("/graphql")
        page.get_by_role("button", name="Product", exact=True).click()
        page.locator("#query").fill(QUERY)
        page.get_by_role("button", name="Run").click()
        expect(page.locator("#answer")).to_contain_text('"products"')
        page.evaluate(axe)
        found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        page.screenshot(path=tmp_path / f"editor-{screen}-{scheme}.png")
        assert [f"{v['id']}: {n['html']}" for v in found["violations"] for n in v["nodes"]] == []
        assert found["passes"], "axe looked at nothing"
        assert wrong == []


def test_a_query_is_written_and_run_with_the_keyboard_alone(browser: Browser, served: Served) -> None:
    with opened(browser, served) as (page, wrong):
        answer = page.goto("/graphql")
        assert answer is not None
        assert "connect-src 'self'" in answer.headers["content-security-policy"]
        page.get_by_label("Document").focus()
        page.keyboard.press("Control+A")
        page.keyboard.insert_text("{ customers(first: 1) { nodes { id } } }")
        page.keyboard.press("Control+Enter")
        expect(page.locator("#answer")).to_contain_text('"customers"')
        expect(page.locator("#status")).to_contain_text("200")
        page.keyboard.press("Shift+Tab")  # Tab itself is for the text
        expect(page.locator("#query")).not_to_be_focused()
        assert wrong == []
