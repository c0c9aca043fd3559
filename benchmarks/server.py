"""A server process under measurement: started on a free port, its consumption read from outside, stopped in the end."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import psutil

from benchmarks.driver import HOST, Load, Result, Shot
from benchmarks.effort import Effort
from trivet.core.shape import Struct

ROOT = Path(__file__).parent.parent
START_TIMEOUT = 30.0
STOP_TIMEOUT = 15.0


class ServerFailed(Exception):
    """A server did not start, died, or answered wrongly; the message has the end of its log."""


class Request(Struct):
    """A request that a case sends.

    Attributes:
        status: The only status that counts as an answer.
    """

    method: str
    target: str
    body: bytes = b""
    status: int = 200

    def wire(self, port: int) -> bytes:
        """Return the request as HTTP/1.1 has it."""
        head = f"{self.method} {self.target} HTTP/1.1\r\nHost: {HOST}:{port}\r\nAccept: application/json\r\n"
        if self.body:
            head += f"Content-Type: application/json\r\nContent-Length: {len(self.body)}\r\n"
        return head.encode() + b"\r\n" + self.body


class Sample(Struct):
    """One measurement of one server.

    Attributes:
        cpu: Processor time that the server's processes spent per request, user and system, in seconds.
        busy: Processor seconds per second; 1.0 is one processor all the time.
        memory: Resident bytes of the server's processes after the measurement.
        seen: What the clients saw.
    """

    cpu: float
    busy: float
    memory: int
    seen: Result

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self.seen.requests / self.seen.seconds


class Server:
    """A running server.

    Args:
        process: Its main process; children count as part of it.
        port: Where it listens.
        log: Where its output goes.
    """

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.port = port
        self._process = process
        self._log = log

    def ask(self, request: Request) -> Any:
        """Send one request and return the decoded JSON of its answer.

        Raises:
            ServerFailed: The status is not the expected one.
        """
        connection = http.client.HTTPConnection(HOST, self.port, timeout=START_TIMEOUT)
        headers = {"Accept": "application/json"}
        if request.body:
            headers["Content-Type"] = "application/json"
        try:
            connection.request(request.method, request.target, request.body or None, headers)
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        if answer.status != request.status:
            raise self.failure(
                f"{request.method} {request.target} answered {answer.status}, not {request.status}: {body[:500]!r}"
            )
        return msgspec.json.decode(body)

    def measure(self, requests: list[Request], effort: Effort) -> Sample:
        """Drive the server once and return what it cost.

        Raises:
            ServerFailed: An answer was not the expected one.
        """
        load = Load(
            port=self.port,
            shots=[Shot(wire=request.wire(self.port), status=request.status) for request in requests],
            connections=effort.connections,
            warmup=effort.warmup,
            seconds=effort.seconds,
        )
        return self.driven_by("benchmarks.driver", load)

    def driven_by(self, module: str, load: Struct) -> Sample:
        """Let a client drive the server once, and return what it cost.

        Args:
            module: The client, a process of its own that speaks as `benchmarks.driver` does.
            load: What it is told.

        Raises:
            ServerFailed: An answer was not the expected one.
        """
        with subprocess.Popen(
            [sys.executable, "-m", module], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as driver:
            assert driver.stdin is not None
            assert driver.stdout is not None
            driver.stdin.write(msgspec.json.encode(load) + b"\n")
            driver.stdin.flush()
            if driver.stdout.readline() != b"ready\n":
                raise self.failure("the driver did not get the expected answers")
            before = self._cpu_seconds()
            driver.stdin.write(b"go\n")
            driver.stdin.flush()
            line = driver.stdout.readline()
            spent = self._cpu_seconds() - before
            if not line:
                raise self.failure("the driver did not get the expected answers")
        seen = msgspec.json.decode(line, type=Result)
        return Sample(cpu=spent / seen.requests, busy=spent / seen.seconds, memory=self._memory(), seen=seen)

    def wait(self) -> None:
        """Return when the server accepts connections."""
        deadline = time.monotonic() + START_TIMEOUT
        while True:
            if self._process.poll() is not None:
                raise self.failure(f"ended with status {self._process.returncode} instead of serving")
            try:
                socket.create_connection((HOST, self.port), timeout=1).close()
            except OSError:
                if time.monotonic() > deadline:
                    raise self.failure(f"did not listen within {START_TIMEOUT:.0f} s") from None
                time.sleep(0.05)
            else:
                return

    def stop(self) -> None:
        """End the process and wait for it."""
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def failure(self, what: str) -> ServerFailed:
        """Return an error that ends with the last lines of the server's output."""
        lines = self._log.read_text(errors="replace").splitlines()[-15:] if self._log.exists() else []
        return ServerFailed("\n    ".join([f"{self._log.stem}: {what}", *lines]))

    def _tree(self) -> list[Any]:
        main = psutil.Process(self._process.pid)
        return [main, *main.children(recursive=True)]

    def _cpu_seconds(self) -> float:
        return sum(times.user + times.system for times in (process.cpu_times() for process in self._tree()))

    def _memory(self) -> int:
        return sum(process.memory_info().rss for process in self._tree())


def environment(settings: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of a child process, which finds this package wherever it runs.

    Bytecode is kept, as it is for whatever is started more than once: a start would otherwise compile all it imports.
    """
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    given = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**given, **(settings or {}), "PYTHONPATH": path}


@contextmanager
def serving(name: str, app: str, settings: Mapping[str, str], workplace: Path) -> Iterator[Server]:
    """Run an application in a process of its own.

    Args:
        name: Names the log.
        app: ``module:attribute`` of an ASGI application.
        settings: Environment variables of the server, beside this process's own.
        workplace: Working directory of the server; its output goes to a file there.

    Raises:
        ServerFailed: It did not come up.
    """
    listener = socket.socket()
    listener.bind((HOST, 0))
    log = workplace / f"{name}.log"
    with listener, log.open("wb") as output:
        port = listener.getsockname()[1]
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.serve", app, str(listener.fileno())],
            cwd=workplace,
            env=environment(settings),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=[listener.fileno()],
        )
    server = Server(process, port, log)
    try:
        server.wait()
        yield server
    finally:
        server.stop()
