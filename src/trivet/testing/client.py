"""The client for tests: requests and operations, in this process, through every policy."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Literal, ParamSpec, TypeVar, overload

import msgspec

from trivet.app import App, Service
from trivet.core.context import Read, Write
from trivet.core.job import JobStatus
from trivet.core.module import Module
from trivet.core.operation import Command, Intake, Job, Query, Stream
from trivet.core.principal import ANONYMOUS, Principal
from trivet.data.view import View
from trivet.server.direct import run_operation
from trivet.server.interface import ASGIApp
from trivet.server.lifespan import Lifespan
from trivet.settings import Settings
from trivet.testing import asgi
from trivet.testing.app import app_for_tests
from trivet.testing.asgi import Response
from trivet.testing.context import work_of
from trivet.testing.settle import settle

P = ParamSpec("P")
R = TypeVar("R")


class Client:
    """A caller of an app that runs in this process, on a temporary database of its own.

    The app under test is a copy with the same modules, resources and mounts, told what `settings_for_tests` says.

    ::

        async with Client(app) as client:
            answer = await client.post("/v1/notes", json={"text": "milk"}, as_=principal(scopes="notes.write"))
            assert answer.status == 201

    Args:
        app: An App, or any ASGI application (which is used as it is).
        settings: What the app is told instead.
        principal: Who calls where a request does not say.
    """

    def __init__(
        self, app: App | ASGIApp, *, settings: Settings | None = None, principal: Principal = ANONYMOUS
    ) -> None:
        self.app: App | ASGIApp = app_for_tests(app, settings) if isinstance(app, App) else app
        self.principal = principal
        self._lifespan = Lifespan(self.app)

    async def __aenter__(self) -> Client:
        await self._lifespan.startup()
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self._lifespan.shutdown()

    def as_(self, principal: Principal) -> Client:
        """Return this client as another caller."""
        other = Client.__new__(Client)
        other.__dict__.update(self.__dict__, principal=principal)
        return other

    @property
    def service(self) -> Service:
        """What runs.

        Raises:
            TypeError: The application is not an App.
        """
        if not isinstance(self.app, App):
            raise TypeError("this client's application is not a trivet.App")
        return self.app.service

    # -- over HTTP

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        json: Any = msgspec.UNSET,
        content: bytes | None = None,
        as_: Principal | None = None,
    ) -> Response:
        """Send a request and return the whole response.

        Args:
            method: The HTTP method.
            path: The target, such as ``/v1/notes/{id}`` with the id filled in.
            query: Query parameters; a list gives one several times.
            headers: Header fields.
            json: A value to be sent as JSON.
            content: Bytes to be sent as they are.
            as_: Who calls, this time.
        """
        who = as_ or self.principal
        return await asgi.exchange(
            self.app,
            method,
            path,
            query=query,
            headers=headers,
            json=json,
            content=content,
            principal=None if who is ANONYMOUS else who,
            state=self._lifespan.state,
        )

    async def get(self, path: str, **options: Any) -> Response:
        """Send a GET; see `request`."""
        return await self.request("GET", path, **options)

    async def post(self, path: str, **options: Any) -> Response:
        """Send a POST; see `request`."""
        return await self.request("POST", path, **options)

    async def patch(self, path: str, **options: Any) -> Response:
        """Send a PATCH; see `request`."""
        return await self.request("PATCH", path, **options)

    async def put(self, path: str, **options: Any) -> Response:
        """Send a PUT; see `request`."""
        return await self.request("PUT", path, **options)

    async def delete(self, path: str, **options: Any) -> Response:
        """Send a DELETE; see `request`."""
        return await self.request("DELETE", path, **options)

    # -- without a transport

    @overload
    async def call(self, operation: Query[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    async def call(self, operation: Command[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    async def call(self, operation: Stream[P, R], /, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[R]: ...
    @overload
    async def call(self, operation: Intake[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    async def call(self, operation: Job[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> JobStatus: ...
    async def call(self, operation: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Run an operation through its policies, internal ones included; ``client.as_(who).call(...)`` says who calls.

        Raises:
            Error: What the operation or a policy raised.
        """
        arguments = operation.signature.arguments(args, dict(kwargs))
        return await run_operation(self.service, operation, arguments, self.principal)

    @overload
    def context(
        self, module: Module, *, write: Literal[True] = ..., commit: bool = ..., as_module: bool = ...
    ) -> AbstractAsyncContextManager[Write]: ...
    @overload
    def context(
        self, module: Module, *, write: Literal[False], commit: bool = ..., as_module: bool = ...
    ) -> AbstractAsyncContextManager[Read]: ...
    def context(
        self, module: Module, *, write: bool = True, commit: bool = True, as_module: bool = False
    ) -> AbstractAsyncContextManager[Any]:
        """Open a context of a module on the database of this client, to prepare what a test needs or to look at it.

        Args:
            module: Whose tables the context reaches.
            write: Whether it may write.
            commit: Whether what was done is kept at exit.
            as_module: Whether it acts with the module's own rights, past the row rules.
        """
        return work_of(self.service, module, self.principal, write, commit, as_module)

    async def rebuild(self, view: View[Any, Any]) -> None:
        """Make the rows of a view anew from its source, now; see ``trivet views rebuild``."""
        from trivet.policies.rebuild import rebuild

        await rebuild(self.service.runtime, view)

    async def settle(self, timeout: float = 10) -> None:
        """Return when every event and job so far, and those that they caused, was handled.

        Args:
            timeout: Seconds after which that counts as a failure.

        Raises:
            TimeoutError: Something is still waiting, with what it is.
        """
        await settle(self.service, timeout)
