"""One event loop for everything: pyvoy starts one, and the application, anew for each listener of Envoy.

The loop of the first listener is home to the worker. What the others bring (HTTP/3 has a listener of its own, and so
has each further address) is answered there, and its messages cross over: what the application has open belongs to one
loop, and is opened once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from trivet.server.interface import ASGIApp, Message, Receive, Scope, Send


async def answer_at(home: asyncio.AbstractEventLoop, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Let an application answer on the loop where it is at home, for a request that arrived on this one."""
    here = asyncio.get_running_loop()

    def there_and_back(call: Callable[..., Awaitable[Any]]) -> Callable[..., asyncio.Future[Any]]:
        async def awaited(*message: Message) -> Any:
            return await call(*message)

        # A future and no coroutine: who waits for it may stop to, and wait again.
        return lambda *message: asyncio.wrap_future(asyncio.run_coroutine_threadsafe(awaited(*message), here))

    async def answer() -> None:
        await app(scope, there_and_back(receive), there_and_back(send))

    await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(answer(), home))
