"""A small application with a read model: how often each word was said, kept up to date by events."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated

from tests.postgres import empty_database
from trivet import (
    PUBLIC,
    App,
    Event,
    Fill,
    Meta,
    Module,
    Page,
    PageRequest,
    Read,
    Struct,
    Table,
    Unavailable,
    View,
    Write,
)
from trivet.settings import DatabaseSettings, Url
from trivet.testing import Client
from trivet.testing.app import settings_for_tests

Text = Annotated[str, Meta(min_length=1, max_length=200)]

ENGINES = ("sqlite", "postgresql")


@contextmanager
def empty(engine: str, directory: Path) -> Iterator[str]:
    """Give the URL of an empty database of an engine."""
    if engine == "sqlite":
        yield f"sqlite:///{directory}/views.db"
    else:
        with empty_database(17) as url:
            yield url


class Saying(Struct):
    """Something that was said."""

    id: Text
    text: Text


class WordCount(Struct):
    """How often a word was said."""

    word: Text
    times: int


class Said(Event):
    """Something was said."""

    saying: Text
    text: Text


class Counting:
    """The module, its view, and what can be broken about it."""

    def __init__(self, *, source: bool = True) -> None:
        self.module = module = Module("speech")
        self.broken = False
        self.arrived = asyncio.Event()
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.sayings = sayings = Table(module, Saying, key=lambda s: s.id, readable=PUBLIC, writable=PUBLIC)
        self.counts = counts = View(module, WordCount, key=lambda c: c.word, readable=PUBLIC)

        @sayings.listing(order="id")
        def every(s: Saying) -> bool:
            return s.id == s.id

        @counts.listing(order=("-times", "word"))
        def most(c: WordCount) -> bool:
            return c.times == c.times

        @counts.on(Said)
        async def count_words(ctx: Fill, said: Said) -> None:
            if self.broken:
                raise Unavailable
            for word, times in sorted(Counter(said.text.split()).items()):
                await counts.change(ctx, word, partial(more_of, word, times))

        if source:

            @counts.source
            async def all_counts(ctx: Read) -> AsyncIterator[WordCount]:
                found: Counter[str] = Counter()
                async for saying in sayings.stream(ctx, every):
                    found.update(saying.text.split())
                self.arrived.set()
                await self.go_on.wait()
                for word, times in found.items():
                    yield WordCount(word=word, times=times)

        @module.command(public=True)
        async def say(ctx: Write, id: Text, text: Text) -> None:
            """Say something."""
            await sayings.insert(ctx, Saying(id=id, text=text))
            ctx.emit(Said(saying=id, text=text))

        @module.command(public=True)
        async def whisper(ctx: Write, id: Text, text: Text) -> None:
            """Say something of which no event tells."""
            await sayings.insert(ctx, Saying(id=id, text=text))

        @module.query(public=True)
        async def get_word_count(ctx: Read, id: Text) -> WordCount:
            """Return how often a word was said."""
            return await counts.get(ctx, id)

        @module.query(public=True)
        async def list_word_counts(ctx: Read, page: PageRequest) -> Page[WordCount]:
            """List the words, the most frequent first."""
            return await counts.page(ctx, most, page)

        @module.query(public=True)
        async def list_sayings(ctx: Read, page: PageRequest) -> Page[Saying]:
            """List what was said."""
            return await sayings.page(ctx, every, page)

        self.say, self.whisper, self.list_word_counts = say, whisper, list_word_counts

    def app(self, url: str) -> App:
        database = DatabaseSettings(url=Url(url), create=True)
        return App("speech", modules=[self.module], settings=settings_for_tests(database=database))

    async def found(self, client: Client) -> Mapping[str, int]:
        """Return how often each word was said, as callers see it."""
        counts: dict[str, int] = {}
        token = ""
        while True:
            more = f"&page_token={token}" if token else ""
            body = (await client.get(f"/v1/word-counts?page_size=100{more}")).json()
            counts |= {each["word"]: each["times"] for each in body["items"]}
            token = body.get("next_page_token", "")
            if not token:
                return counts


def more_of(word: str, times: int, old: WordCount | None) -> WordCount:
    return WordCount(word=word, times=times + (0 if old is None else old.times))


@asynccontextmanager
async def speaking(counting: Counting, url: str) -> AsyncIterator[Client]:
    """Serve it in this process."""
    app = counting.app(url)
    async with Client(app, settings=app.settings) as client:
        yield client
