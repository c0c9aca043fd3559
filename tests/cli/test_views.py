"""``trivet views``: which there are and how old, and one made anew by a process of its own while others serve."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from click.testing import CliRunner, Result

from tests.views.counting import ENGINES, Counting, empty, speaking
from trivet.cli import command

APP = """
from tests.views.counting import Counting

app = Counting().app({url!r})
"""


@pytest.fixture(params=ENGINES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with empty(request.param, tmp_path) as url:
        yield url


async def run(url: str, directory: Path, *words: str) -> Result:
    name = f"speech_{uuid4().hex}"  # each has another one, as this process imports all of them
    (directory / f"{name}.py").write_text(APP.format(url=url))
    first, *rest = words
    arguments = ["views", first, f"{name}:app", *rest, "--app-dir", str(directory)]
    return await asyncio.to_thread(CliRunner().invoke, command, arguments, standalone_mode=False)


async def document(url: str, directory: Path, *words: str) -> Any:
    ended = await run(url, directory, *words, "--json")
    assert ended.exception is None, ended.output
    return json.loads(ended.stdout)


async def test_views_are_listed_and_rebuilt_beside_a_process_that_serves(url: str, tmp_path: Path) -> None:
    counting = Counting()
    async with speaking(counting, url) as client:
        for number in range(3):
            await client.call(counting.whisper, str(number), "quiet")
        [listed] = await document(url, tmp_path, "list")
        assert listed == {"view": "speech.word_counts", "events": ["Said"], "every": None, "source": True, "age": 0.0}
        assert await counting.found(client) == {}
        done = await document(url, tmp_path, "rebuild", "speech.word_counts")
        assert done == {"view": "speech.word_counts", "rows": 1, "events": 0}
        assert await counting.found(client) == {"quiet": 3}
        shown = await run(url, tmp_path, "rebuild", "speech.word_counts")
        assert "1 rows" in shown.output
        await client.call(counting.say, "more", "quiet")
        await client.settle()
        assert await counting.found(client) == {"quiet": 4}


async def test_a_view_that_is_not_there_is_answered_with_those_that_are(url: str, tmp_path: Path) -> None:
    ended = await run(url, tmp_path, "rebuild", "speech.nothing")
    assert ended.exception is not None
    assert "speech.word_counts" in str(getattr(ended.exception, "message", ended.exception))
