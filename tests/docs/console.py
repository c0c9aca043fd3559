"""Commands and code as documentation shows them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import NamedTuple

import httpx2

FENCE = re.compile(r'^```(?P<language>\w+)(?: title="(?P<title>[^"]+)")?\n(?P<body>.*?)^```', re.DOTALL | re.MULTILINE)


class Block(NamedTuple):
    """A fenced block."""

    language: str
    title: str | None
    body: str


class Shown(NamedTuple):
    """A command, and what the page says that it prints."""

    command: str
    output: str

    def is_printed_by(self, text: str) -> bool:
        """Whether the text is what is shown; an ellipsis stands for anything."""
        pattern = re.escape(self.output.strip()).replace("…", ".*")
        return re.fullmatch(pattern, text.strip(), re.DOTALL) is not None


def blocks(page: str) -> Iterator[Block]:
    """Yield the fenced blocks of a page."""
    for match in FENCE.finditer(page):
        yield Block(match["language"], match["title"], match["body"])


def commands(block: Block) -> Iterator[Shown]:
    """Yield the commands of a console block."""
    for part in re.split(r"^\$ ", block.body, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        yield Shown(command, output)


async def curl(client: httpx2.AsyncClient, command: str) -> str:
    """Do what curl would do."""
    words = shlex.split(command)
    assert words[0] == "curl"
    path = words[1].removeprefix("localhost:8000")
    options = dict(zip(words[2::2], words[3::2], strict=True))
    if "-d" not in options:
        return (await client.get(path)).text
    name, _, value = options["-H"].partition(": ")
    return (await client.post(path, content=options["-d"], headers={name: value})).text
