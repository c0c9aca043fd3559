"""What pyvoy loads into Envoy: a worker, in the clothes of an ASGI application.

Envoy imports this module on its main thread before anything else of Python runs, and so imports the user's application
there too. Then it calls `app` with a lifespan on the thread of the event loop: that call lasts as long as the worker.
"""

from __future__ import annotations

import asyncio
import atexit
import ctypes
import os
import shutil
import signal
import socket
import sys
from pathlib import Path
from threading import get_ident
from typing import NoReturn

import msgspec

from trivet.server.control import Channel, Embedding, FromSupervisor, Order
from trivet.server.envoy.admin import Admin
from trivet.server.envoy.home import answer_at
from trivet.server.envoy.http import serves_http3
from trivet.server.envoy.server import EnvoyServer
from trivet.server.envoy.websockets import WebSockets
from trivet.server.interface import Receive, Scope, Send
from trivet.server.worker import CANNOT_START, Worker, open_app

SIGNALS = (signal.SIGTERM, signal.SIGINT)
SIGACTION_BYTES = 512
"""More than `struct sigaction` has on any system."""


def adopt(embedding: Embedding) -> None:
    """Make this interpreter look like the supervisor's, and keep from child processes what only Envoy was to have."""
    for variable, value in embedding.environ.items():
        if value is None:
            os.environ.pop(variable, None)
        else:
            os.environ[variable] = value
    for descriptor in embedding.descriptors:
        os.set_inheritable(descriptor, False)
    for name in ("executable", "_base_executable"):  # the second is what `venv` and `multiprocessing` look at
        setattr(sys, name, embedding.executable)
    sys.base_prefix, sys.base_exec_prefix = embedding.base_prefix, embedding.base_exec_prefix
    sys.path[:] = embedding.path
    sys.argv = ["trivet"]


class Signals:
    """Orderly ends by signal, although Envoy has its own idea of them.

    Python's handler writes to a pipe, which the event loop reads on its thread. Envoy replaces that handler when it
    starts to run, so it is put back then. Both halves are needed: only the main thread may install handlers in
    Python, and that thread is Envoy's from then on.
    """

    def __init__(self) -> None:
        self._reading, self._writing = os.pipe()
        for descriptor in (self._reading, self._writing):
            os.set_blocking(descriptor, False)
        self._libc = ctypes.CDLL(None)
        self._actions: dict[int, ctypes.Array[ctypes.c_char]] = {}
        for number in SIGNALS:
            signal.signal(number, lambda *_: None)
            action = ctypes.create_string_buffer(SIGACTION_BYTES)
            self._libc.sigaction(number, None, action)
            self._actions[number] = action
        signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)

    def watch(self, worker: Worker) -> None:
        """End the worker in order on SIGTERM; Ctrl-C is left to the supervisor."""

        def read() -> None:
            if signal.SIGTERM in os.read(self._reading, 64):
                worker.end()

        asyncio.get_running_loop().add_reader(self._reading, read)

    def take_back(self) -> None:
        """Put Python's handlers back in place of Envoy's."""
        for number, action in self._actions.items():
            self._libc.sigaction(number, action, None)


def order_of(environ: os._Environ[str]) -> Order:
    """Take the order out of the environment."""
    return msgspec.json.decode(environ.pop("_TRIVET_ORDER"), type=Order)


def leave(status: int, *, orphaned: bool = False) -> NoReturn:
    """End the process. Envoy's own way waits for what is over already, and does not know our exit status.

    Args:
        status: Of the process.
        orphaned: Whether the supervisor is known to be gone.
    """
    if orphaned or os.getppid() != EMBEDDING.supervisor:  # nobody else is left to do it
        shutil.rmtree(EMBEDDING.directory, ignore_errors=True)
        Path(EMBEDDING.memory).unlink(missing_ok=True)
    atexit._run_exitfuncs()  # Envoy does not finalize the interpreter, and who registered something relies on it
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(status)


def is_over(control: socket.socket) -> bool:
    """Whether nobody is at the other end any more."""
    try:
        return control.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


ORDER = msgspec.json.decode(os.environ.pop("_TRIVET_ORDER"), type=Order)
assert ORDER.embedding is not None
EMBEDDING = ORDER.embedding
adopt(EMBEDDING)
SIGNALLED = Signals()
CONTROL = socket.socket(fileno=ORDER.control)
CONTROL.setblocking(False)
OPENED = open_app(ORDER, CONTROL)
if OPENED is None:
    leave(CANNOT_START)
if is_over(CONTROL):  # Envoy would ask for the sockets of one that ends, too, and abort
    leave(CANNOT_START, orphaned=True)
APP, SETTINGS, LOG = OPENED
WEBSOCKETS = WebSockets(EMBEDDING.websockets, SETTINGS)
SERVER = EnvoyServer(
    Admin(EMBEDDING.admin), EMBEDDING.ports, WEBSOCKETS, SIGNALLED.take_back, LOG, http3=serves_http3(SETTINGS)
)


HOME: dict[int, asyncio.AbstractEventLoop] = {}
"""The loop of the worker by its thread, once there is one: to ask which one runs is a system call up to Python 3.11."""


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request; as the first lifespan, be the worker."""
    if scope["type"] == "lifespan":
        await receive()
        if not HOME:
            HOME[get_ident()] = asyncio.get_running_loop()
            await work(scope, send)
        scope["state"].update(SERVER.state)  # of another listener: the application is open already
        await send({"type": "lifespan.startup.complete"})
        await receive()  # never comes: the worker leaves
    elif get_ident() in HOME:
        await SERVER(scope, receive, send)
    else:
        await answer_at(next(iter(HOME.values())), SERVER, scope, receive, send)


async def work(scope: Scope, send: Send) -> NoReturn:
    """Be the worker, until the process ends."""

    async def opened() -> None:  # pyvoy waits for this before it lets Envoy listen
        scope["state"].update(SERVER.state)
        await send({"type": "lifespan.startup.complete"})

    SERVER.when_open = opened
    channel: Channel[FromSupervisor] = Channel(CONTROL, FromSupervisor)
    worker = Worker(APP, SETTINGS, ORDER, channel, SERVER)
    SIGNALLED.watch(worker)
    status = await worker.run()
    if not worker.orphaned:  # else those that Envoy would tell that it ends are gone, too, which it does not bear
        await SERVER.part()
    leave(status, orphaned=worker.orphaned)
