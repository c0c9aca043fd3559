"""Rebuilding a view: its rows are made anew from its source, in one transaction, while events go on.

The transaction sees one instant. An event is stored in the transaction of the change that it tells of, so at that
instant each event is there together with its change, or neither is. The source has read every change; so the deliveries
to the view's handlers that are there as well are removed in the same transaction, and what is committed later is
delivered to the new rows. Nothing is missed and nothing counted twice, and readers see the old rows until the commit.

A handler that is at work when the rebuild begins is waited for. One that comes meanwhile waits without a connection.
Whoever had claimed a delivery that the rebuild removed finds it gone when it settles, and is rolled back. Where the
process ends before the commit, nothing has changed.

Where tables are sharded, events wait on every node, and the view is on the home database. Each node is seen as of an
instant of its own (`trivet.data.sharding.whole`), what was changed there as well as the deliveries that wait there. The
transaction can not remove those of other nodes, so it records that they are handled, and they are removed after it; one
that is delivered meanwhile finds the record.

On SQLite the transaction has the file for itself: other writers wait for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

from trivet.core.backoff import full_jitter
from trivet.core.call import Call
from trivet.core.context import Read
from trivet.core.principal import Principal
from trivet.core.shape import Struct
from trivet.data.database import ALL_TENANTS, Contention, Database, Session, UniqueViolated
from trivet.data.fill import ViewPlan, tenants_of
from trivet.data.refreshed import note, refreshed
from trivet.data.view import View
from trivet.messaging.forget import forget, remove, take_over
from trivet.messaging.tables import micros
from trivet.policies.eventwork import HANDLER
from trivet.policies.work import UnitOfWork
from trivet.runtime import Runtime

if TYPE_CHECKING:
    from trivet.data.sharding.database import ShardedDatabase
    from trivet.data.sharding.whole import Whole

ATTEMPTS = 10
FIRST_SECONDS, LONGEST_SECONDS = 0.05, 1.0


class CannotRebuild(Exception):
    """The view can not be rebuilt; the message says what to do."""


class Rebuilt(Struct):
    """What a rebuild did.

    Attributes:
        rows: How many the view has now.
        events: How many that waited for its handlers, or were given up, are part of them.
    """

    rows: int
    events: int


async def rebuild(runtime: Runtime, view: View[Any, Any]) -> Rebuilt:
    """Make the rows of a view anew, all or nothing.

    Args:
        runtime: What is open in this process.
        view: One of the app's.

    Raises:
        CannotRebuild: It has no source, or its source gives a key twice.
        Contention: Others were in the way each time, or shards that change nodes.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            done = await _attempt(runtime, view)
        except Contention:  # a delivery was claimed between the instant and its removal, or a shard is on its way
            if attempt == ATTEMPTS:
                raise
        else:
            assert done is not None
            return done
        await asyncio.sleep(full_jitter(attempt, FIRST_SECONDS, LONGEST_SECONDS))
    raise AssertionError("the last attempt returned or raised")


async def refresh(runtime: Runtime, view: View[Any, Any], age: timedelta) -> Rebuilt | None:
    """Make the rows of a view anew if they are at least so old; ``None`` where another process was faster.

    Raises:
        CannotRebuild: Its source gives a key twice.
        Contention: Another process does so just now, or a shard changes nodes.
    """
    return await _attempt(runtime, view, age)


async def _attempt(runtime: Runtime, view: View[Any, Any], age: timedelta | None = None) -> Rebuilt | None:
    plan: ViewPlan[Any] = runtime.plans[view]
    if not view.sourced:
        raise CannotRebuild(f"{view.id} has no source: declare what its rows are made from with @view.source")
    clock = runtime.clock
    call = Call(
        None,
        protocol="internal",
        method="rebuild",
        peer=None,
        arrival=clock.monotonic(),
        request_id=str(clock.new_id()),
        principal=Principal(subject=f"module:{view.module.name}"),
    )
    call.unrestricted = True
    work = call.work = _Rebuilding(runtime, call, HANDLER, True)
    elsewhere: dict[Database, Sequence[int]] = {}
    try:
        session = work.session
        await plan.begin(session, wait=age is None)
        now = clock.now()
        if age is not None:
            last = (await refreshed(session)).get(view.id)
            if last is not None and now - last < age:
                return None
        session.tenant = ALL_TENANTS
        subscribers = [each.id for each in view.subscriptions]
        events = await forget(session, subscribers)
        if runtime.sharded:
            whole = cast("Whole", session)
            await whole.fix()
            for node, seen in whole.others:
                elsewhere[node] = await take_over(whole, seen, subscribers, micros(now))
                events += len(elsewhere[node])
        await plan.clear(session)
        rows = 0
        for tenant in await _tenants(session, view, runtime.plans):
            call.tenant = session.tenant = tenant
            rows += await _fill(session, plan, Read(work, view.module, unrestricted=True))
        await note(session, view.id, now)
        await work.commit()
    except UniqueViolated as twice:
        raise CannotRebuild(f"{view.id}: its source gives a key twice ({', '.join(twice.columns)})") from twice
    finally:
        await work.close()
    for node, ids in elsewhere.items():
        await remove(node, ids)
    return Rebuilt(rows=rows, events=events)


class _Rebuilding(UnitOfWork):
    """The unit of work of a rebuild: where tables are sharded, it sees all of them."""

    __slots__ = ()

    @property
    def session(self) -> Session:
        """The transaction, opened at the first use."""
        if self._session is None and self.runtime.sharded:
            from trivet.data.sharding.whole import Whole

            self._running()
            self._session = Whole(cast("ShardedDatabase", self.runtime.open_database()))
        return super().session


async def _fill(session: Session, plan: ViewPlan[Any], context: Read) -> int:
    """Add what the source of a view gives, and return how many rows that were."""
    if plan.selected is not None:
        return await session.execute(plan.selected.statement, plan.selected.values(context, ()))
    return await plan.load(session, context, plan.view.rows(context))


async def _tenants(session: Session, view: View[Any, Any], plans: Mapping[Any, Any]) -> Sequence[str | None]:
    """Return the tenants that have rows anywhere in the app, for a view that is kept per tenant."""
    if view.tenant is None:
        return [None]
    found: set[str] = set()
    for table, plan in plans.items():
        if plan.resolved.tenant is not None and table is not view:
            everywhere = cast("Whole", session).everywhere if plan.placement is not None else session.fetch
            found.update(tenant for (tenant,) in await everywhere(tenants_of(plan), ()))
    return sorted(found)
