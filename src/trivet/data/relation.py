"""Relations: rows of one shape as a module reads them, whether it keeps them in a table or derives them in a view.

Everything that a relation will ever run is compiled when the app is built (`trivet.data.catalog`); a verb picks a
statement, fills in values and decodes rows.

**Rules.** ``readable`` is part of every read: a row that the caller may not read is not there. ``tenant`` is part of
everything. An operation that acts as the module is not held by the rules, but by the tenant. Whatever SQL a module
writes itself (`Relation.selection`) reads through the same rules.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVar

import msgspec

from trivet.core.context import Read
from trivet.core.error import Error, InvalidArgument, NotFound
from trivet.core.fault import place_of, place_of_caller
from trivet.core.module import Module
from trivet.core.naming import snake
from trivet.core.page import CursorPage, CursorRequest, Page, PageRequest
from trivet.core.principal import Principal
from trivet.data import pagetoken
from trivet.data.access import plan_of, session_of
from trivet.data.groups import GROUP
from trivet.data.search.declared import Search
from trivet.data.streamed import Streamed

if TYPE_CHECKING:
    import sqlalchemy as sa

    from trivet.data.database import Row, Session, Snapshot
    from trivet.data.plan import ListingPlan, Query, TablePlan
    from trivet.data.selection import Rows

T = TypeVar("T", bound=msgspec.Struct)
K = TypeVar("K")
X = TypeVar("X")
R = TypeVar("R", bound=msgspec.Struct)
P = ParamSpec("P")

EVERY = 2**63 - 1
"""The limit of a list without one."""

Rule = Callable[[Principal, T], bool]
"""Whether a caller may: traced into SQL, and run on rows; see `trivet.data.trace` for what it may use."""


class Unique:
    """Fields of which no two rows have the same values.

    A ``None`` is different from every other. On a table with a tenant, uniqueness is per tenant.

    Args:
        fields: Paths of fields, such as ``"sku"`` or ``"price.currency"``.
        error: What a second row is refused with, made from that row; `AlreadyExists` when absent.
    """

    def __init__(self, *fields: str, error: Callable[[Any], Error] | None = None) -> None:
        self.fields = fields
        self.error = error

    def __repr__(self) -> str:
        return f"Unique({', '.join(map(repr, self.fields))})"


class Listing(Generic[T, P]):
    """A list of rows that a caller pages through: a condition over the row and the list's arguments, and an order."""

    def __init__(self, table: Relation[T, Any], function: Callable[..., bool], order: tuple[str, ...]) -> None:
        self.table = table
        self.function = function
        self.order = order
        self.name = getattr(function, "__name__", "listing")
        self.place = place_of(function)

    def __repr__(self) -> str:
        return f"<Listing {self.name} of {self.table!r} at {self.place}>"


class Selection(Generic[R, P]):
    """A select that the module wrote itself, with typed rows; it sees only rows that the caller may read."""

    def __init__(self, table: Relation[Any, Any], shape: type[R], function: Callable[..., Any]) -> None:
        self.table = table
        self.shape = shape
        self.function = function
        self.name = getattr(function, "__name__", "selection")
        self.place = place_of(function)

    def __repr__(self) -> str:
        return f"<Selection {self.name} of {self.table!r} at {self.place}>"


