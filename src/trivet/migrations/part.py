"""Parts: whose tables are migrated together. Each module is one; the first is what the platform keeps for itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trivet.core.module import Module
from trivet.core.shape import Struct
from trivet.data.catalog import schema
from trivet.data.database import Dialect
from trivet.messaging.tables import platform_tables

if TYPE_CHECKING:
    import sqlalchemy as sa

    from trivet.data.search.index import SearchIndex

PLATFORM = "trivet"
"""The part with the outbox, its deliveries, jobs and idempotency keys."""

RECORD = "trivet_revision"
"""The table in which a part's applied revision is kept."""


class Part(Struct):
    """Tables that are migrated together.

    Attributes:
        name: Of the module, or `PLATFORM`.
        dialect: Of the engine that the revisions are for.
        directory: Where the revisions are.
        metadata: What the tables should be.
        prefix: What the names of its tables begin with where there are no schemas; empty where there are.
        guarded: Whether row-level security keeps the tenants apart in those of its tables that have them.
        searches: What their rows should be searched with.
    """

    name: str
    dialect: Dialect
    directory: Path
    metadata: sa.MetaData
    prefix: str
    guarded: bool = False
    searches: tuple[SearchIndex, ...] = ()

    @property
    def schema(self) -> str | None:
        """The schema that the tables are in, where the engine has schemas."""
        return self.name if self.dialect == "postgresql" else None

    @property
    def record(self) -> str:
        """The table that says which revision was applied."""
        return RECORD if self.schema else f"{RECORD}_{self.name}"

    @property
    def tables(self) -> list[sa.Table]:
        """The tables, in the order in which to create them."""
        return list(self.metadata.tables.values())


def parts_of(modules: Sequence[Module], dialect: Dialect, *, guarded: bool = False) -> list[Part]:
    """Return the parts that have tables, the platform's first.

    Args:
        modules: Of the app.
        dialect: Of its database.
        guarded: Whether row-level security keeps tenants apart.
    """
    own = Path(__file__).parent / "revisions" / dialect
    parts = [_part(PLATFORM, dialect, own, platform_tables(dialect), guarded)]
    for module in modules:
        found = schema([module], dialect)
        if found:
            parts.append(_part(module.name, dialect, revisions_of(module, dialect), found, guarded))
    return parts


def revisions_of(module: Module, dialect: Dialect) -> Path:
    """Return where a module's revisions are: ``migrations/MODULE/ENGINE`` beside the file that declares it."""
    return Path(module.place.file).parent / "migrations" / module.name / dialect


def _part(name: str, dialect: Dialect, directory: Path, found: Sequence[sa.Table], guarded: bool) -> Part:
    import sqlalchemy as sa

    from trivet.data.search.index import INFO, searches_of

    metadata = sa.MetaData()
    for table in found:
        place: Any = table.schema if dialect == "postgresql" else None  # which the types do not know, but the docs do
        table.to_metadata(metadata, schema=place).info.pop(INFO, None)  # which would be written into revisions
    return Part(
        name=name,
        dialect=dialect,
        directory=directory,
        metadata=metadata,
        prefix="" if dialect == "postgresql" else f"{name}_",
        guarded=guarded,
        searches=tuple(searches_of(found)),
    )
