"""Lost updates are impossible: a change that names the version it was made from is compared with the row, locked.

The comparison is part of the command's transaction and comes before its handler, so that whatever the handler does, no
other change can come between the two; an attempt that is made again compares again. The row is read by the caller's
rights: one that the caller may not read does not exist (`NotFound`), one that it may read but not write is not its to
change (`PermissionDenied`), and both come before any word about versions (RFC 9110 section 13.2.1).

What a change is about follows from its name and its parameters, as its route does: ``cancel_order(id: OrderId)`` is
about the row of the module's table of orders that has this key.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from trivet.contracts.result import unwrap
from trivet.core.call import Call, Handler, Outcome
from trivet.core.context import Write
from trivet.core.error import PermissionDenied
from trivet.core.fault import Fault
from trivet.core.module import Module
from trivet.core.naming import Noun, snake, split
from trivet.core.operation import Operation
from trivet.core.precondition import (
    Current,
    Precondition,
    PreconditionFailed,
    PreconditionRequired,
    Verdict,
    decide,
    has_update_time,
)
from trivet.runtime import Runtime

if TYPE_CHECKING:
    from trivet.data.plan import TablePlan

WRITES_THE_ROW = ("update", "delete")
"""Verbs that change the row itself; what else a custom method needs to be allowed is known to its handler alone."""

SAID_WITH = {"graphql": "the argument ifVersion"}
"""Where a version is named, by protocol; elsewhere in the field of that name."""

UNKNOWN = Current()
"""It may exist, and nothing tells its versions apart."""


def precondition(operation: Operation[..., Any] | None, runtime: Runtime, next: Handler) -> Handler:
    """Refuse a change whose precondition does not hold, or that lacks one where it is required."""
    if operation is None or not operation.kind.writes:
        return next
    required = operation.declaration.precondition == "required"
    subject = subject_of(operation, runtime.plans)

    def guarded(call: Call) -> Awaitable[Outcome]:
        given = call.precondition
        if required and (given is None or given.match is None) and call.protocol != "internal":
            name = SAID_WITH.get(call.protocol, "If-Match")
            raise PreconditionRequired(detail=f"Say with {name} which version this change is made from.")
        return next(call) if given is None else compared(call, given)

    async def compared(call: Call, given: Precondition) -> Outcome:
        if subject is None:
            if decide(given, UNKNOWN, reads=False) is not Verdict.HOLDS:
                raise PreconditionFailed(detail="Nothing here has versions that a change could be made from.")
        else:
            row = await subject.lock(call)
            if decide(given, subject.current(row), reads=False) is not Verdict.HOLDS:
                subject.permit(call, row)
                raise PreconditionFailed
        return await next(call)

    return guarded


class Subject:
    """The row that an operation is about.

    Args:
        plan: Of the table that holds it.
        key: Returns its key from the operation's arguments.
        written: Whether the operation changes the row itself.
    """

    def __init__(self, plan: TablePlan[Any], key: Callable[[Mapping[str, Any]], Any], written: bool) -> None:
        self._table: Any = plan.resolved.declared  # a table: nobody changes a row of a view
        self._may_write = plan.may_write
        self._key = key
        self._written = written
        self.versioned = plan.versioned
        self._timed = has_update_time(self._table.shape)

    async def lock(self, call: Call) -> Any:
        """Return the row as it is now, and let nobody else change it until the transaction ends.

        Raises:
            NotFound: There is none that the caller may read.
        """
        context = Write(call.work, self._table.module, call.unrestricted)
        return await self._table.lock(context, self._key(call.arguments))

    def current(self, row: Any) -> Current:
        """Return what changes are compared with: the version alone, whichever form of it the caller has read."""
        return Current(
            marks=frozenset((str(row.version),)) if self.versioned else frozenset(),
            modified=row.update_time.replace(microsecond=0) if self._timed else None,
        )

    def permit(self, call: Call, row: Any) -> None:
        """Refuse a caller who may not write the row, whichever version it names.

        Raises:
            PermissionDenied: The caller may only read it.
        """
        if self._written and not call.unrestricted and not self._may_write(call.principal, row, ()):
            raise PermissionDenied


def subject_of(operation: Operation[..., Any], plans: Mapping[Any, Any]) -> Subject | None:
    """Return the row that an operation is about; ``None`` where its name and parameters do not lead to one table."""
    by_noun: dict[str, list[TablePlan[Any]]] = {}
    for table, plan in plans.items():
        if table.module is operation.module and table not in operation.module.views:
            by_noun.setdefault(snake(table.shape.__name__), []).append(plan)
    verb, noun, many = split(operation.name, {name: Noun(singular=name) for name in by_noun})
    if noun is None or many or len(by_noun[noun.singular]) > 1:
        return None
    plan = by_noun[noun.singular][0]
    given = {p.name: unwrap(p.type) for p in operation.signature.parameters if p.required}
    names = ["id"] if len(plan.key.columns) == 1 else [column.path[-1] for column in plan.key.columns]
    wanted = [unwrap(column.value.annotation) for column in plan.key.columns]
    if [given.get(name) for name in names] != wanted:
        return None
    key: Callable[[Mapping[str, Any]], Any] = itemgetter(*names)
    return Subject(plan, key, written=verb in WRITES_THE_ROW)


def comparing(operations: Iterable[Operation[..., Any]], plans: Mapping[Any, Any]) -> frozenset[str]:
    """Return the ids of the operations that compare the version of a row before they change it."""
    writing = ((operation.id, subject_of(operation, plans)) for operation in operations if operation.kind.writes)
    return frozenset(id for id, subject in writing if subject is not None and subject.versioned)


def check(modules: Iterable[Module], plans: Mapping[Any, Any]) -> list[Fault]:
    """Return the operations that demand a version where there is none."""
    return [
        Fault(
            rule="precondition",
            place=operation.place,
            problem=f'{operation.id} is declared precondition="required", but nothing leads to a row with a version',
            mend="End its name in the noun of a Table of this module whose shape has `version: int`, and take its key "
            "as `id`.",
        )
        for module in modules
        for operation in module.operations
        if operation.declaration.precondition == "required" and not _versioned(operation, plans)
    ]


def _versioned(operation: Operation[..., Any], plans: Mapping[Any, Any]) -> bool:
    try:
        subject = subject_of(operation, plans)
    except TypeError:
        return True  # its signature is a fault of its own
    return subject is not None and subject.versioned