class Relation(Generic[T, K]):
    """Rows of one shape as a module reads them: what a `Table` and a `trivet.data.view.View` have in common."""

    def __init__(
        self,
        module: Module,
        shape: type[T],
        *,
        key: Callable[[T], K],
        name: str | None = None,
        unique: Sequence[str | Unique] = (),
        indexes: Sequence[str | Sequence[str]] = (),
        tenant: Callable[[T], str] | None = None,
        readable: Rule[T] | None = None,
        writable: Rule[T] | None = None,
        shard_by: Callable[[T], Any] | None = None,
        scatter: int | None = None,
        search: Search | None = None,
    ) -> None:
        self.module = module
        self.shape = shape
        self.key = key
        self.name = name or plural(snake(shape.__name__))
        self.unique = tuple(Unique(each) if isinstance(each, str) else each for each in unique)
        self.indexes = tuple((each,) if isinstance(each, str) else tuple(each) for each in indexes)
        self.tenant = tenant
        self.readable = readable
        self.writable = writable
        self.shard_by = shard_by
        self.scatter = scatter
        self.searched = search
        self.listings: list[Listing[T, ...]] = []
        self.selections: list[Selection[Any, ...]] = []
        self.place = place_of_caller()
        module.tables.append(self)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.module.name}, {self.shape.__name__})"

    @property
    def id(self) -> str:
        """Its name in the app."""
        return f"{self.module.name}.{self.name}"

    # -- declaring

    def listing(self, *, order: str | Sequence[str]) -> Callable[[Callable[Concatenate[T, P], bool]], Listing[T, P]]:
        """Declare a list of rows: a function over the row and arguments, true for the rows of the list.

        It is traced like a rule. An argument that is ``None`` drops the comparisons it stands in. Listings bring the
        indexes that their order and their equalities need.

        Args:
            order: Fields, ``-`` before those that descend; the key is added, so that the order is total.
        """

        def declare(function: Callable[Concatenate[T, P], bool]) -> Listing[T, P]:
            listing: Listing[T, P] = Listing(self, function, (order,) if isinstance(order, str) else tuple(order))
            self.listings.append(listing)
            return listing

        return declare

    def selection(self, shape: type[R]) -> Callable[[Callable[Concatenate[Rows, P], sa.Select[Any]]], Selection[R, P]]:
        """Declare a select over this module's tables, for what the verbs do not say: joins, groups, aggregates.

        The function gets `Rows` and its arguments, and returns a SQLAlchemy select. ``rows[products]`` has the table's
        columns and only the rows that the caller may read. The function runs once, when the app is built; its
        arguments are bind parameters then.

        Args:
            shape: Of a result row; the select's columns have the names of its columns.
        """

        def declare(function: Callable[Concatenate[Rows, P], sa.Select[Any]]) -> Selection[R, P]:
            selection: Selection[R, P] = Selection(self, shape, function)
            self.selections.append(selection)
            return selection

        return declare

    # -- reading

    async def get(self, ctx: Read, key: K, /) -> T:
        """Return the row.

        Raises:
            NotFound: There is none that the caller may read.
        """
        plan = self._reading(ctx)
        rows = await self._one(ctx, plan, plan.get, key)
        if not rows:
            raise self._missing(key)
        return plan.mapping.decode(rows[0])

    async def find(self, ctx: Read, key: K, /) -> T | None:
        """Return the row, or ``None`` where there is none that the caller may read."""
        plan = self._reading(ctx)
        rows = await self._one(ctx, plan, plan.get, key)
        return plan.mapping.decode(rows[0]) if rows else None

    def _one(
        self, ctx: Read, plan: TablePlan[T], queries: Sequence[Query], key: K, *, write: bool = False
    ) -> Awaitable[Sequence[Row]]:
        """Ask for the row with a key, by the query for what this caller may read."""
        query = queries[plan.readable.choose(ctx)]
        session = self._session(ctx, plan, key, write=write)
        own: Any = (key,) if plan.key.single else key
        return session.fetch(query.statement, query.values(ctx, own))

    async def get_many(self, ctx: Read, keys: Sequence[K], /) -> list[T | None]:
        """Return a row for each key, in the order of the keys; ``None`` where there is none that the caller may read.

        Args:
            ctx: The context.
            keys: Any number of keys, repeated or not; one statement is run.
        """
        plan = self._reading(ctx)
        return await self._many(ctx, keys, plan.get_many[plan.readable.choose(ctx)])

    async def _many(self, ctx: Read, keys: Sequence[K], query: Any) -> list[T | None]:
        plan = plan_of(ctx, self)
        session = session_of(ctx, self)
        if not keys:
            return []
        distinct = list(dict.fromkeys(keys))
        if not plan.routed:
            rows = await session.fetch(query.statement, query.values(ctx, (distinct,)))
        else:
            shards = {key: plan.shard_of(ctx, key) for key in distinct}
            rows = await self._routed(ctx, plan, session, query, shards)
        found = {plan.key.of(row): row for row in plan.mapping.decode_all(rows)}
        return [found.get(key) for key in keys]

    async def _routed(
        self,
        ctx: Read,
        plan: TablePlan[T],
        session: Any,
        query: Query,
        shards: Mapping[Any, int | None],
        rest: tuple[Any, ...] = (),
    ) -> list[Any]:
        """Ask about values where they are: all on one shard, or a part of them on each node.

        Args:
            ctx: The context.
            plan: Of this table.
            session: A sharded one.
            query: Takes the values, then `rest`.
            shards: The place of each value.
            rest: Further values.
        """
        places = set(shards.values())
        if len(places) == 1 or session.writes:
            for place in places:
                session.on(place)  # refuses what is on a second shard
            rows: list[Any] = await session.on(places.pop()).fetch(
                query.statement, query.values(ctx, (list(shards), *rest))
            )
            return rows
        parts = await session.ask_all(
            query.statement,
            lambda there: query.values(ctx, ([value for value, place in shards.items() if place in there], *rest)),
            self._fan_out(plan),
            places,
        )
        return [row for part in parts for row in part]

    def _fan_out(self, plan: TablePlan[T]) -> int:
        scatter = plan.placement.scatter if plan.placement is not None else None
        if not scatter:
            raise RuntimeError(
                f"{self!r}: this read is not of one shard: write Table(..., scatter=NODES) to let one read ask so many "
                "nodes at most"
            )
        return scatter

    async def page(
        self, ctx: Read, listing: Listing[T, P], page: PageRequest, /, *args: P.args, **kwargs: P.kwargs
    ) -> Page[T]:
        """Return one page of a listing.

        Args:
            ctx: The context.
            listing: One of this table's.
            page: Size and token.
            *args: The listing's arguments.
            **kwargs: The listing's arguments.

        Raises:
            InvalidArgument: The token is not one of this list with these arguments.
        """
        plan = self._reading(ctx)
        lists = plan.listings[listing]
        arguments = lists.arguments(*args, **kwargs)
        context = lists.context(arguments)
        after: tuple[Any, ...] | None = None
        if page.page_token is not None:
            after = pagetoken.read(page.page_token, lists.token_type, context, plan.signing_key)
        rows = await self._rows_after(ctx, plan, lists, arguments, after, page.limit + 1)
        return self._page(plan, lists, rows, page, context)

    async def search(
        self, ctx: Read, listing: Listing[T, P], query: str, page: PageRequest, /, *args: P.args, **kwargs: P.kwargs
    ) -> Page[T]:
        """Return one page of those rows of a listing that have the words, the most relevant first.

        ``oak chair "solid wood" -plastic wal*`` asks for two words, a phrase and the beginning of a word, and excludes
        a word; `trivet.data.search.words` has the whole language. How relevant a row is depends on that row alone, so
        pages neither repeat nor leave out rows that stay as they are.

        Args:
            ctx: The context.
            listing: One of this table's; its order does not matter.
            query: What somebody typed; without a word that is wanted it finds nothing.
            page: Size and token.
            *args: The listing's arguments.
            **kwargs: The listing's arguments.

        Raises:
            InvalidArgument: The query has more than 200 characters; or the token is not one of this search.
        """
        plan = self._reading(ctx)
        lists = plan.searches.get(listing)
        if lists is None:
            raise TypeError(f"{listing!r} can not be searched: {self!r} has no search=Search(...), or it is not its")
        words, asked = lists.asked(query)
        arguments = lists.arguments(*args, **kwargs)
        context = lists.context((*arguments, words))
        after: tuple[Any, ...] | None = None
        if page.page_token is not None:
            after = pagetoken.read(page.page_token, lists.token_type, context, plan.signing_key)
        rows: list[Any] = []
        if asked is not None:
            rows = await self._rows_after(ctx, plan, lists, (*arguments, asked), after, page.limit + 1)
        return self._page(plan, lists, rows, page, context)

    async def _rows_after(
        self,
        ctx: Read,
        plan: TablePlan[T],
        lists: ListingPlan,
        arguments: tuple[Any, ...],
        after: tuple[Any, ...] | None,
        limit: int,
    ) -> list[Any]:
        """Return the rows of a listing that follow a position, from the beginning where it is ``None``."""
        shard = lists.shard(ctx, arguments) if plan.routed else None
        every = shard is None and plan.placement is not None
        if after is None:
            queries = lists.all_first if every else lists.first
            own = (*arguments, limit)
        else:
            queries = lists.all_next if every else lists.next
            own = (*arguments, *after, limit)
        query = queries[lists.variant(arguments)][plan.readable.choose(ctx)]
        session: Any = session_of(ctx, self)
        if every:
            parts = await session.ask_all(
                query.statement, lambda there: query.values(ctx, (*own, there)), self._fan_out(plan)
            )
            return lists.merged(parts)
        session = session.on(shard) if plan.routed else session
        rows: list[Any] = await session.fetch(query.statement, query.values(ctx, own))
        return rows

    def stream(
        self, ctx: Read, listing: Listing[T, P], /, *args: P.args, **kwargs: P.kwargs
    ) -> AsyncGenerator[T, None]:
        """Yield every row of a listing, in its order, however many there are; a group of them is in memory at a time.

        In a job the rows are those of one instant, read by a cursor that holds a connection to its end; but rows of a
        sharded table, and what is streamed while another stream of the same job goes on, are read as everywhere else:
        each group by a statement of its own, with nothing held in between. Then what changes meanwhile may be seen or
        not, and a row whose place in the order changes may be seen twice or not at all.

        Args:
            ctx: The context.
            listing: One of this table's.
            *args: The listing's arguments.
            **kwargs: The listing's arguments.
        """
        plan = self._reading(ctx)
        session_of(ctx, self)
        lists = plan.listings[listing]
        arguments = lists.arguments(*args, **kwargs)
        lists.variant(arguments)  # refuses what is not there now, not when the first row is wanted
        return Streamed(self.shape, self._streamed(ctx, plan, lists, arguments))

    async def _streamed(
        self, ctx: Read, plan: TablePlan[T], lists: ListingPlan, arguments: tuple[Any, ...]
    ) -> AsyncGenerator[T, None]:
        held = ctx._work.snapshot() if plan.placement is None else None
        if held is None:
            found = self._followed(ctx, plan, lists, arguments)
        else:
            found = self._scanned(ctx, plan, lists, arguments, held)
        async with aclosing(found) as groups:
            async for rows in groups:
                for row in rows:
                    yield row

    async def _scanned(
        self,
        ctx: Read,
        plan: TablePlan[T],
        lists: ListingPlan,
        arguments: tuple[Any, ...],
        held: AbstractAsyncContextManager[Snapshot],
    ) -> AsyncGenerator[list[T], None]:
        query = lists.first[lists.variant(arguments)][plan.readable.choose(ctx)]
        values = query.values(ctx, (*arguments, EVERY))
        async with held as snapshot, aclosing(snapshot.scan(query.statement, values, GROUP)) as groups:
            async for rows in groups:
                yield plan.mapping.decode_all(rows)

    async def _followed(
        self, ctx: Read, plan: TablePlan[T], lists: ListingPlan, arguments: tuple[Any, ...]
    ) -> AsyncGenerator[list[T], None]:
        after: tuple[Any, ...] | None = None
        while True:
            found = await self._rows_after(ctx, plan, lists, arguments, after, GROUP)
            rows = plan.mapping.decode_all(found[:GROUP])  # of several nodes there may be more
            yield rows
            if len(rows) < GROUP:
                return
            after = lists.position(rows[-1], found[GROUP - 1])

    async def page_by(
        self,
        ctx: Read,
        listing: Listing[T, Concatenate[X, P]],
        parents: Sequence[X],
        page: PageRequest,
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> list[Page[T]]:
        """Return a page for each parent, in the order of the parents, with one statement.

        Args:
            ctx: The context.
            listing: One of this table's, whose first argument is the parent and is compared with a field for equality.
            parents: Any number of parents, repeated or not.
            page: Size; a token only with a single parent.
            *args: The listing's other arguments.
            **kwargs: The listing's other arguments.

        Raises:
            InvalidArgument: There is a token and more than one parent, or the token does not fit.
        """
        if page.page_token is not None:
            if len(parents) != 1:
                raise InvalidArgument(detail="A page token continues one list; ask for one parent.")
            return [await self.page(ctx, listing, page, parents[0], *args, **kwargs)]
        plan = self._reading(ctx)
        lists = plan.listings[listing]
        session = session_of(ctx, self)
        distinct = list(dict.fromkeys(parents))
        if not distinct:
            return []
        arguments = lists.arguments(distinct[0], *args, **kwargs)
        query = lists.by_parent(arguments)[plan.readable.choose(ctx)]
        limit = page.limit
        if not plan.routed:
            rows = await session.fetch(query.statement, query.values(ctx, (distinct, *arguments[1:], limit + 1)))
        else:
            shards = {parent: lists.shard_of_parent(ctx, parent) for parent in distinct}
            if plan.placement is not None and None in shards.values():
                raise RuntimeError(f"{self!r}: page_by needs lists whose parent is the shard key; page each by itself")
            rows = await self._routed(ctx, plan, session, query, shards, (*arguments[1:], limit + 1))
        groups: dict[Any, list[Any]] = {}
        for row in rows:
            groups.setdefault(row[-1], []).append(row[:-1])
        pages = {
            parent: self._page(
                plan, lists, groups.get(lists.encode_parent(parent), []), page, lists.context((parent, *arguments[1:]))
            )
            for parent in distinct
        }
        return [pages[parent] for parent in parents]

    def _page(self, plan: TablePlan[T], lists: Any, rows: list[Any], request: PageRequest, context: bytes) -> Page[T]:
        limit = request.limit
        items: list[T] = lists.items(rows[:limit])

        def token(place: int) -> str:
            return pagetoken.sign(lists.position(items[place], rows[place]), context, plan.signing_key)

        following = token(limit - 1) if len(rows) > limit else None
        if isinstance(request, CursorRequest):
            asked = range(0 if request.every else max(0, len(items) - 1), len(items))
            return CursorPage(items=items, next_page_token=following, cursors=tuple(map(token, asked)))
        return Page(items=items, next_page_token=following)

    async def select(self, ctx: Read, selection: Selection[R, P], /, *args: P.args, **kwargs: P.kwargs) -> list[R]:
        """Run a declared select and return its rows.

        Args:
            ctx: The context.
            selection: One of this table's.
            *args: The selection's arguments.
            **kwargs: The selection's arguments.
        """
        plan = self._reading(ctx)
        selects = plan.selections[selection]
        query = selects.query(ctx)
        session: Any = session_of(ctx, self)
        session = session.on(None) if plan.routed else session
        rows = await session.fetch(query.statement, query.values(ctx, selects.arguments(*args, **kwargs)))
        decoded: list[R] = selects.decode(rows)
        return decoded

    # -- reaching

    def _reading(self, ctx: Read) -> TablePlan[T]:
        """Return what runs the reads of this relation, when one begins."""
        try:
            plan: TablePlan[T] = ctx._work.plans[self]
        except KeyError:
            return plan_of(ctx, self)  # which says why there is none
        return plan

    def _session(self, ctx: Read, plan: TablePlan[T], key: K, *, write: bool = False) -> Session:
        """Return the session for the row with a key; where no table is sharded there is one for all."""
        session: Any = session_of(ctx, self, write=write)
        reached: Session = session.on(plan.shard_of(ctx, key)) if plan.routed else session
        return reached

    def _missing(self, key: K) -> NotFound:
        return NotFound(detail=f"{self.shape.__name__} {_shown(key)} does not exist.")


def _shown(key: Any) -> str:
    return ", ".join(map(str, key)) if isinstance(key, tuple) else str(key)


def plural(name: str) -> str:
    """Return the English plural of a snake-case noun, for the name of a table."""
    if re.search(r"[^aeiou]y$", name):
        return f"{name[:-1]}ies"
    return f"{name}es" if re.search(r"(s|x|z|ch|sh)$", name) else f"{name}s"
