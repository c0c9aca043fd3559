"""What a start loads, and what it leaves as it was."""

from __future__ import annotations

import gc
import subprocess
import sys

import pytest

from trivet import App, FaultyApp, Module, Read
from trivet.core.typeinfo import describe_together, info_of
from trivet.settings import load


def test_an_app_on_sqlite_starts_without_the_dialect_of_another_engine() -> None:
    code = """
import asyncio, sys
from trivet import App, Module, Write
from trivet.settings import load

module = Module("notes")

@module.command(public=True)
async def create_note(ctx: Write, text: str) -> str:
    return text

async def main():
    settings, _ = load({"TRIVET_DATABASE__URL": "sqlite://", "TRIVET_DATABASE__CREATE": "true"})
    async with App("notes", modules=[module], settings=settings):
        print(*sorted(name for name in sys.modules if name.startswith("sqlalchemy.dialects.")))

asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=100)
    assert "sqlalchemy.dialects.sqlite" in done.stdout
    assert "postgresql" not in done.stdout


@pytest.mark.parametrize("enabled", [True, False], ids=["on", "off"])
@pytest.mark.parametrize("modules", [[], None], ids=["faulty", "right"])
def test_the_collector_is_afterwards_as_it_was(enabled: bool, modules: list[Module] | None) -> None:
    module = Module("words")

    @module.query(public=True)
    async def get_word(ctx: Read) -> str:
        """Return a word."""
        return "word"

    settings, _ = load({})
    app = App("words", modules=[module] if modules is None else modules, settings=settings)
    was = gc.isenabled()
    (gc.enable if enabled else gc.disable)()
    try:
        if modules is None:
            app.build()
        else:
            with pytest.raises(FaultyApp):
                app.build()
        assert gc.isenabled() is enabled
    finally:
        (gc.enable if was else gc.disable)()


def test_a_type_that_can_not_be_described_does_not_hide_what_is_wrong_with_it() -> None:
    describe_together([int, dict[int, "Unknown"], {}])  # type: ignore[name-defined] # noqa: F821 - that is the point
    assert info_of(list[int]) == info_of(list[int])
    with pytest.raises(TypeError, match="Unknown"):
        info_of(dict[int, "Unknown"])  # type: ignore[name-defined] # noqa: F821 - that is the point
