"""Relational data: tables with rules, over SQLite and PostgreSQL.

Importing this loads no SQLAlchemy: it is loaded when an app is built.
"""

from trivet.data.table import Listing, Selection, Table, Unique
from trivet.data.trace import PUBLIC, contains, not_, one_of, starts_with

__all__ = ["PUBLIC", "Listing", "Selection", "Table", "Unique", "contains", "not_", "one_of", "starts_with"]
