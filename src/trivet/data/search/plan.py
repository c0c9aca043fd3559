"""What a table runs to search among the rows of its listings: compiled when the app is built, as listings are.

A search is a listing in another order: its condition, the rule and the tenant are where they are in the listing's own
statements, and what is asked for is one condition more. So nothing is filtered afterwards, and nothing is ranked that
the caller may not read.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from trivet.data.assembly import HOLE, Part, part_of
from trivet.data.expression import TRUE
from trivet.data.plan import ListingPlan, TablePlan
from trivet.data.relation import Listing
from trivet.data.resolve import ResolvedListing
from trivet.data.schema import ascending
from trivet.data.search.index import SearchIndex, search_of
from trivet.data.search.words import words_of
from trivet.data.statement import compiler
from trivet.data.where import Given, Where

RANK = "_rank"


class SearchPlan(ListingPlan):
    """Everything that paging through the rows of a listing by relevance needs.

    After the listing's arguments comes what is asked for. A page goes on after a rank and a key: a row's rank depends
    on the row alone, so the order is as steadfast as that of a listing, and the same on whichever node the row is.
    """

    def __init__(self, plan: TablePlan[Any], resolved: ResolvedListing, name: str, index: SearchIndex) -> None:
        self._index = index
        by_key = msgspec.structs.replace(resolved, order=ascending(plan.key.columns), parent=None)
        super().__init__(plan, by_key, name)
        of_key: Any = self.token_type
        self.token_type = tuple[(float, *of_key.__args__)]

    def asked(self, text: str) -> tuple[Any, str | None]:
        """Return what tokens of a search for this are bound to, and the value that its statements take.

        The value is ``None`` where nothing is wanted, and so nothing is found.

        Raises:
            InvalidArgument: It is too long.
        """
        words = words_of(text)
        return words, self._index.asked(words) if words.wanted else None

    def items(self, rows: Sequence[Any]) -> list[Any]:
        """Return the objects of rows, whose last column is the rank."""
        return super().items([row[:-1] for row in rows])

    def position(self, item: Any, row: Any) -> tuple[Any, ...]:
        """Return rank and key, for a token."""
        return (row[-1], *super().position(item, row))

    def merged(self, parts: Iterable[Sequence[Any]]) -> list[Any]:
        """Return the rows of several nodes in the order of the list: by rank, and where that is equal by key."""
        return sorted(super().merged(parts), key=operator.itemgetter(-1), reverse=True)

    def _frame(self, *, after: bool, every_shard: bool = False) -> Part:
        """Return the statement for a page, with a hole for its conditions.

        Its own arguments are the listing's, what is asked for, rank and key of a token, the limit, and with
        `every_shard` the list of shards that are looked at.
        """
        plan, arguments = self._plan, len(self._resolved.arguments)
        where = Where(plan.table, plan.dialect)
        asked = where.bind(Given(arguments), sa.Text())
        table, index = plan.table, self._index
        quote = compiler(plan.dialect).identifier_preparer
        every = ", ".join(f"{quote.format_table(table)}.{quote.format_column(column)}" for column in plan.stored)
        among = [self._among_shards(where)] if every_shard else []
        ranked = (
            sa.select(sa.literal_column(every), index.rank(table, asked).label(RANK))
            .select_from(index.source(table))
            .where(index.matches(table, asked), HOLE, *plan.guard(where, TRUE), *among)
            .offset(0)  # so that each row is ranked once, though the rank is compared, ordered by and returned
            .subquery("ranked")
        )
        rank: sa.ColumnElement[float] = sa.column(RANK, sa.Double())
        key: list[sa.ColumnElement[Any]] = [sa.column(column.name) for column in plan.key.columns]
        select = sa.select(plan.columns, rank).select_from(ranked).order_by(rank.desc(), *key)
        limit = arguments + 1
        if after:
            least = where.bind(Given(limit), sa.Double())
            limit += 1
            values = [
                where.own(limit + place, column.value, "page_token") for place, column in enumerate(plan.key.columns)
            ]
            limit += len(values)
            further = key[0] > values[0] if len(key) == 1 else sa.tuple_(*key) > sa.tuple_(*values)
            select = select.where(sa.or_(rank < least, sa.and_(rank == least, further)))
        limited = select.limit(where.bind(Given(limit), sa.BigInteger()))
        return part_of(limited, plan.dialect, where.sources)


def searches_of(plan: TablePlan[Any]) -> dict[Listing[Any, Any], SearchPlan]:
    """Return what searches among the rows of each listing of a table; nothing where it declares no search."""
    index = search_of(plan.table)
    if index is None:
        return {}
    return {
        each.declared: SearchPlan(plan, each, f"{plan.name}.{each.declared.name} by words", index)
        for each in plan.resolved.listings
    }
