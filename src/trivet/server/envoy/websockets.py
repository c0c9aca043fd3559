"""WebSockets behind Envoy: a tunnel from its HTTP to a socket on which this process listens itself.

pyvoy's HTTP filter knows no upgrades. It has a network filter for WebSockets, which reads a connection before Envoy's
HTTP does: with it no limit on heads would hold, and sockets would live on an event loop of their own, away from what
the application has open. So Envoy stays in front with all its limits, and passes what asks for an upgrade on to a Unix
socket in the private directory. uvicorn's protocol serves it there, on the loop of the application.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Collection, MutableMapping
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.server import ServerState

from trivet.contracts.problem import MalformedRequest
from trivet.server.envoy.introduction import introduce
from trivet.server.interface import ASGIApp, Receive, Scope, Send
from trivet.server.websocket import WebSocket, deny, options
from trivet.settings import Settings


class WebSockets:
    """All WebSockets of this process.

    Args:
        path: The Unix socket that Envoy connects to.
        settings: What the process was told.
    """

    def __init__(self, path: str, settings: Settings) -> None:
        self._path = path
        self._settings = settings
        self._state = ServerState()
        self._listening: asyncio.AbstractServer | None = None

    @property
    def running(self) -> Collection[asyncio.Task[Any]]:
        """What the application does for them now."""
        return self._state.tasks

    async def start(self, app: ASGIApp, state: MutableMapping[str, Any]) -> None:
        """Accept connections of Envoy from now on."""
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # what clients do is not our warning

        async def introduced(scope: Scope, receive: Receive, send: Send) -> None:
            introduce(scope)
            if scope["http_version"] == "1.0":  # which knows no upgrades (RFC 6455 section 4.1)
                await deny(send, MalformedRequest)
            else:
                await app(scope, receive, send)

        config = uvicorn.Config(
            introduced,
            loop="none",
            interface="asgi3",
            lifespan="off",
            log_config=None,
            proxy_headers=False,
            **options(self._settings),
        )
        config.load()
        backlog = self._settings.server.backlog
        self._listening = await asyncio.get_running_loop().create_unix_server(
            lambda: WebSocket(config, self._state, dict(state)), sock=private_socket(self._path), backlog=backlog
        )

    def stop(self) -> None:
        """Accept nothing more, and close what is open: the clients come back elsewhere (1012)."""
        if self._listening is None:
            return
        self._listening.close()
        self._listening = None
        Path(self._path).unlink(missing_ok=True)
        for connection in list(self._state.connections):
            connection.shutdown()


def private_socket(path: str) -> socket.socket:
    """Return a Unix socket bound to a path, which only its owner can reach."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.bind(path)
    Path(path).chmod(0o600)
    return sock
