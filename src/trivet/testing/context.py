"""A real context for one handler: a unit of work on a real, temporary database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Literal, overload

from trivet.app import App, Service
from trivet.core.call import Call
from trivet.core.context import Read, Write
from trivet.core.declaration import Access, Declaration
from trivet.core.module import Module
from trivet.core.principal import ANONYMOUS, Principal
from trivet.policies.work import UnitOfWork
from trivet.testing.app import app_for_tests

DECLARATION = Declaration(access=Access(public=True))


@overload
def context(
    module: Module,
    *,
    app: App | None = ...,
    principal: Principal = ...,
    write: Literal[True] = ...,
    commit: bool = ...,
    as_module: bool = ...,
) -> AbstractAsyncContextManager[Write]: ...
@overload
def context(
    module: Module,
    *,
    app: App | None = ...,
    principal: Principal = ...,
    write: Literal[False],
    commit: bool = ...,
    as_module: bool = ...,
) -> AbstractAsyncContextManager[Read]: ...
def context(
    module: Module,
    *,
    app: App | None = None,
    principal: Principal = ANONYMOUS,
    write: bool = True,
    commit: bool = False,
    as_module: bool = False,
) -> AbstractAsyncContextManager[Any]:
    """Open a context of a module on a temporary database, for calling a handler directly.

    ::

        async with context(notes, principal=principal("ada")) as ctx:
            note = await create_note.handler(ctx, NewNote(text="milk"))

    Args:
        module: Whose tables the context reaches.
        app: The app that it is part of, where handlers need its other modules or resources.
        principal: Who is calling; row rules hold for it.
        write: Whether it may write.
        commit: Whether what was done is kept at exit; otherwise it is rolled back.
        as_module: Whether it acts with the module's own rights, past the row rules.
    """
    return _alone(app or module, module, principal, write, commit, as_module)


@asynccontextmanager
async def _alone(
    subject: App | Module, module: Module, principal: Principal, write: bool, commit: bool, as_module: bool
) -> AsyncIterator[Read]:
    app = app_for_tests(subject, None)
    async with app, work_of(app.service, module, principal, write, commit, as_module) as ctx:
        yield ctx


@asynccontextmanager
async def work_of(
    service: Service, module: Module, principal: Principal, write: bool, commit: bool, as_module: bool
) -> AsyncIterator[Read]:
    """Open a context of a running app; the arguments are those of `context`."""
    clock = service.runtime.clock
    call = Call(
        None,
        protocol="internal",
        method="test",
        peer=None,
        arrival=clock.monotonic(),
        request_id=str(clock.new_id()),
        principal=principal,
    )
    call.unrestricted = as_module
    work = call.work = UnitOfWork(service.runtime, call, DECLARATION, write)
    try:
        kind = Write if write else Read
        yield kind(work, module, as_module)
        if commit:
            await work.commit()
    finally:
        await work.close()
