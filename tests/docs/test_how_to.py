"""The how-to guides work: their files are written into one directory, and their tests pass there."""

from __future__ import annotations

import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.docs.console import blocks, commands
from tests.postgres import empty_database
from trivet.testing import serve

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs" / "how-to").glob("*.md"))
TESTED = [page for page in PAGES if "def test_" in page.read_text(encoding="utf-8")]


@pytest.mark.parametrize("page", TESTED, ids=lambda page: page.stem)
def test_the_code_of_a_guide_passes_its_tests(page: Path, tmp_path: Path) -> None:
    for block in blocks(page.read_text(encoding="utf-8")):
        if block.language == "python":
            assert block.title is not None
            (tmp_path / block.title).write_text(block.body, encoding="utf-8")
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\nfilterwarnings = error\n"
    )
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


async def test_production_answers_as_shown() -> None:
    page = (ROOT / "docs" / "how-to" / "run-in-production.md").read_text(encoding="utf-8")
    with ExitStack() as stack:
        database = stack.enter_context(empty_database())
        environ = {"TRIVET_SERVER__WORKERS": "2", "TRIVET_DATABASE__URL": database}
        served = stack.enter_context(serve("shop.app:app", app_dir=ROOT / "examples", environ=environ))
        async with httpx2.AsyncClient(timeout=30) as client:
            await client.get(f"{served.url}/v1/products?page_size=1")
            for block in blocks(page):
                for shown in commands(block) if block.language == "console" else ():
                    path = shown.command.removeprefix("curl localhost:9000")
                    answer = (await client.get(f"{served.management_url}{path}")).text
                    assert shown.is_printed_by(answer), f"{shown.command}\n{answer}"
            metrics = (await client.get(f"{served.management_url}/metrics")).text
    for name in re.findall(r"`(trivet_\w+)`", page):
        assert f"# TYPE {name} " in metrics


def test_the_client_that_loses_no_update_loses_none() -> None:
    page = (ROOT / "docs" / "how-to" / "change-without-losing-updates.md").read_text(encoding="utf-8")
    [block] = [block for block in blocks(page) if "def add_to_stock" in block.body]
    written: dict[str, Any] = {"httpx2": httpx2}
    exec(block.body, written)
    environ = {"TRIVET_ENVIRONMENT": "development"}
    with (
        serve("shop.app:app", app_dir=ROOT / "examples", environ=environ) as served,
        httpx2.Client(base_url=served.url, timeout=60) as client,
        ThreadPoolExecutor(4) as threads,
    ):
        product = client.get("/v1/products?page_size=1").json()["items"][0]
        path = f"/v1/products/{product['id']}"
        list(threads.map(lambda _: written["add_to_stock"](client, path, 2), range(12)))
        assert client.get(path).json()["stock"] == product["stock"] + 24
