"""An app whose one job takes its time to write a file, so that a test can kill it in the middle."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from trivet import App, File, Module, Run, Struct
from trivet.data.groups import GROUP

module = Module("numbers")
GROUPS = 40


class Number(Struct):
    value: int


async def numbers() -> AsyncIterator[Number]:
    """Yield numbers, with a pause after each group."""
    for group in range(GROUPS):
        for value in range(group * GROUP, (group + 1) * GROUP):
            yield Number(value=value)
        await asyncio.sleep(0.1)


@module.job(public=True)
async def export_numbers(ctx: Run) -> File:
    """Write all numbers."""
    return await ctx.export(numbers(), name="numbers.ndjson", total=GROUPS * GROUP)


app = App("numbers", modules=[module])
