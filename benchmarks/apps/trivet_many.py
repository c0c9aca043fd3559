"""Applications of any size, for what should not depend on size: five operations for each entity, ten entities a module.

The modules are generated as source, as a team would have written them, so that everything that an application does at
its start is done here too.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from string import Template
from types import ModuleType
from typing import TYPE_CHECKING

from trivet.core.module import Module

if TYPE_CHECKING:
    from trivet import App

PER_ENTITY = 5
ENTITIES_PER_MODULE = 10

HEAD = """
from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

from trivet import PUBLIC, Meta, Module, Page, PageRequest, Patch, Read, Struct, Table, Write

SOME_DAY = datetime(2026, 1, 1, tzinfo=UTC)
module = Module("part$part", owner="benchmarks")
"""

ENTITY = '''
class New$noun(Struct):
    """What a client says of a $noun."""

    name: Annotated[str, Meta(min_length=1, max_length=80)]
    size: Annotated[int, Meta(ge=0, le=1_000_000)] = 0

class $noun(Struct):
    """A $noun."""

    id: UUID
    name: Annotated[str, Meta(min_length=1, max_length=80)]
    size: Annotated[int, Meta(ge=0, le=1_000_000)]
    version: int
    create_time: datetime

@module.query(public=True)
async def get_$name(ctx: Read, id: UUID) -> $noun:
    """Return one $noun."""
    return $noun(id=id, name="one", size=1, version=1, create_time=SOME_DAY)

@module.query(public=True)
async def list_${name}s(ctx: Read, page: PageRequest) -> Page[$noun]:
    """List every $noun."""
    return Page(items=[])

@module.command(public=True)
async def create_$name(ctx: Write, new: New$noun) -> $noun:
    """Add a $noun."""
    return $noun(id=ctx.new_id(), name=new.name, size=new.size, version=1, create_time=ctx.now)

@module.command(public=True)
async def update_$name(ctx: Write, id: UUID, changes: Patch[New$noun]) -> $noun:
    """Change a $noun."""
    return changes.apply($noun(id=id, name="one", size=1, version=1, create_time=SOME_DAY))

@module.command(public=True)
async def delete_$name(ctx: Write, id: UUID) -> None:
    """Remove a $noun."""
'''

TABLE = """
${name}s = Table(module, $noun, key=lambda row: row.id, readable=PUBLIC, writable=PUBLIC)

@${name}s.listing(order="-create_time")
def by_$name(row: $noun, name: str | None = None) -> bool:
    return row.name == name
"""


def entities(operations: int) -> int:
    """Return how many entities so many operations are about."""
    return operations // PER_ENTITY


def path(entity: int) -> str:
    """Return the path of an item of the entity with that number."""
    return f"/v1/thing{entity}s/0198c0de-0000-7000-8000-000000000001"


def declare(operations: int, *, tables: bool = False) -> list[Module]:
    """Return modules with so many operations, and with a table for each entity where wanted."""
    modules = []
    count = entities(operations)
    for part, start in enumerate(range(0, count, ENTITIES_PER_MODULE)):
        source = [Template(HEAD).substitute(part=part)]
        for number in range(start, min(start + ENTITIES_PER_MODULE, count)):
            text = ENTITY + TABLE if tables else ENTITY
            source.append(Template(text).substitute(noun=f"Thing{number}", name=f"thing{number}"))
        written = sys.modules[f"benchmarks_part{part}"] = ModuleType(f"benchmarks_part{part}")
        code = compile("".join(source), f"<{written.__name__}>", "exec", dont_inherit=True)
        exec(code, written.__dict__)
        modules.append(written.__dict__["module"])
    return modules


def compose(modules: Sequence[Module]) -> App:
    """Return an application of the modules; it has a new database of its own."""
    from trivet import App
    from trivet.settings import load

    settings, _ = load({"TRIVET_DATABASE__URL": "sqlite://", "TRIVET_DATABASE__CREATE": "true"})
    return App("many", modules=modules, settings=settings)


def build(operations: int) -> App:
    """Return an application with so many operations."""
    return compose(declare(operations))
