"""Search on SQLite: an FTS5 table beside the table, kept in step by triggers.

It holds the texts once more. That is what makes it right whoever writes: an entry is replaced without knowing what it
held, and found by the row's key, which a second table leads to. The row ids of SQLite would be shorter, and change
with ``VACUUM`` and with a dump that is read back.

FTS5's own rank (BM25) depends on all rows, also on those that a caller must not see. The rank here is made of how
often a field has the words, which `highlight` shows.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from trivet.data.search.folding import LONGEST
from trivet.data.search.index import Searched, quoted
from trivet.data.search.words import Term, Words

FIRING = ("insert", "update", "delete")
"""What triggers hear of; they are called ``<index>_<what>``."""

THERE = "SELECT name FROM sqlite_schema WHERE name LIKE '%@_search@_%' ESCAPE '@'"
"""Lists the parts of indexes that there are, and more."""


class SqliteIndex:
    """The index of one table; see `SearchIndex`."""

    def __init__(self, searched: Searched) -> None:
        self.searched = searched
        self._name = quoted(searched.name)
        self._keys = quoted(f"{searched.name}_keys")
        self._fields = [f"field_{number}" for number in range(len(searched.columns))]

    def __repr__(self) -> str:
        return f"SqliteIndex({self.searched.name})"

    @property
    def tokenizer(self) -> str:
        """What makes words of a text; endings are cut off for English only."""
        return f"{'porter ' if self.searched.language == 'english' else ''}unicode61 remove_diacritics 2"

    @property
    def parts(self) -> set[str]:
        """Two tables and the triggers."""
        name = self.searched.name
        return {name, f"{name}_keys", *(f"{name}_{what}" for what in FIRING)}

    def create(self, *, aside: bool = False) -> list[str]:
        """Return the tables, their rows and the triggers; there is one writer, so nothing is made aside."""
        searched, table = self.searched, quoted(self.searched.table)
        key, fields = ", ".join(map(quoted, searched.key)), ", ".join(self._fields)
        changes = " OR ".join(
            f"old.{quoted(column)} IS NOT new.{quoted(column)}" for column in (*searched.key, *searched.columns)
        )
        add, remove = self._add("new"), self._remove("old")
        triggers = {
            "insert": ("AFTER INSERT", "", [*self._remove("new"), *add]),
            "update": (
                "AFTER UPDATE",
                f"WHEN {changes} ",
                [*remove, *self._remove("new"), *add],
            ),
            "delete": ("AFTER DELETE", "", remove),
        }
        return [
            *dropped(searched.name),
            f"CREATE TABLE {self._keys} (_row INTEGER PRIMARY KEY, {key}, UNIQUE ({key}))",
            f"CREATE VIRTUAL TABLE {self._name} USING fts5 ({fields}, columnsize=0, tokenize='{self.tokenizer}')",
            *self._add(table, f" FROM {table}"),
            *(
                f"CREATE TRIGGER {quoted(f'{searched.name}_{what}')} {when} ON {table} {only}BEGIN\n"
                f"    {'; '.join(body)};\nEND"
                for what, (when, only, body) in triggers.items()
            ),
        ]

    def _add(self, row: str, source: str = "") -> list[str]:
        """Return the statements that take in a row, or those of a source."""
        key = ", ".join(map(quoted, self.searched.key))
        values = ", ".join(f"{row}.{quoted(column)}" for column in self.searched.key)
        taken = f"{self._keys} {f'JOIN {row} ON' if source else 'WHERE'} {self._same(row)}"
        into = f"{self._name} (rowid, {', '.join(self._fields)})"
        return [
            f"INSERT INTO {self._keys} ({key}) SELECT {values}{source}",
            f"INSERT INTO {into} SELECT _row, {self._texts(row)} FROM {taken}",  # noqa: S608 - quoted names
        ]

    def _remove(self, row: str) -> list[str]:
        """Return the statements that leave out a row, if it is there: REPLACE removes rows without telling triggers."""
        keys = f"{self._keys} WHERE {self._same(row)}"
        return [
            f"DELETE FROM {self._name} WHERE rowid IN (SELECT _row FROM {keys})",  # noqa: S608 - quoted names
            f"DELETE FROM {keys}",  # noqa: S608 - quoted names
        ]

    def _same(self, row: str) -> str:
        # The columns of the keys have no type, and SQLite compares no numbers by the index of such a column unless the
        # other side has none either: the sign takes it away.
        return " AND ".join(f"{self._keys}.{quoted(column)} = +{row}.{quoted(column)}" for column in self.searched.key)

    def _texts(self, row: str) -> str:
        return ", ".join(f"substr(coalesce({row}.{quoted(c)}, ''), 1, {LONGEST})" for c in self.searched.columns)

    def source(self, table: sa.Table) -> sa.FromClause:
        """Return what has the words, joined with the rows by their keys."""
        words = sa.table(self.searched.name, sa.column("rowid"))
        keys = sa.table(
            f"{self.searched.name}_keys", sa.column("_row"), *(sa.column(each) for each in self.searched.key)
        )
        same = [table.c[each] == keys.c[each] for each in self.searched.key]
        # The sign keeps FTS5 from being asked for one row after the other: it comes first, and once.
        row: sa.ColumnElement[int] = sa.literal_column(f"+{self._name}.rowid")
        return words.join(keys, keys.c["_row"] == row).join(table, sa.and_(*same))

    def matches(self, table: sa.Table, asked: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
        """Return ``MATCH``, which the index serves."""
        return self._every.op("MATCH", is_comparison=True)(asked)

    def rank(self, table: sa.Table, asked: sa.ColumnElement[Any]) -> sa.ColumnElement[float]:
        """Return what the fields add up to: the first time that one has the words counts half of its weight."""
        name = self._name
        parts = [
            f"{weight} * (1 - 1.0 / (1 + length(highlight({name}, {place}, char(1), '')) - length({name}.{field})))"
            for place, (field, weight) in enumerate(zip(self._fields, self.searched.weights, strict=True))
        ]
        return sa.literal_column(" + ".join(parts))

    def asked(self, words: Words) -> str:
        """Return the text that FTS5 reads; words have letters and digits only, so nothing ends a quote."""
        wanted = " AND ".join(map(_term, words.wanted))
        return " NOT ".join([f"({wanted})", *map(_term, words.unwanted)])

    @property
    def _every(self) -> sa.ColumnElement[Any]:
        """The column of an FTS5 table that stands for all of them, and has its name."""
        return sa.literal_column(self._name)


def _term(term: Term) -> str:
    return f'"{" ".join(term.words)}"{" *" * term.begins}'


def dropped(name: str) -> list[str]:
    """Return what removes an index, or what is left of it: the table may be gone already."""
    return [
        *(f"DROP TRIGGER IF EXISTS {quoted(f'{name}_{what}')}" for what in FIRING),
        f"DROP TABLE IF EXISTS {quoted(name)}",
        f"DROP TABLE IF EXISTS {quoted(f'{name}_keys')}",
    ]
