"""A real server for tests: its own process, a free port, its log in a file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

PATIENCE_SECONDS = 60.0


class Line(msgspec.Struct):
    """What the supervisor writes when it serves."""

    message: str
    url: str
    management_url: str


class Served:
    """A running application.

    Attributes:
        url: Where requests go.
        management_url: Where ``/metrics`` is; ``off`` when there is no such listener.
        process: The supervisor; its children are the workers.
        log: The file with everything that was written.
    """

    def __init__(self, url: str, management_url: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.url = url
        self.management_url = management_url
        self.process = process
        self.log = log

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the supervisor."""
        self.process.send_signal(number)

    def stop(self) -> int:
        """End it in order and return its exit status."""
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.wait(PATIENCE_SECONDS)


@contextmanager
def serve(
    app: str,
    *,
    app_dir: str | Path = ".",
    command: str = "run",
    arguments: tuple[str, ...] = (),
    environ: Mapping[str, str] | None = None,
) -> Iterator[Served]:
    """Serve an application on a free port, and end it at exit.

    Args:
        app: As on the command line, ``module:attribute``.
        app_dir: Where its package is.
        command: ``run`` or ``dev``.
        arguments: Further options of the command.
        environ: Added to the environment, over a temporary database and drains that do not wait.

    Raises:
        RuntimeError: It did not serve; with what it wrote.
    """
    with TemporaryDirectory(prefix="trivet-") as directory:
        log = Path(directory) / "log"
        told = {
            "TRIVET_SERVER__PORT": "0",
            "TRIVET_SERVER__MANAGEMENT_PORT": "0",
            "TRIVET_SERVER__DRAIN_WAIT": "0",
            "TRIVET_SERVER__KIND": os.environ.get("TRIVET_SERVER__KIND", "uvicorn"),
            "WEB_CONCURRENCY": "1",
            "TRIVET_LOG__FORMAT": "json",
            "TRIVET_DATABASE__URL": f"sqlite:///{directory}/test.db",
            "TRIVET_DATABASE__CREATE": "true",
            "TRIVET_BLOBS__FOLDER": f"{directory}/blobs",
            "TRIVET_SECRET_KEY": "a secret that every test may know.",
        }
        words = [sys.executable, "-m", "trivet", command, app, "--app-dir", str(app_dir), *arguments]
        with log.open("wb") as output:
            process = subprocess.Popen(  # noqa: S603 (our own command)
                words, env={**os.environ, **told, **(environ or {})}, stdout=output, stderr=subprocess.STDOUT
            )
        try:
            line = _wait(process, log)
            yield Served(line.url, line.management_url, process, log)
        finally:
            if process.poll() is None:
                process.terminate()
            try:
                process.wait(PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait(process: subprocess.Popen[bytes], log: Path) -> Line:
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until:
        ended = process.poll() is not None
        for text in log.read_bytes().splitlines():
            if b'"message":"serving"' in text:
                return msgspec.json.decode(text, type=Line)
        if ended:
            break
        time.sleep(0.02)
    raise RuntimeError(f"the application does not serve:\n{log.read_text(errors='replace')}")
