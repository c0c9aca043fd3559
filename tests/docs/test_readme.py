"""What the README shows is what one gets: its commands are run, in order, against what it says to start."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx2
import pytest

from tests.docs.console import blocks, commands, curl
from trivet.testing import serve

ROOT = Path(__file__).resolve().parents[2]
BLOCKS = list(blocks((ROOT / "README.md").read_text(encoding="utf-8")))
PATIENCE_SECONDS = 30


async def check(url: str, containing: str) -> None:
    [block] = [block for block in BLOCKS if block.language == "console" and containing in block.body]
    async with httpx2.AsyncClient(base_url=url, timeout=PATIENCE_SECONDS) as client:
        for shown in commands(block):
            answer = await curl(client, shown.command)
            async with asyncio.timeout(PATIENCE_SECONDS):  # the money comes a moment after the order
                while "CONFIRMED" in shown.output and "PENDING" in answer:
                    await asyncio.sleep(0.05)
                    answer = await curl(client, shown.command)
            assert shown.is_printed_by(answer), f"{shown.command}\n{answer}"


@pytest.mark.parametrize("command", ["run", "dev"])
async def test_the_demo_answers_as_shown(command: str) -> None:
    environ = {"TRIVET_ENVIRONMENT": "development"}
    arguments = ("--no-reload",) if command == "dev" else ()
    with serve("shop.app:app", app_dir=ROOT / "examples", command=command, arguments=arguments, environ=environ) as it:
        await check(it.url, "/v1/products")


async def test_the_first_operation_answers_as_shown(tmp_path: Path) -> None:
    [code] = [block.body for block in BLOCKS if block.body.startswith("# notes.py")]
    (tmp_path / "notes.py").write_text(code, encoding="utf-8")
    with serve("notes:app", app_dir=tmp_path, command="dev", arguments=("--no-reload",)) as it:
        await check(it.url, "/v1/notes")
