"""Binding sockets: exclusively, so that two applications never share a port by accident."""

from __future__ import annotations

import errno
import socket
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

UNSENT_BYTES = 128 * 1024
"""How much the kernel keeps for a client beyond what is on its way."""


class CannotListen(Exception):
    """The address can not be bound; the message says why and what to do."""


def listen(host: str, port: int, *, backlog: int, setting: str, mend: str) -> list[socket.socket]:
    """Return listening sockets for every address of a host.

    Without SO_REUSEPORT a second listener is refused, also one that has it. Connections queue from now on.

    Args:
        host: Name or address.
        port: 0 picks a free one.
        backlog: Connections that may wait.
        setting: The setting that gave the address, for messages.
        mend: How to choose another port, for messages.

    Raises:
        CannotListen: The port is taken, the address is not this machine's, or the port needs privileges.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as unknown:
        message = f"host {host!r} ({setting}) is unknown: {unknown.strerror or unknown}"
        raise CannotListen(f"{message}\n    Use an address of this machine, such as 127.0.0.1.") from unknown
    sockets: list[socket.socket] = []
    try:
        for family, _, _, _, address in dict.fromkeys(found):
            sock = socket.socket(family, socket.SOCK_STREAM)
            sockets.append(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            chosen = port or (sockets[0].getsockname()[1] if len(sockets) > 1 else 0)
            sock.bind((address[0], chosen, *address[2:]))
            sock.listen(backlog)
            sock.setblocking(False)
    except OSError as refused:
        for sock in sockets:
            sock.close()
        raise CannotListen(_why(refused, host, port, mend)) from refused
    return sockets


def options(send_timeout: float) -> list[tuple[int, int, int]]:
    """Return the options of a listening socket, as level, name and value, that its connections inherit.

    They bound what a client costs that stops reading, and for how long: the kernel keeps little of what it does not
    take, and resets a connection that has taken nothing for so many seconds, whether its client is silent
    (RFC 9293 section 3.8.3) or answers that it has no room.
    """
    wanted = {"TCP_NOTSENT_LOWAT": UNSENT_BYTES, "TCP_USER_TIMEOUT": int(send_timeout * 1000)}
    return [
        (socket.IPPROTO_TCP, getattr(socket, name), value) for name, value in wanted.items() if hasattr(socket, name)
    ]


def _why(refused: OSError, host: str, port: int, mend: str) -> str:
    if refused.errno == errno.EADDRINUSE:
        return f"port {port} is taken{_by(port)}; {mend}"
    if refused.errno == errno.EACCES:
        return f"port {port} needs privileges; {mend}"
    if refused.errno == errno.EADDRNOTAVAIL:
        return f"{host} is not an address of this machine; use 127.0.0.1, or 0.0.0.0 for all of them"
    return f"can not listen on {host}:{port}: {refused.strerror or refused}"


def _by(port: int) -> str:
    """Return `` by name (pid 1)`` for the process that listens on the port, as far as this user may see it."""
    with suppress(OSError):
        inodes = set(_listening_inodes(port))
        for process in Path("/proc").iterdir() if inodes else ():
            if process.name.isdigit() and _holds(process, inodes):
                arguments = (process / "cmdline").read_bytes().rstrip(b"\0").split(b"\0")
                command = textwrap.shorten(b" ".join(arguments).decode("utf-8", "replace"), 100, placeholder=" …")
                return f" by `{command}` (pid {process.name})"
    return ""


def _listening_inodes(port: int) -> Iterator[str]:
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with suppress(OSError):
            for line in Path(table).read_text().splitlines()[1:]:
                columns = line.split()
                if columns[3] == "0A" and int(columns[1].rpartition(":")[2], 16) == port:
                    yield f"socket:[{columns[9]}]"


def _holds(process: Path, inodes: set[str]) -> bool:
    with suppress(OSError):
        for descriptor in (process / "fd").iterdir():
            with suppress(OSError):
                if str(descriptor.readlink()) in inodes:
                    return True
    return False


def url_of(sockets: Sequence[socket.socket], *, tls: bool = False) -> str:
    """Return the address under which people reach the sockets."""
    address: tuple[str, int] = sockets[0].getsockname()[:2]
    host, port = address
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 (compared, not bound)
    return f"http{'s' * tls}://{f'[{host}]' if ':' in host else host}:{port}"
