"""The TCP connections of this process, as the kernel knows them.

Envoy counts its connections too, but while it drains it can be asked a few times only. The kernel always knows, and it
alone knows whether what was written has been sent.
"""

from __future__ import annotations

import fcntl
import os
import socket
import stat
import struct
import termios
from collections.abc import Collection
from typing import NamedTuple


class Census(NamedTuple):
    """How many TCP sockets of this process are on the ports of the server."""

    listening: int = 0
    connected: int = 0
    sending: int = 0
    """Those of the connected ones that have bytes left to send."""


def census(ports: Collection[int]) -> Census:
    """Count the sockets of this process."""
    listening = connected = sending = 0
    for name in os.listdir("/proc/self/fd"):
        try:
            if not stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                continue
            copy = socket.socket(fileno=os.dup(int(name)))
        except OSError:
            continue  # closed since it was listed
        with copy:
            if not _is_on(copy, ports):
                continue
            if copy.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                listening += 1
            elif _is_connected(copy):
                connected += 1
                sending += _unsent(copy) > 0
    return Census(listening, connected, sending)


def _is_on(sock: socket.socket, ports: Collection[int]) -> bool:
    if sock.family not in (socket.AF_INET, socket.AF_INET6) or sock.type != socket.SOCK_STREAM:
        return False
    return sock.getsockname()[1] in ports


def _is_connected(sock: socket.socket) -> bool:
    try:
        sock.getpeername()
    except OSError:
        return False
    return True


def _unsent(sock: socket.socket) -> int:
    answer = fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, struct.pack("i", 0))
    number: int = struct.unpack("i", answer)[0]
    return number
