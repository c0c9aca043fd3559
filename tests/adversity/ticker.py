"""A small application for adverse conditions: what is ticked is stored and told to everybody who watches."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated
from uuid import UUID

from trivet import App, Event, Meta, Module, Read, Struct, Write

ticker = Module("ticker")


class Ticked(Event):
    """A clock ticked; its ticks are numbered."""

    clock: UUID
    number: int
    filling: str = ""


class Other(Event):
    """Something else happened, which nobody watches."""

    clock: UUID


class Tick(Struct):
    """One tick as it is asked for."""

    clock: UUID
    number: Annotated[int, Meta(ge=0)]


class Ticks(Struct):
    """How many ticks were stored."""

    count: int


@ticker.command(public=True)
async def record_ticks(
    ctx: Write,
    ticks: Annotated[tuple[Tick, ...], Meta(max_length=1000)],
    filling: Annotated[int, Meta(ge=0, le=1_000_000)] = 0,
    others: Annotated[int, Meta(ge=0, le=1000)] = 0,
) -> Ticks:
    """Store ticks, each with so many letters, and so many events that nobody watches."""
    for tick in ticks:
        ctx.emit(Ticked(clock=tick.clock, number=tick.number, filling="x" * filling))
    for _ in range(others):
        ctx.emit(Other(clock=UUID(int=0)))
    return Ticks(count=len(ticks))


@ticker.query(public=True)
async def count_ticks(ctx: Read, size: Annotated[int, Meta(ge=0, le=10_000_000)] = 0) -> str:
    """Return so many letters."""
    return "x" * size


@ticker.stream(public=True)
async def watch_ticks(
    ctx: Read, clock: UUID | None = None, twice: bool = False, fails: int = -1
) -> AsyncIterator[Ticked]:
    """Watch ticks as they are committed."""
    async for tick in ctx.follow(Ticked):
        if tick.number == fails:
            raise RuntimeError("the secret is sesame")
        if clock is None or tick.clock == clock:
            yield tick
            if twice:
                yield tick


@ticker.stream(public=True, idle=1.0)
async def watch_briefly(ctx: Read) -> AsyncIterator[Ticked]:
    """Watch ticks until none came for a second."""
    async for tick in ctx.follow(Ticked):
        yield tick


@ticker.stream(public=True, age=2.0)
async def watch_young(ctx: Read) -> AsyncIterator[Ticked]:
    """Watch ticks for two seconds."""
    async for tick in ctx.follow(Ticked):
        yield tick


app = App("ticker", modules=[ticker])
