"""The pages in a real browser: accessible, readable on a phone, usable with a keyboard, and asking nobody else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect
from tools import node

from tests.browser.chromium import PACKAGES
from trivet.testing import Served

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

WIDE = {"width": 1440, "height": 900}
PHONE = {"width": 390, "height": 844}
SCREENS = {"wide": WIDE, "phone": PHONE}
PAGES = (
    "/",
    "/docs",
    "/docs/catalog.create_product",
    "/docs/catalog.list_products",
    "/docs/orders.create_order",
    "/docs/orders.watch_orders",
    "/docs/orders.export_orders",
    "/docs/schemas/Order",
    "/docs/schemas/OrderStatus",
    "/problems",
    "/problems/out-of-stock",
    "/problems/invalid-argument",
)


@contextmanager
def opened(browser: Browser, served: Served, **options: Any) -> Iterator[tuple[Page, list[str]]]:
    """Open a window; yield it with everything that went wrong in it: messages, errors, requests to others."""
    context = browser.new_context(base_url=served.url, **options)
    page = context.new_page()
    wrong: list[str] = []
    page.on("console", lambda message: wrong.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
    own = urlsplit(served.url).netloc
    page.on(
        "request",
        lambda request: (
            None
            if urlsplit(request.url).netloc == own or request.url.startswith("data:")
            else wrong.append(f"request: {request.url}")
        ),
    )
    try:
        yield page, wrong
    finally:
        context.close()


@pytest.fixture(scope="session")
def axe() -> str:
    """The accessibility engine, as a script."""
    return (node.install(PACKAGES) / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("screen", SCREENS)
def test_axe_finds_nothing_on_any_page(screen: str, scheme: Any, browser: Browser, served: Served, axe: str) -> None:
    with opened(browser, served, viewport=SCREENS[screen], color_scheme=scheme, bypass_csp=True) as (page, wrong):
        for address in PAGES:
            page.goto(address)
            page.evaluate("for (const one of document.querySelectorAll('main details')) one.open = true")
            page.evaluate(axe)
            found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
            seen = [
                f"{address} {v['id']}: {n['html']} {n['failureSummary']}"
                for v in found["violations"]
                for n in v["nodes"]
            ]
            assert seen == []
            assert found["passes"], "axe looked at nothing"
        assert wrong == []


def test_axe_finds_what_is_planted(browser: Browser, served: Served, axe: str) -> None:
    with opened(browser, served, bypass_csp=True) as (page, _):
        page.goto("/docs")
        page.evaluate("document.querySelector('h1').style.color = '#ddd'")
        page.evaluate("document.querySelector('#find').labels[0].remove()")
        page.evaluate(axe)
        found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    assert {"color-contrast", "label"} <= {violation["id"] for violation in found["violations"]}


def test_no_page_asks_anybody_else_or_breaks_its_own_policy(browser: Browser, served: Served) -> None:
    with opened(browser, served) as (page, wrong):
        for address in PAGES:
            answer = page.goto(address)
            assert answer is not None
            assert answer.ok
            assert "'unsafe" not in answer.headers["content-security-policy"]
            expect(page.locator("h1")).to_have_count(1)
        assert wrong == []


def test_whatever_a_page_tried_the_browser_would_not_let_it(browser: Browser, served: Served) -> None:
    attempts = """() => Promise.all([
        fetch("http://127.0.0.1:9/").then(() => "fetched", () => "refused"),
        new Promise((done) => {
            const image = new Image();
            image.onload = () => done("shown");
            image.onerror = () => done("refused");
            image.src = "http://127.0.0.1:9/a.png";
        }),
        new Promise((done) => {
            const script = document.createElement("script");
            script.textContent = "window.ran = true";
            document.body.append(script);
            done(window.ran ? "ran" : "refused");
        }),
    ])"""
    with opened(browser, served) as (page, wrong):
        page.goto("/docs")
        assert page.evaluate(attempts) == ["refused"] * 3
        assert sum("Content Security Policy" in said for said in wrong) >= 3


@pytest.mark.parametrize("address", PAGES)
def test_nothing_is_wider_than_a_phone(address: str, browser: Browser, served: Served) -> None:
    with opened(browser, served, viewport={"width": 320, "height": 640}) as (page, wrong):
        page.goto(address)
        page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
        assert page.evaluate("document.documentElement.scrollWidth") <= 320
        assert page.evaluate("[...document.querySelectorAll('nav')].every(one => one.scrollWidth <= one.clientWidth)")
        assert wrong == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_follow_the_colours_of_the_machine(scheme: Any, browser: Browser, served: Served) -> None:
    with opened(browser, served, color_scheme=scheme) as (page, _):
        page.goto("/")
        paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
        brightness = sum(map(int, paper.removeprefix("rgb(").removesuffix(")").split(",")))
        assert (brightness > 600) == (scheme == "light")


def test_without_scripts_everything_can_be_read(browser: Browser, served: Served) -> None:
    with opened(browser, served, java_script_enabled=False) as (page, wrong):
        page.goto("/docs/orders.create_order")
        expect(page.get_by_role("heading", level=1)).to_contain_text("Place an order")
        expect(page.get_by_text("/v1/orders", exact=True).first).to_be_visible()
        expect(page.get_by_role("region", name="Request", exact=True)).to_contain_text("curl -X POST")
        expect(page.locator("form.try")).to_be_hidden()
        page.goto("/docs")
        expect(page.locator("#find")).to_be_hidden()
        expect(page.get_by_role("link", name="Place an order")).to_be_visible()
        assert wrong == []


def test_a_keyboard_reaches_the_content_at_once_and_then_everything(browser: Browser, served: Served) -> None:
    with opened(browser, served, viewport=WIDE) as (page, _):
        page.goto("/docs/catalog.create_product")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
        expect(page.get_by_role("link", name="Skip to the content")).to_be_in_viewport()
        page.keyboard.press("Enter")
        assert page.url.endswith("#content")
        reached = set()
        for _ in range(80):
            page.keyboard.press("Tab")
            reached.add(
                page.evaluate("`${document.activeElement.tagName} ${document.activeElement.textContent.trim()}`")
            )
        assert {"BUTTON Send", "SUMMARY Members of MoneyInput", "BUTTON Copy"} <= reached
        assert any(one.startswith("PRE curl") for one in reached)


def test_words_find_operations(browser: Browser, served: Served) -> None:
    with opened(browser, served) as (page, wrong):
        page.goto("/docs")
        page.get_by_label("Find an operation").fill("cancel order")
        rows = page.locator("main .ops li:visible")
        expect(rows).to_have_count(1)
        expect(page.get_by_role("status")).to_contain_text(re.compile(r"^1 of \d\d$"))
        expect(page.get_by_role("heading", name="payments")).to_be_hidden()
        rows.get_by_role("link").click()
        expect(page.get_by_role("heading", level=1)).to_contain_text("Cancel an order")
        assert wrong == []


def test_the_command_follows_the_form(browser: Browser, served: Served) -> None:
    with opened(browser, served) as (page, wrong):
        page.goto("/docs/catalog.list_products")
        page.get_by_label("text", exact=True).fill("it's oak & pine")
        page.get_by_label("page_size").fill("2")
        command = page.get_by_role("region", name="Request", exact=True)
        expect(command).to_contain_text(f"curl '{served.url}/v1/products?page_size=2&text=it'\\''s%20oak%20%26%20pine'")
        assert wrong == []


def test_requests_can_be_sent_from_the_page(browser: Browser, served: Served) -> None:
    with opened(browser, served) as (page, wrong):
        page.goto("/docs/catalog.list_products")
        page.get_by_label("page_size").fill("1")
        page.get_by_role("button", name="Send").click()
        form = page.locator("form.try")
        expect(form.get_by_role("status")).to_contain_text("200 OK in")
        expect(form.get_by_role("region", name="Body of the answer")).to_contain_text('"next_page_token"')
        form.get_by_text("Header fields").click()
        expect(form.get_by_role("region", name="Header fields")).to_contain_text("request-id:")
        assert wrong == []


def test_a_refused_request_shows_its_problem(browser: Browser, served: Served) -> None:
    with opened(browser, served) as (page, _):
        page.goto("/docs/catalog.create_product")
        page.get_by_label("Body", exact=True).fill('{"sku": ""}')
        page.get_by_role("button", name="Send").click()
        expect(page.locator("form.try").get_by_role("status")).to_contain_text("400 Bad Request")
        expect(page.get_by_role("region", name="Body of the answer")).to_contain_text("#/sku")


def test_a_stream_is_shown_as_it_comes_and_can_be_stopped(browser: Browser, served: Served) -> None:
    with opened(browser, served) as (page, _):
        page.goto("/docs/orders.watch_orders")
        page.get_by_role("button", name="Send").click()
        status = page.locator("form.try").get_by_role("status")
        page.get_by_role("button", name="Stop").wait_for()
        customer = page.request.get("/v1/customers?page_size=1").json()["items"][0]["id"]
        product = page.request.get("/v1/products?page_size=1").json()["items"][0]["id"]
        order = {"customer_id": customer, "lines": [{"product_id": product, "quantity": 1}]}
        expect(status).to_contain_text("200", timeout=60_000)
        assert page.request.post("/v1/orders", data=order).status == 201
        expect(page.get_by_role("region", name="Body of the answer")).to_contain_text("PENDING", timeout=60_000)
        page.get_by_role("button", name="Stop").click()
        expect(page.get_by_role("button", name="Send")).to_be_visible()
        expect(status).to_contain_text("Stopped.")
