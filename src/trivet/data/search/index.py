"""What the index of a declared search is, and what an engine has to do for one.

An index is named by what it is made of. So a declaration that changed is another index, which is made beside the old
one: the release before goes on asking the old one until it is gone.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Any, Protocol

import sqlalchemy as sa

from trivet.core.shape import Struct
from trivet.data.database import Dialect
from trivet.data.search.words import Words

NAMED = re.compile(r"(_search_[0-9a-f]{8})(?:_[a-z]+)?$")
"""How names of what belongs to an index end."""

WEIGHTS = (1.0, 0.4, 0.2, 0.1)
"""What a word is worth in a field of each level."""


class Searched(Struct):
    """Which words of which rows an index holds.

    Attributes:
        table: The table as SQL has it.
        schema: Its schema, where it has one.
        key: The columns that tell rows apart.
        levels: The columns with the words, the most telling first.
        language: Whose endings are cut off.
    """

    table: str
    schema: str | None
    key: tuple[str, ...]
    levels: tuple[tuple[str, ...], ...]
    language: str

    @property
    def columns(self) -> list[str]:
        """The columns with the words."""
        return [column for level in self.levels for column in level]

    @property
    def weights(self) -> list[float]:
        """What a word is worth in each of `columns`."""
        return [weight for level, weight in zip(self.levels, WEIGHTS, strict=False) for _ in level]

    @property
    def name(self) -> str:
        """The name of the index, and the beginning of the names of its parts."""
        made_of = (self.table, self.key, self.levels, self.language)
        digest = hashlib.sha256(repr(made_of).encode()).hexdigest()[:8]
        return f"{self.table.encode()[:40].decode(errors='ignore')}_search_{digest}"


class SearchIndex(Protocol):
    """The index of one table on one engine; it is in step with the rows inside of every transaction, whoever writes.

    The rank of a row depends on that row and on what is asked for, on nothing else. Statistics of all rows would tell
    a caller about rows that are hidden from it, and would change the order between two pages.
    """

    searched: Searched

    @property
    def parts(self) -> set[str]:
        """What has to be there, as the engine's ``THERE`` lists it."""
        ...

    def create(self, *, aside: bool = False) -> list[str]:
        """Return the statements that make it anew from the rows that are there, whatever is left of it.

        Args:
            aside: Whether nobody may be kept from writing meanwhile; then they run outside of a transaction.
        """
        ...

    def source(self, table: sa.Table) -> sa.FromClause:
        """Return what is selected from: the table, and what is joined with it."""
        ...

    def matches(self, table: sa.Table, asked: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
        """Return the condition on rows that have what is asked for, which the index serves."""
        ...

    def rank(self, table: sa.Table, asked: sa.ColumnElement[Any]) -> sa.ColumnElement[float]:
        """Return how well a row fits what is asked for: the higher, the better."""
        ...

    def asked(self, words: Words) -> str:
        """Return what is asked for, as the one value that a statement takes; something is wanted."""
        ...


def index_of(searched: Searched, dialect: Dialect) -> SearchIndex:
    """Return the index on an engine."""
    if dialect == "postgresql":
        from trivet.data.search.postgresql import PostgresIndex

        return PostgresIndex(searched)
    from trivet.data.search.sqlite import SqliteIndex

    return SqliteIndex(searched)


def dropped(name: str, schema: str | None, dialect: Dialect, *, aside: bool) -> list[str]:
    """Return the statements that remove an index, or what is left of it, by its name."""
    if dialect == "postgresql":
        from trivet.data.search.postgresql import dropped as on_postgresql

        return on_postgresql(name, schema, aside=aside)
    from trivet.data.search.sqlite import dropped as on_sqlite

    return on_sqlite(name)


INFO = "search"
"""Under which a `sqlalchemy.Table` has its index in its ``info``."""


def search_of(table: sa.Table) -> SearchIndex | None:
    """Return the index of a table that has one."""
    found: SearchIndex | None = table.info.get(INFO)
    return found


def searches_of(tables: Sequence[sa.Table]) -> list[SearchIndex]:
    """Return the indexes of those tables that have one."""
    return [index for table in tables if (index := search_of(table)) is not None]


def quoted(name: str) -> str:
    """Return a name as both engines take any."""
    escaped = name.replace('"', '""')
    return f'"{escaped}"'
