"""The seam of the server: what serves an ASGI application inside a worker, and what it promises."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any, Protocol

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]


class Server(Protocol):
    """Serves one ASGI application on sockets that somebody else bound.

    The life is `start`, then at most one `wind_down`, then `stop`. It speaks no lifespan: the worker does that around
    it. Bytes that are not HTTP are answered with a problem, never with the application.
    """

    async def start(self, app: ASGIApp, sockets: Sequence[socket.socket], state: MutableMapping[str, Any]) -> None:
        """Accept connections from now on.

        Args:
            app: What answers.
            sockets: Listening sockets; they are shared with other processes and stay open there.
            state: What the lifespan left for requests.
        """
        ...

    def renew(self) -> None:
        """Show the certificate that is in its file now to connections from now on."""
        ...

    def wind_down(self) -> None:
        """Let every answer from now on close its connection, while new connections are still accepted."""
        ...

    async def stop(self, idle: float, timeout: float, *, taken: bool) -> int:
        """Accept nothing more, and return when no connection is left.

        Args:
            idle: Seconds for which connections without a request are kept, as their next one may be on its way.
            timeout: Seconds after which requests are cut off.
            taken: Whether the process that replaces this one took its sockets over.

        Returns:
            How many requests were cut off.
        """
        ...
