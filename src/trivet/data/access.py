"""From a context to the store: a context reaches only its own module's tables, and only a `Write` changes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from trivet.core.context import Read, Write
from trivet.core.error import PermissionDenied

if TYPE_CHECKING:
    from trivet.data.database import Session
    from trivet.data.plan import TablePlan
    from trivet.data.relation import Relation

T = TypeVar("T", bound=msgspec.Struct)


def session_of(ctx: Read, table: Relation[Any, Any], *, write: bool = False) -> Session:
    """Return the session on which the context's work runs its statements on the table.

    Raises:
        TypeError: The table is another module's, or a verb that writes was given a context that reads.
    """
    if ctx.module is not table.module:
        raise _foreign(ctx, table)
    if write and not isinstance(ctx, Write):
        raise TypeError(f"a {type(ctx).__name__} context can not change {table!r}: make the operation a command")
    session: Session = ctx._work.session
    return session


def plan_of(ctx: Read, table: Relation[T, Any]) -> TablePlan[T]:
    """Return what the app that the context belongs to compiled for the table.

    Raises:
        RuntimeError: The app does not have the table's module.
    """
    try:
        plan: TablePlan[T] = ctx._work.plans[table]
    except KeyError:
        if ctx.module is not table.module:
            raise _foreign(ctx, table) from None
        raise RuntimeError(f"{table!r} is not bound: list {table.module!r} in App(modules=...)") from None
    return plan


def _foreign(ctx: Read, table: Relation[Any, Any]) -> TypeError:
    return TypeError(
        f"{table!r} belongs to module {table.module.name}, not to {ctx.module.name}: "
        f"call an operation of {table.module.name} instead"
    )


def tenant_of(ctx: Read) -> str:
    """Return the tenant that the caller's credential belongs to.

    Raises:
        PermissionDenied: It belongs to none, and the rows are kept per tenant. One without a name is none.
    """
    tenant = ctx.tenant
    if not tenant:
        raise PermissionDenied(detail="This needs a credential that belongs to a tenant.")
    return tenant
