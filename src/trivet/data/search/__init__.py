"""Full-text search: the words that people type, and the indexes that find rows by them.

The seam has three parts. `trivet.data.search.words` turns what somebody typed into a small tree, once, for every
engine. `trivet.data.search.index` says what an index has to do. `trivet.data.search.sqlite` (FTS5) and
`trivet.data.search.postgresql` (``tsvector`` under GIN) do it, inside of the database that has the rows: what was
committed is found, by the transaction that wrote it as by everybody else, and rules, tenant and conditions are part of
the statement that searches.
"""

from trivet.data.search.declared import Search

__all__ = ["Search"]
