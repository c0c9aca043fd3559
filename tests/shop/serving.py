"""The shop as its users meet it: a process of its own, on a free port, with a database of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 60
"""How long something that surely happens may take on a machine that is busy with other tests."""


class Serving:
    """A running shop.

    Attributes:
        url: Where it listens.
        process: The process that was started; its workers are children.
        log: What it wrote.
    """

    def __init__(self, url: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.url = url
        self.process = process
        self.log = log

    def workers(self) -> list[int]:
        """Return the processes that serve, from the oldest on."""
        return [pid for pid in children(self.process.pid) if "resource_tracker" not in command_line(pid)]

    def kill_worker(self, index: int) -> None:
        """Take a worker away without a word."""
        workers = self.workers()
        if workers:
            os.kill(workers[index % len(workers)], signal.SIGKILL)


@contextmanager
def serving(directory: Path, *, workers: int = 1, **settings: str) -> Iterator[Serving]:
    """Serve the shop from an empty directory; callers act as the developer."""
    port = free_port()
    log = directory / "shop.log"
    environ = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT / "examples")]),
        "PORT": str(port),
        "DATABASE_URL": f"sqlite:///{directory}/shop.db",
        "TRIVET_ENVIRONMENT": "development",
        "TRIVET_SERVER__WORKERS": str(workers),
        "TRIVET_SERVER__MANAGEMENT_PORT": "off",
        "TRIVET_LOG__FORMAT": "json",
        **settings,
    }
    command = [sys.executable, "-m", "trivet.cli", "run", "shop.app:app"]
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=directory, env=environ, stdout=output, stderr=subprocess.STDOUT)
    try:
        url = f"http://127.0.0.1:{port}"
        wait_until_ready(url, process, log)
        yield Serving(url, process, log)
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Return when the shop answers; raise with its log when it does not."""
    until = time.monotonic() + PATIENCE_SECONDS
    while process.poll() is None and time.monotonic() < until:
        try:
            if httpx2.get(f"{url}/readyz", timeout=5).status_code == 200:
                return
        except httpx2.TransportError:
            time.sleep(0.05)
    raise RuntimeError(f"the shop did not start:\n{log.read_text()}")


def children(pid: int) -> list[int]:
    """Return the child processes of a process."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def command_line(pid: int) -> str:
    """Return how a process was started."""
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()


async def pages(client: httpx2.AsyncClient, path: str, **query: Any) -> AsyncIterator[dict[str, Any]]:
    """Yield the items of a list, page after page."""
    token: str | None = None
    while True:
        answer = await client.get(path, params={**query, "page_size": 100} | ({"page_token": token} if token else {}))
        answer.raise_for_status()
        body = answer.json()
        for item in body["items"]:
            yield item
        token = body.get("next_page_token")
        if token is None:
            return
