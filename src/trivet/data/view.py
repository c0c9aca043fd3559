"""Read models: rows that events keep up to date, for questions that the tables are not shaped for.

A view is declared beside its shape, read as a `Table` is, and changed by nobody but its own handlers::

    customer_totals = View(orders, CustomerTotal, key=lambda t: t.customer_id, readable=lambda who, t: ...)

    @customer_totals.on(OrderPlaced)
    async def add_order(ctx: Fill, placed: OrderPlaced) -> None:
        await customer_totals.change(ctx, placed.customer_id, lambda total: added(total, placed))

    @customer_totals.source
    async def all_totals(ctx: Read) -> AsyncIterator[CustomerTotal]:
        ...

A handler gets each event after its commit, in order for each thing that events are about, and what it changes is kept
in the transaction that removes the delivery: so it happens once. The source says what the rows are without the events,
for ``trivet views rebuild``.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar, overload

import msgspec

from trivet.core.context import Read, Work, Write
from trivet.core.event import Event
from trivet.core.fault import Fault, Place, place_of
from trivet.core.module import Module, Subscription
from trivet.data.access import plan_of, session_of
from trivet.data.relation import Relation, Rule
from trivet.data.search.declared import Search

if TYPE_CHECKING:
    import sqlalchemy as sa

    from trivet.data.fill import ViewPlan
    from trivet.data.plan import TablePlan
    from trivet.data.selection import Rows

T = TypeVar("T", bound=msgspec.Struct)
K = TypeVar("K")
E = TypeVar("E", bound=Event)

Source = Callable[[Read], AsyncIterator[T]]
"""Yields every row that a view should have, made from what is stored elsewhere."""

Select = Callable[["Rows"], "sa.Select[Any]"]
"""The same as a select; it runs once, when the app is built."""

SHORTEST = timedelta(seconds=1)
"""How often a view is made anew at most."""


class Fill(Read):
    """What a view's handler can do: read as its module, and change the rows of that view."""

    __slots__ = ("view",)

    def __init__(self, work: Work, view: View[Any, Any]) -> None:
        super().__init__(work, view.module, unrestricted=True)
        self.view = view


