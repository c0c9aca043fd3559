"""A browser and a running shop, for everything that only a browser can tell."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from tests.browser.chromium import find
from tests.shop.serving import shop
from trivet.testing import Served

STARTED_WITH = ("--no-sandbox", "--no-zygote", "--headless=shell", "--disable-gpu")
"""No sandbox of its own: it visits nothing but our pages, and containers and plain users can not give it one."""


PATIENCE_MS = 60_000
"""How long what a page is to show may take: on a busy machine much longer than Playwright waits."""

expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium; while it is open this thread has an event loop that runs, so it is closed before other tests come."""
    found = find()
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=found.path, env={**os.environ, **found.environ}, args=[*STARTED_WITH]
        )
        yield started
        started.close()


@pytest.fixture(scope="session")
def served() -> Iterator[Served]:
    """The shop as the developer meets it."""
    with shop() as running:
        yield running
