"""Search on PostgreSQL: an index over an expression.

The words of a row are what a function of its own makes of the row's texts, and the index (GIN) is over that function:
there is no column to fill, so rows that exist need not be rewritten, and the index is made aside (``CONCURRENTLY``)
as any other. Whoever asks calls the same function, by its name, which says what it is made of.

Texts are folded before PostgreSQL's parser sees them: it gets letters, digits and spaces, and what it knows about
addresses of mail and of the web does not matter. Between two fields there is a place without a word, so that no phrase
reaches from one into the next.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from trivet.data.search.folding import LONGEST, folding
from trivet.data.search.index import WEIGHTS, Searched, quoted
from trivet.data.search.words import Term, Words

LABELS = "ABCD"
"""What PostgreSQL calls the weights, the highest first."""

GAP = "|"
"""Put between two fields and taken out again: no text has such a word, and what comes after is a place further on."""

COST = 1_000
"""How many comparisons the planner takes the words of a row for: they are some 20 µs."""

THERE = r"""
SELECT format('"%s"."%s"', n.nspname, c.relname)
FROM pg_catalog.pg_index x
JOIN pg_catalog.pg_class c ON c.oid = x.indexrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE x.indisvalid AND c.relname LIKE '%\_search\_%'
UNION ALL
SELECT format('"%s"."%s"()', n.nspname, p.proname)
FROM pg_catalog.pg_proc p
JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
WHERE p.proname LIKE '%\_search\_%'
"""
"""Lists the parts of indexes that there are and that serve, and more."""


class PostgresIndex:
    """The index of one table; see `SearchIndex`."""

    def __init__(self, searched: Searched) -> None:
        self.searched = searched
        self._language = f"'pg_catalog.{searched.language}'::regconfig"

    def __repr__(self) -> str:
        return f"PostgresIndex({self.searched.name})"

    @property
    def parts(self) -> set[str]:
        """The index and its function, which has its name."""
        placed = _placed(self.searched.name, self.searched.schema)
        return {placed, f"{placed}()"}

    def create(self, *, aside: bool = False) -> list[str]:
        """Return the function and the index; what an attempt before left behind goes."""
        searched, name = self.searched, _placed(self.searched.name, self.searched.schema)
        types = ", ".join("text" for _ in searched.columns)
        columns = ", ".join(map(quoted, searched.columns))
        at_once = "CONCURRENTLY " if aside else ""
        return [
            f"CREATE OR REPLACE FUNCTION {name} ({types}) RETURNS tsvector "
            f"LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE COST {COST} AS $$\n{self._function()}\n$$",
            f"DROP INDEX {at_once}IF EXISTS {name}",
            f"CREATE INDEX {at_once}{quoted(searched.name)} ON {_placed(searched.table, searched.schema)} "
            f"USING gin ({name}({columns}))",
        ]

    def _function(self) -> str:
        """Return the body of the function, which gets the fields in their order."""
        columns = range(1, len(self.searched.columns) + 1)
        labels = [label for level, label in zip(self.searched.levels, LABELS, strict=False) for _ in level]
        return f"""\
DECLARE
    texts text[] := ARRAY[{", ".join(f"${number}" for number in columns)}];
    labels "char"[] := '{{{",".join(labels)}}}';
    words text;
    every tsvector := '';
BEGIN
    FOR place IN 1..{len(labels)} LOOP
        words := left(coalesce(texts[place], ''), {LONGEST});
{folding("words")}
        every := every || '{GAP}:1'::tsvector || setweight(to_tsvector({self._language}, words), labels[place]);
    END LOOP;
    RETURN ts_delete(every, '{GAP}');
END"""

    def source(self, table: sa.Table) -> sa.FromClause:
        """Return the table."""
        return table

    def matches(self, table: sa.Table, asked: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
        """Return ``@@``, which the index serves."""
        return self._vector(table).op("@@", is_comparison=True)(self._query(asked))

    def rank(self, table: sa.Table, asked: sa.ColumnElement[Any]) -> sa.ColumnElement[float]:
        """Return ``ts_rank``, which knows nothing of other rows; as the type of Python's floats, to compare by."""
        weights = ", ".join(map(str, reversed(WEIGHTS)))
        rank = sa.func.ts_rank(sa.literal_column(f"'{{{weights}}}'::float4[]"), self._vector(table), self._query(asked))
        return sa.cast(rank, sa.Double())

    def asked(self, words: Words) -> str:
        """Return the text that ``to_tsquery`` reads; words have letters and digits only, so nothing ends a quote."""
        return " & ".join([*map(_term, words.wanted), *(f"!{_term(term)}" for term in words.unwanted)])

    def _vector(self, table: sa.Table) -> sa.ColumnElement[Any]:
        package: Any = sa.func
        if self.searched.schema is not None:
            package = getattr(package, self.searched.schema)
        vector: sa.ColumnElement[Any] = getattr(package, self.searched.name)(
            *(table.c[column] for column in self.searched.columns)
        )
        return vector

    def _query(self, asked: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        return sa.func.to_tsquery(sa.literal_column(self._language), asked)


def _term(term: Term) -> str:
    *others, last = (f"'{word}'" for word in term.words)
    return f"({' <-> '.join([*others, last + ':*' * term.begins])})"


def dropped(name: str, schema: str | None, *, aside: bool) -> list[str]:
    """Return what removes an index, or what is left of it: the table may be gone already."""
    placed = _placed(name, schema)
    at_once = "CONCURRENTLY " if aside else ""
    return [f"DROP INDEX {at_once}IF EXISTS {placed}", f"DROP FUNCTION IF EXISTS {placed}"]


def _placed(name: str, schema: str | None) -> str:
    return quoted(name) if schema is None else f"{quoted(schema)}.{quoted(name)}"
