"""The seam of worker processes: how one is started, and what it does to a socket when another takes its place."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from trivet.server.control import Order
from trivet.server.loading import Target
from trivet.server.tls import CertificateStore


class Launcher(Protocol):
    """Starts the worker processes of one kind of server.

    Attributes:
        queues: Whether connections wait while no worker serves, because the supervisor holds the listening sockets.
            Where it does not, a worker takes the sockets over from the one that it replaces.
    """

    queues: bool

    def start(self, name: str, control: socket.socket, *, replaces: bool) -> subprocess.Popen[bytes]:
        """Start a worker.

        Args:
            name: Names it in logs and metrics.
            control: Its end of the socket to the supervisor.
            replaces: Whether a worker of this name serves and is to be replaced.
        """
        ...

    def serves(self, name: str) -> bool:
        """Take note that the worker started last under a name serves; returns whether it took its sockets over."""
        ...

    def ended(self, pid: int) -> None:
        """Take note that a worker process has ended."""
        ...

    def stop_listening(self) -> None:
        """Let go of the addresses: workers have them for as long as they serve."""
        ...

    def close(self) -> None:
        """Remove what is left when every worker has ended."""
        ...


class UvicornLauncher:
    """Starts workers that serve with uvicorn on the supervisor's sockets.

    Args:
        target: The application.
        sockets: Listening sockets; connections wait in their one queue, whichever worker takes them.
        environ: The environment of the workers.
        certificate: Present when TLS is served.
    """

    queues = True

    def __init__(
        self,
        target: Target,
        sockets: Sequence[socket.socket],
        environ: Mapping[str, str],
        certificate: CertificateStore | None = None,
    ) -> None:
        self._target = target
        self._sockets = sockets
        self._environ = dict(environ)
        self._pem = self._client_ca = ""
        if certificate is not None:
            self._pem, self._client_ca = str(certificate.pem), str(certificate.client_ca)

    def start(self, name: str, control: socket.socket, *, replaces: bool) -> subprocess.Popen[bytes]:
        """Start a worker."""
        descriptors = tuple(sock.fileno() for sock in self._sockets)
        order = Order(
            target=self._target,
            sockets=descriptors,
            control=control.fileno(),
            name=name,
            certificate=self._pem,
            client_ca=self._client_ca,
        )
        return subprocess.Popen(  # noqa: S603 (our own interpreter and module)
            [sys.executable, "-m", "trivet.server.worker", msgspec.json.encode(order).decode()],
            pass_fds=(*descriptors, control.fileno()),
            env=self._environ,
        )

    def serves(self, name: str) -> bool:
        """Nothing depends on it: the sockets are the supervisor's."""
        return False

    def ended(self, pid: int) -> None:
        """Nothing depends on it."""

    def stop_listening(self) -> None:
        """Close the sockets: when the last worker closes them too, nobody listens."""
        for sock in self._sockets:
            sock.close()

    def close(self) -> None:
        """Nothing is left."""
