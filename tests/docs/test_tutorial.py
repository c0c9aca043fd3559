"""The tutorial works: its files are written and its commands are run, in the order of the page."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import httpx2
import pytest

from tests.docs.console import Block, blocks, commands, curl
from trivet.testing import serve

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")


@pytest.mark.slow
async def test_the_tutorial_does_what_it_says(tmp_path: Path) -> None:
    project = tmp_path / "desk"
    for block in blocks(PAGE):
        if block.language == "python":
            assert block.title is not None
            file = project / block.title
            file.parent.mkdir(exist_ok=True)
            file.write_text(block.body, encoding="utf-8")
        elif block.language == "console":
            await follow(block, project)


async def follow(block: Block, project: Path) -> None:
    """Run the commands of a block; what asks the server asks one that serves the project as it is now."""
    shown = list(commands(block))
    for each in shown:
        if not each.command.startswith(("curl", "cd")):
            text = await run(each.command, project)
            assert each.is_printed_by(text), f"{each.command}\n{text}"
    asked = [each for each in shown if each.command.startswith("curl")]
    if not asked:
        return
    environ = {"TRIVET_DATABASE__URL": f"sqlite:///{project}/desk.db"}
    with serve("desk.app:app", app_dir=project, command="dev", arguments=("--no-reload",), environ=environ) as served:
        async with httpx2.AsyncClient(base_url=served.url, timeout=30) as client:
            for each in asked:
                answer = await curl(client, each.command)
                assert each.is_printed_by(answer), f"{each.command}\n{answer}"


async def run(command: str, project: Path) -> str:
    """Run a command in the project, which the first command creates."""
    words = [sys.executable, "-m", *command.split()]
    process = await asyncio.create_subprocess_exec(
        *words,
        cwd=project if project.exists() else project.parent,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    return output.decode()
