"""Another app as a resource of this one: its modules are called from here as if they were here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from trivet.app import App
from trivet.core.context import Read
from trivet.core.operation import Operation
from trivet.core.resource import Elsewhere
from trivet.rpc.client import Client


class Service(Elsewhere[Client]):
    """Another app whose modules handlers call.

    ::

        catalog_service = Service("catalog_service", catalog_app, lambda app: Client("https://catalog.internal", app))
        app = App("orders", modules=[orders], resources=[catalog_service])

    From then on ``ctx.call(get_product, id)`` asks that app, and ``ctx.send(reserve, ...)`` is delivered to it. What
    neither can do, ``catalog_service.get(ctx).call(...)`` does: commands at once, streams, jobs.

    Args:
        name: Unique in the app; names the service in messages.
        app: The app, as this process knows it. It is only read, never run here.
        connect: Makes the client, when this app starts.
    """

    def __init__(self, name: str, app: App, connect: Callable[[App], Client]) -> None:
        super().__init__(name, lambda: connect(app), app.modules)

    def get(self, ctx: Read) -> Client:
        """Return the client for what this operation calls.

        Raises:
            LookupError: The service is not listed in ``App(resources=...)``.
        """
        return super().get(ctx).within(ctx, self)

    async def invoke(self, ctx: Read, operation: Operation[..., Any], arguments: Mapping[str, Any]) -> Any:
        """Run a query or a command over there on behalf of a context."""
        client: Any = self.get(ctx)  # typed by the operation, which is any here
        return await client.call(operation, **arguments)
