"""Relational data: tables with rules, over SQLite and PostgreSQL.

Importing this loads no SQLAlchemy: it is loaded when an app is built.
"""

from trivet.data.relation import Listing, Selection, Unique
from trivet.data.search import Search
from trivet.data.table import Table
from trivet.data.trace import PUBLIC, contains, not_, one_of, starts_with
from trivet.data.view import Fill, View

__all__ = [
    "PUBLIC",
    "Fill",
    "Listing",
    "Search",
    "Selection",
    "Table",
    "Unique",
    "View",
    "contains",
    "not_",
    "one_of",
    "starts_with",
]