class View(Relation[T, K]):
    """A read model: rows of one shape that operations read and events fill.

    Its columns, rules, listings and pages are those of a `Table`. An answer that is made from it says how old its data
    may be (``Data-Age``).

    Args:
        module: Who owns the rows; only its operations reach them.
        shape: What a row is.
        key: Names the field that identifies a row, or a tuple of them.
        name: Of the table in the database; the plural of the shape's name when absent.
        indexes: Further indexes, each a field or a tuple of fields; those that listings need are made without saying.
        tenant: Names the field that holds the row's tenant.
        readable: Who may read a row; `PUBLIC` for everybody. Required.
        every: After how long the rows are made anew from the source; a view has this, or handlers of events.
        search: Which fields hold the words that rows are found by; see `search`.
    """

    def __init__(
        self,
        module: Module,
        shape: type[T],
        *,
        key: Callable[[T], K],
        name: str | None = None,
        indexes: Sequence[str | Sequence[str]] = (),
        tenant: Callable[[T], str] | None = None,
        readable: Rule[T] | None = None,
        every: timedelta | None = None,
        search: Search | None = None,
    ) -> None:
        super().__init__(
            module,
            shape,
            key=key,
            name=name,
            indexes=indexes,
            tenant=tenant,
            readable=readable,
            writable=lambda who, row: False,
            search=search,
        )
        self.subscriptions: list[Subscription] = []
        self.rows: Source[T] | None = None
        self.select_source: Select | None = None
        self.every = every
        module.views.append(self)

    # -- declaring

    def on(
        self, event: type[E]
    ) -> Callable[[Callable[[Fill, E], Awaitable[None]]], Callable[[Fill, E], Awaitable[None]]]:
        """Declare what an event changes: the handler runs after the commit, in a transaction of its own.

        It may read whatever its module may. It should depend on the event, and on rows of the view that it is given by
        `change`: handlers of events about different things run side by side.

        Args:
            event: The type of the event, this module's or another's.
        """

        def declare(handler: Callable[[Fill, E], Awaitable[None]]) -> Callable[[Fill, E], Awaitable[None]]:
            place = place_of(handler)
            if not inspect.iscoroutinefunction(handler):
                self._fault("handler-async", place, f"{handler!r} is not an async function", "Write `async def`.")

            @functools.wraps(handler)
            async def filled(ctx: Write, happened: E) -> None:
                plan = _plan(self, ctx)
                await plan.admit(ctx)
                await handler(Fill(ctx._work, self), happened)

            subscription = Subscription(module=self.module, event=event, handler=filled, place=place, context=Fill)
            self.subscriptions.append(subscription)
            self.module.subscriptions.append(subscription)
            return handler

        return declare

    @overload
    def source(self, function: Source[T]) -> Source[T]: ...
    @overload
    def source(self, function: Select) -> Select: ...
    def source(self, function: Any) -> Any:
        """Declare what the rows are made from: every row, each key once.

        It is an async generator, which gets a context and yields rows; or a select over this module's tables, as in
        `Table.selection`, whose rows never leave the database. It reads as the module does, everything as of one
        instant. With a `tenant`, it runs once for each tenant.
        """
        if self.sourced:
            self._fault("view-source", place_of(function), f"{self!r} has two sources", "Write one of them.")
        elif inspect.isasyncgenfunction(function):
            self.rows = function
        elif inspect.iscoroutinefunction(function):
            mend = "Write `async def` and `yield` each row, or `def` and return a select."
            self._fault("view-source", place_of(function), f"{function!r} is not an async generator", mend)
        else:
            self.select_source = function
        return function

    @property
    def sourced(self) -> bool:
        """Whether it says what its rows are made from."""
        return self.rows is not None or self.select_source is not None

    def faults(self) -> Iterator[Fault]:
        """Yield what keeps the view from ever being filled as it is declared."""
        if self.every is None and not self.subscriptions:
            mend = "Declare a handler with @view.on(Event), or write View(..., every=timedelta(...))."
            yield Fault(rule="view-fill", place=self.place, problem=f"nothing fills {self!r}", mend=mend)
        elif self.every is not None and self.subscriptions:
            problem = f"{self!r} is filled by events and made anew every so often, which undoes each other"
            yield Fault(rule="view-fill", place=self.place, problem=problem, mend="Leave out `every` or the handlers.")
        elif self.every is not None and not self.sourced:
            mend = "Declare what its rows are made from with @view.source."
            yield Fault(rule="view-source", place=self.place, problem=f"{self!r} has no source", mend=mend)
        if self.every is not None and self.every < SHORTEST:
            problem = f"{self!r} is made anew every {self.every}"
            mend = "Once a second is the shortest; for what has to be newer, let events fill it."
            yield Fault(rule="view-every", place=self.place, problem=problem, mend=mend)

    def _fault(self, rule: str, place: Place, problem: str, mend: str) -> None:
        self.module.faults.append(Fault(rule=rule, place=place, problem=problem, mend=mend))

    # -- filling

    async def put(self, ctx: Fill, row: T, /) -> None:
        """Store the row in place of the one with its key, if there is one.

        Raises:
            InvalidArgument: A column can not hold its value.
        """
        plan = self._alone_with(ctx)
        await plan.reserve(ctx, plan.key.of(row))
        await plan.put(ctx, row)

    async def remove(self, ctx: Fill, key: K, /) -> None:
        """Remove the row of that key, if there is one."""
        plan = self._alone_with(ctx)
        await plan.reserve(ctx, key)
        await plan.remove(ctx, key)

    async def change(self, ctx: Fill, key: K, to: Callable[[T | None], T | None], /) -> None:
        """Store what the row of that key becomes; nobody else changes it, or adds it, until this transaction ends.

        Args:
            ctx: The context.
            key: Of the row; where a handler changes several, in the same order as others do.
            to: Takes the row as it is, ``None`` where there is none, and returns what to keep: ``None`` removes it.

        Raises:
            ValueError: The function returns a row with another key.
        """
        plan = self._alone_with(ctx)
        await plan.reserve(ctx, key)
        before = await self.find(ctx, key)
        after = to(before)
        if after is None:
            if before is not None:
                await plan.remove(ctx, key)
            return
        if plan.key.of(after) != key:
            raise ValueError(f"{self!r}: the row of {key} became one of {plan.key.of(after)}")
        if after != before:
            await plan.put(ctx, after)

    def _alone_with(self, ctx: Fill) -> ViewPlan[T]:
        """Return what the view runs to change its rows.

        Raises:
            TypeError: The context is not that of one of its handlers.
        """
        if not isinstance(ctx, Fill) or ctx.view is not self:
            raise TypeError(f"{self!r} is changed by its own handlers only: declare one with @view.on(Event)")
        return _plan(self, ctx)

    # -- reading: as a table, and the answer says how old it may be

    def _reading(self, ctx: Read) -> TablePlan[T]:
        ctx._work.viewed(self.id)
        return super()._reading(ctx)


def _plan(view: View[T, K], ctx: Read) -> ViewPlan[T]:
    session_of(ctx, view)  # which refuses another module's context
    plan: Any = plan_of(ctx, view)
    found: ViewPlan[T] = plan
    return found


def lock_of(view: str, key: Any) -> int:
    """Return the 64 bits of the advisory lock that whoever changes a row of that key holds, also where there is none.

    Args:
        view: Names the view in the app.
        key: Its key, encoded for the driver.
    """
    digest = hashlib.sha256(msgspec.msgpack.encode((view, key))).digest()
    return int.from_bytes(digest[:8], "big", signed=True)
